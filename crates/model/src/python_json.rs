//! JSON as Python writes it, with infinity spelled out.
//!
//! JSON has no infinity, and Python's `json` writes a bare `Infinity` for it all the same: Granite 4 configurations
//! hold `"time_step_limit": [0.0, Infinity]`. That token is read as the text `"Infinity"`, which whoever knows the key
//! understands. `NaN` and `-Infinity`, which no configuration has a meaning for, stay errors.

use serde_json::Value;

const INFINITY: &[u8] = b"Infinity";

/// Parses JSON in which `Infinity` may stand for a value.
///
/// # Errors
/// Anything else that is no JSON. Columns count each `Infinity` with its quotes.
pub fn parse(json: &[u8]) -> Result<Value, serde_json::Error> {
    match json.windows(INFINITY.len()).any(|window| window == INFINITY) {
        true => serde_json::from_slice(&quoted(json)),
        false => serde_json::from_slice(json),
    }
}

/// Puts quotes round every `Infinity` that is a token by itself and stands outside of texts.
fn quoted(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + 16);
    let (mut in_text, mut at) = (false, 0);
    while let Some(&byte) = json.get(at) {
        let rest = &json[at..];
        let part = match byte {
            b'\\' if in_text => &rest[..rest.len().min(2)],
            _ if !in_text && rest.starts_with(INFINITY) && stands_alone(json, at) => INFINITY,
            _ => &rest[..1],
        };
        in_text ^= byte == b'"';
        let is_infinity = !in_text && part == INFINITY;
        out.extend(is_infinity.then_some(b'"'));
        out.extend(part);
        out.extend(is_infinity.then_some(b'"'));
        at += part.len();
    }
    out
}

/// Whether what begins at `at` is a whole value: no part of another token, and no key.
fn stands_alone(json: &[u8], at: usize) -> bool {
    let ends_token = |byte: Option<&u8>| byte.is_none_or(|b| b.is_ascii_whitespace() || b"[]{},:".contains(b));
    let before = at.checked_sub(1).and_then(|before| json.get(before));
    let after = &json[at + INFINITY.len()..];
    let is_key = after.trim_ascii_start().starts_with(b":");
    ends_token(before) && ends_token(after.first()) && !is_key
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bare_infinity_is_read_as_its_text() {
        let config = br#"{"time_step_limit": [0.0, Infinity], "max":Infinity}"#;
        assert_eq!(parse(config).unwrap(), json!({"time_step_limit": [0.0, "Infinity"], "max": "Infinity"}));
        assert_eq!(parse(b"Infinity").unwrap(), json!("Infinity"));
    }

    #[test]
    fn texts_are_left_as_they_are() {
        let texts = r#"{"a": "to Infinity [Infinity]", "\"": "\\", "Infinity": "\\\" Infinity", "b": Infinity}"#;
        let expected = json!({
            "a": "to Infinity [Infinity]", "\"": "\\", "Infinity": "\\\" Infinity", "b": "Infinity"
        });
        assert_eq!(parse(texts.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn nothing_else_becomes_json() {
        for broken in [
            "-Infinity",
            "NaN",
            "Infinityx",
            "1Infinity",
            "infinity",
            "[Infinity",
            "{Infinity: 1}",
            "{ Infinity : 1}",
            "\"Infinity",
            "\\",
        ] {
            assert!(parse(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
