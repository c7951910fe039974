//! A line of a file of JSON lines, and what is wrong with it: the parser sees one line only and calls it the first, so
//! its own count must not be shown beside the file's.

use serde::de::DeserializeOwned;

/// Why a line is not the JSON that is expected; which line it is says whoever reads the file.
#[derive(Debug, thiserror::Error)]
#[error("{reason} at column {column}", reason = reason(error))]
pub struct JsonLineError {
    /// Characters up to the place where it broke, counted from 1.
    column: usize,
    error: serde_json::Error,
}

/// Reads the JSON of one line, which has no line break at its end.
///
/// # Errors
/// Where it is no JSON, or JSON of another form.
pub fn parse_json_line<T: DeserializeOwned>(line: &[u8]) -> Result<T, JsonLineError> {
    serde_json::from_slice(line).map_err(|error| {
        let before = &line[..error.column().min(line.len())];
        JsonLineError { column: String::from_utf8_lossy(before).chars().count(), error }
    })
}

/// The parser's words without its own place.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn error(line: &str) -> String {
        parse_json_line::<Vec<u32>>(line.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_place_is_a_column_of_the_line() {
        assert_eq!(parse_json_line::<Vec<u32>>(b" [1, 2] ").unwrap(), [1, 2]);
        assert_eq!(error("  [1, x]"), "expected value at column 7");
        assert_eq!(error("[1, 2"), "EOF while parsing a list at column 5");
        assert_eq!(error("[\"ü\"]"), "invalid type: string \"ü\", expected u32 at column 4");
    }
}
