//! A text cut into windows of token ids.
//!
//! The text is tokenized once without special tokens; each window is then led by the start token where the tokenizer
//! adds one, since a model that was trained with it expects it.

use std::path::Path;

use tokenizer::Tokenizer;
use tokenizer::special_tokens::Role;

use super::error::LogitsError;
use super::params::Params;

/// Bytes of a token of most texts, at most; a text of which fewer tokens come out is tokenized whole.
const BYTES_PER_TOKEN: usize = 16;

/// Token ids of each window.
///
/// # Errors
/// Where the text cannot be read or has not even two tokens.
pub fn windows(params: &Params, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>, LogitsError> {
    let path = &params.text;
    let text = read(path)?;
    let start = tokenizer.summary().add_bos.then(|| tokenizer.special_id(Role::Bos)).flatten();
    let windows = cut(&first_tokens(&text, params.tokens, tokenizer)?, start, params);
    if windows.is_empty() {
        return Err(LogitsError::TooShort { path: path.clone() });
    }
    Ok(windows)
}

/// The text.
///
/// # Errors
/// Where it cannot be read, or is no UTF-8.
pub fn read(path: &Path) -> Result<String, LogitsError> {
    std::fs::read_to_string(path).map_err(|source| LogitsError::Text { path: path.to_owned(), source })
}

/// At least `count` tokens of the text's beginning, or all there are.
fn first_tokens(text: &str, count: usize, tokenizer: &Tokenizer) -> Result<Vec<u32>, LogitsError> {
    let end = text.floor_char_boundary(count.saturating_mul(BYTES_PER_TOKEN));
    let ids = tokenizer.encode(&text[..end], false)?.ids;
    // What stands behind the cut can change the tokens before it, but not so far back.
    if ids.len() > count + MARGIN || end == text.len() { Ok(ids) } else { Ok(tokenizer.encode(text, false)?.ids) }
}

/// Tokens before a cut that what stands behind it could change.
const MARGIN: usize = 64;

fn cut(ids: &[u32], start: Option<u32>, params: &Params) -> Vec<Vec<u32>> {
    let body = params.window.saturating_sub(usize::from(start.is_some())).max(1);
    let mut left = params.tokens;
    let mut windows = Vec::new();
    for chunk in ids.chunks(body) {
        let window: Vec<u32> = start.into_iter().chain(chunk.iter().copied()).take(left).collect();
        // In a window of one token nothing is predicted.
        if window.len() < 2 {
            break;
        }
        left -= window.len();
        windows.push(window);
    }
    windows
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lengths(ids: usize, start: Option<u32>, tokens: usize, window: usize) -> Vec<usize> {
        let ids: Vec<u32> = (100..100 + ids as u32).collect();
        let params = Params { tokens, window, ..Params::default() };
        let windows = cut(&ids, start, &params);
        assert!(start.is_none() || windows.iter().all(|window| window[0] == 1));
        windows.iter().map(Vec::len).collect()
    }

    #[test]
    fn windows_fill_the_tokens_and_no_more() {
        assert_eq!(lengths(20, None, 10, 4), [4, 4, 2]);
        assert_eq!(lengths(20, None, 9, 4), [4, 4]);
        assert_eq!(lengths(6, None, 100, 4), [4, 2]);
        assert_eq!(lengths(20, Some(1), 10, 4), [4, 4, 2]);
        assert_eq!(lengths(4, Some(1), 10, 4), [4, 2]);
        assert_eq!(lengths(1, None, 10, 4), [0; 0]);
    }

    #[test]
    fn a_long_text_is_tokenized_no_further_than_needed() {
        let tokenizer = crate::tiny::tokenizer();
        let text = "some words to be cut, again and again. ".repeat(400);
        let whole = tokenizer.encode(&text, false).unwrap().ids;
        let first = first_tokens(&text, 100, &tokenizer).unwrap();
        assert!(first.len() < whole.len());
        assert_eq!(first[..100], whole[..100]);
        assert_eq!(first_tokens(&text, whole.len(), &tokenizer).unwrap(), whole);
    }
}
