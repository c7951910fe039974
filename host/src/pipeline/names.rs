//! Lists of known names for messages, and the name that was probably meant.

/// Names in backticks, separated by commas.
pub fn listed(names: &[String]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

/// The known name that is most like `name`, if any is like it at all.
pub fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    known
        .iter()
        .map(|k| (strsim::jaro_winkler(name, k), k.as_str()))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_is_close_or_nothing() {
        let known = ["train-candle", "convert-gguf", "fuse"].map(String::from);
        assert_eq!(nearest("convert-guf", &known), Some("convert-gguf"));
        assert_eq!(nearest("fused", &known), Some("fuse"));
        assert_eq!(nearest("zebra", &known), None);
    }
}
