//! What the output is called: the pipeline says it, never a directory.

use stage_api::Context;

use crate::params::Params;

/// `general.name`.
pub fn name(ctx: &Context, params: &Params) -> String {
    params.name.clone().unwrap_or_else(|| ctx.request().pipeline.clone())
}

/// A file name without separators and spaces.
pub fn file_stem(name: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let stem: String = name.chars().map(safe).collect();
    if stem.trim_matches('.').is_empty() { "model".into() } else { stem }
}

/// `general.size_label` as llama.cpp writes it: `135M`, `8.4M`, `3.2B`.
pub fn size_label(parameters: u64) -> String {
    let count = parameters as f64;
    let (scaled, suffix) = match count {
        c if c > 1e12 => (c * 1e-12, "T"),
        c if c > 1e9 => (c * 1e-9, "B"),
        c if c > 1e6 => (c * 1e-6, "M"),
        c => (c * 1e-3, "K"),
    };
    // At least two significant digits, and no decimals from ten on.
    let digits = format!("{}", scaled.round() as u64).len();
    let decimals = 2usize.saturating_sub(digits);
    format!("{scaled:.decimals$}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_llama_cpp() {
        for (parameters, label) in
            [(134_515_008, "135M"), (8_392_512, "8.4M"), (3_212_749_824, "3.2B"), (7_000, "7.0K")]
        {
            assert_eq!(size_label(parameters), label);
        }
    }

    #[test]
    fn file_names_stay_in_their_directory() {
        assert_eq!(file_stem("../my model"), "..-my-model");
        assert_eq!(file_stem(".."), "model");
    }
}
