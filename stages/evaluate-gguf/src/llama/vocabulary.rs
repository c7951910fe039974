//! Text to tokens and back, as deployment does it.

use llama_cpp_sys_2 as ffi;

use super::{LlamaError, Model, Token};

impl Model {
    /// Rows of the output: ids are below it.
    pub fn vocab_size(&self) -> usize {
        // SAFETY: the vocabulary is valid as long as the model.
        usize::try_from(unsafe { ffi::llama_vocab_n_tokens(self.vocabulary()) }).unwrap_or(0)
    }

    /// The token that starts a text, where this model wants one in front of plain text.
    pub fn start_token(&self) -> Option<Token> {
        // SAFETY: the vocabulary is valid as long as the model.
        let (wanted, token) =
            unsafe { (ffi::llama_vocab_get_add_bos(self.vocabulary()), ffi::llama_vocab_bos(self.vocabulary())) };
        wanted.then(|| Token::try_from(token).ok()).flatten()
    }

    /// Whether generation stops at this token.
    pub fn ends_generation(&self, token: Token) -> bool {
        // SAFETY: the vocabulary is valid; llama.cpp answers for any id.
        i32::try_from(token).is_ok_and(|token| unsafe { ffi::llama_vocab_is_eog(self.vocabulary(), token) })
    }

    /// The ids of `text`; special tokens in it are recognised, none is added.
    ///
    /// # Errors
    /// Where the text is longer than 2 GiB.
    pub fn tokenize(&self, text: &str) -> Result<Vec<Token>, LlamaError> {
        let too_long = || LlamaError::TextTooLong { bytes: text.len() };
        let length = i32::try_from(text.len()).map_err(|_| too_long())?;
        let run = |buffer: &mut [i32]| {
            let capacity = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
            // SAFETY: text and buffer are valid for the lengths passed.
            unsafe {
                ffi::llama_tokenize(
                    self.vocabulary(),
                    text.as_ptr().cast(),
                    length,
                    buffer.as_mut_ptr(),
                    capacity,
                    false,
                    true,
                )
            }
        };
        let ids = grow_to_fit(text.len() / 3 + 8, run).ok_or_else(too_long)?;
        Ok(ids.into_iter().map(i32::cast_unsigned).collect())
    }

    /// The text of `tokens`, special tokens left out; bytes that are no UTF-8 become replacement characters.
    pub fn detokenize(&self, tokens: &[Token]) -> String {
        let ids: Vec<i32> = tokens.iter().map(|&token| token.cast_signed()).collect();
        let count = i32::try_from(ids.len()).unwrap_or(i32::MAX);
        let run = |buffer: &mut [u8]| {
            let capacity = i32::try_from(buffer.len()).unwrap_or(i32::MAX);
            // SAFETY: ids and buffer are valid for the lengths passed.
            unsafe {
                ffi::llama_detokenize(
                    self.vocabulary(),
                    ids.as_ptr(),
                    count,
                    buffer.as_mut_ptr().cast(),
                    capacity,
                    false,
                    false,
                )
            }
        };
        let bytes = grow_to_fit(tokens.len() * 4 + 8, run).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Calls a function that returns the items written, or minus the items needed where the buffer is too small.
fn grow_to_fit<T: Default + Clone>(first: usize, run: impl Fn(&mut [T]) -> i32) -> Option<Vec<T>> {
    let mut buffer = vec![T::default(); first];
    let mut written = run(&mut buffer);
    if written < 0 {
        let needed = usize::try_from(written.checked_neg()?).ok()?;
        buffer.resize(needed, T::default());
        written = run(&mut buffer);
    }
    buffer.truncate(usize::try_from(written).ok()?);
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_buffer_is_grown_once_to_what_is_needed() {
        let run = |buffer: &mut [i32]| {
            if buffer.len() < 5 {
                return -5;
            }
            buffer[..5].copy_from_slice(&[1, 2, 3, 4, 5]);
            5
        };
        assert_eq!(grow_to_fit(2, run), Some(vec![1, 2, 3, 4, 5]));
        assert_eq!(grow_to_fit(9, run), Some(vec![1, 2, 3, 4, 5]));
        assert_eq!(grow_to_fit(2, |_: &mut [i32]| i32::MIN), None);
    }
}
