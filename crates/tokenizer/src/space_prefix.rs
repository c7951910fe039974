//! Where a SentencePiece-like tokenizer puts a space that the text does not have.

use serde_json::Value;

/// Read off the structure of `tokenizer.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpacePrefix {
    /// Before every stretch of text between special tokens, as llama.cpp does where `add_space_prefix` is true.
    Everywhere,
    /// Only where the text does not begin with a space itself, and with `first` only at its very start.
    WhereMissing,
    /// Nowhere.
    Nowhere,
}

impl SpacePrefix {
    /// By `normalizer` (`Prepend`) and `pre_tokenizer` (`Metaspace`).
    pub fn of_tokenizer_json(tokenizer: &Value) -> Self {
        let has_prepend = members(&tokenizer["normalizer"], "normalizers").any(|part| part["type"] == "Prepend");
        let mut metaspaces =
            members(&tokenizer["pre_tokenizer"], "pretokenizers").filter(|part| part["type"] == "Metaspace");
        match (has_prepend, metaspaces.next()) {
            (true, _) => Self::Everywhere,
            (false, None) => Self::Nowhere,
            (false, Some(metaspace)) => match metaspace["prepend_scheme"].as_str() {
                Some("never") => Self::Nowhere,
                // The flag of files from before there were schemes.
                None if metaspace["add_prefix_space"] == false => Self::Nowhere,
                _ => Self::WhereMissing,
            },
        }
    }
}

/// A part and, where it is a `Sequence`, its members.
fn members<'a>(part: &'a Value, members: &str) -> impl Iterator<Item = &'a Value> {
    std::iter::once(part).chain(part[members].as_array().into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_published_structure_is_told() {
        let normalizers = json!([{"type": "Prepend", "prepend": "▁"}, {"type": "Replace"}]);
        let legacy = json!({"normalizer": {"type": "Sequence", "normalizers": normalizers}, "pre_tokenizer": null});
        assert_eq!(SpacePrefix::of_tokenizer_json(&legacy), SpacePrefix::Everywhere);
        let gemma = json!({"normalizer": {"type": "Replace"}, "pre_tokenizer": {"type": "Split"}});
        assert_eq!(SpacePrefix::of_tokenizer_json(&gemma), SpacePrefix::Nowhere);
        let metaspace = |scheme: &str| json!({"pre_tokenizer": {"type": "Metaspace", "prepend_scheme": scheme}});
        for (scheme, expected) in [
            ("first", SpacePrefix::WhereMissing),
            ("never", SpacePrefix::Nowhere),
            ("always", SpacePrefix::WhereMissing),
        ] {
            assert_eq!(SpacePrefix::of_tokenizer_json(&metaspace(scheme)), expected);
        }
    }
}
