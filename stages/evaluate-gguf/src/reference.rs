//! Reference logits of a text, as the `logits` stage writes them: read block by block, never as a whole.
//!
//! `tokens.json` has the windows of ids, `logits.json` says what lies in `logits.f32`: little-endian rows
//! `[total tokens, vocab_size]` in window order, row `i` being what follows token `i`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::llama::Token;
use crate::windows::Window;

/// Why a directory is no usable reference.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// A description is no JSON of the expected form.
    #[error("`{}` does not describe reference logits", path.display())]
    Form { path: PathBuf, source: serde_json::Error },
    /// A newer or older layout.
    #[error("reference logits of schema {got}, but this stage reads schema {expected}; compute them again")]
    Schema { got: u32, expected: u32 },
    /// Other numbers than f32.
    #[error("reference logits of dtype `{got}`, but only `f32` is read; compute them again")]
    Dtype { got: String },
    /// The parts contradict each other.
    #[error("reference logits say {got} {what}, but {expected} were expected; the artifact is damaged")]
    Count { what: &'static str, got: u64, expected: u64 },
    /// Logits of two texts.
    #[error("`weights` holds logits of {got} tokens, `reference` of {expected}, and not of the same text")]
    OtherText { got: u64, expected: u64 },
    /// An id that the reference itself has no column for.
    #[error("the reference's text has token {token}, but its vocabulary ends at {vocab_size}")]
    Token { token: Token, vocab_size: usize },
}

const SCHEMA: u32 = 1;

#[derive(Deserialize)]
struct Tokens {
    windows: Vec<Vec<Token>>,
    vocab_size: usize,
}

#[derive(Deserialize)]
struct Layout {
    schema: u32,
    rows: u64,
    vocab_size: usize,
    dtype: String,
}

/// An opened reference; rows are read once, in order.
#[derive(Debug)]
pub struct Reference {
    /// The text, cut as the reference saw it.
    pub windows: Vec<Window>,
    /// Columns of a row.
    pub vocab_size: usize,
    rows: BufReader<File>,
    path: PathBuf,
}

impl Reference {
    /// Opens the directory and checks that its parts agree.
    ///
    /// # Errors
    /// Where a file is missing, of another form, or of a size that the counts do not give.
    pub fn open(directory: &Path) -> Result<Self, ReferenceError> {
        let tokens: Tokens = read_json(&directory.join("tokens.json"))?;
        let layout: Layout = read_json(&directory.join("logits.json"))?;
        if layout.schema != SCHEMA {
            return Err(ReferenceError::Schema { got: layout.schema, expected: SCHEMA });
        }
        if layout.dtype != "f32" {
            return Err(ReferenceError::Dtype { got: layout.dtype });
        }
        let total: usize = tokens.windows.iter().map(Vec::len).sum();
        expect("rows", layout.rows, total as u64)?;
        expect("columns", tokens.vocab_size as u64, layout.vocab_size as u64)?;
        let mut ids = tokens.windows.iter().flatten();
        if let Some(&token) = ids.find(|&&token| token as usize >= layout.vocab_size) {
            return Err(ReferenceError::Token { token, vocab_size: layout.vocab_size });
        }
        let path = directory.join("logits.f32");
        let failed = |source| ReferenceError::Read { path: path.clone(), source };
        let file = File::open(&path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        expect("bytes", bytes, (total as u64).saturating_mul(layout.vocab_size as u64).saturating_mul(4))?;
        Ok(Self {
            windows: tokens.windows.into_iter().map(Window::new).collect(),
            vocab_size: layout.vocab_size,
            rows: BufReader::with_capacity(1 << 20, file),
            path,
        })
    }

    /// Tokens of all windows.
    pub fn tokens(&self) -> u64 {
        self.windows.iter().map(|window| window.tokens.len() as u64).sum()
    }

    /// The next `count` rows into `into`, `[count, vocab_size]`.
    ///
    /// # Errors
    /// Where the file ends or cannot be read.
    pub fn read_rows(&mut self, count: usize, into: &mut Vec<f32>) -> Result<(), ReferenceError> {
        let mut row = vec![0u8; self.vocab_size * 4];
        into.clear();
        for _ in 0..count {
            self.rows
                .read_exact(&mut row)
                .map_err(|source| ReferenceError::Read { path: self.path.clone(), source })?;
            into.extend(row.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)));
        }
        Ok(())
    }
}

fn expect(what: &'static str, got: u64, expected: u64) -> Result<(), ReferenceError> {
    if got == expected { Ok(()) } else { Err(ReferenceError::Count { what, got, expected }) }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ReferenceError> {
    let text = std::fs::read(path).map_err(|source| ReferenceError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| ReferenceError::Form { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn write(dir: &Path, windows: &str, rows: u64, values: &[f32]) {
        let tokens = format!(r#"{{"windows": {windows}, "tokens": {rows}, "vocab_size": 2, "text_sha256": "ab"}}"#);
        std::fs::write(dir.join("tokens.json"), tokens).unwrap();
        let layout = format!(r#"{{"schema": 1, "rows": {rows}, "vocab_size": 2, "dtype": "f32", "sha256": "cd"}}"#);
        std::fs::write(dir.join("logits.json"), layout).unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(dir.join("logits.f32"), bytes).unwrap();
    }

    #[test]
    fn rows_are_read_in_order() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "[[0, 1], [1]]", 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut reference = Reference::open(dir.path()).unwrap();
        assert_eq!(reference.windows[0].tokens, [0, 1]);
        assert_eq!(reference.tokens(), 3);
        let mut rows = Vec::new();
        reference.read_rows(2, &mut rows).unwrap();
        assert_eq!(rows, [1.0, 2.0, 3.0, 4.0]);
        reference.read_rows(1, &mut rows).unwrap();
        assert_eq!(rows, [5.0, 6.0]);
        assert!(matches!(reference.read_rows(1, &mut rows), Err(ReferenceError::Read { .. })));
    }

    #[test]
    fn contradictions_are_found_before_the_first_row() {
        let dir = tempfile::tempdir().unwrap();
        let error = |windows: &str, rows, values: &[f32]| {
            write(dir.path(), windows, rows, values);
            Reference::open(dir.path()).unwrap_err().to_string()
        };
        assert!(error("[[0, 1]]", 3, &[0.0; 6]).contains("say 3 rows, but 2"));
        assert!(error("[[0, 1]]", 2, &[0.0; 3]).contains("say 12 bytes, but 16"));
        assert!(error("[[0, 2]]", 2, &[0.0; 4]).contains("token 2"));
        assert!(error("[[0, -1]]", 2, &[0.0; 4]).contains("tokens.json"));
    }
}
