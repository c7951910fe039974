//! The artifact: `tokens.json` with the windows' ids, `logits.f32` with little-endian rows `[tokens, vocab_size]` in
//! window order, row `i` being what follows token `i`, and `logits.json` that says what lies there.
//!
//! Everything but the values and their digest is known before they are computed, so its size is too.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::LogitsError;

/// Raised when the files change their meaning.
const SCHEMA: u32 = 1;
/// Characters of a SHA-256.
const DIGEST_LEN: usize = 64;

/// What the artifact says before it holds a value.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Token ids of each window.
    pub windows: Vec<Vec<u32>>,
    /// Columns.
    pub vocab_size: usize,
    /// SHA-256 of the whole text.
    pub text_sha256: String,
}

#[derive(Serialize)]
struct Tokens<'a> {
    windows: &'a [Vec<u32>],
    tokens: usize,
    vocab_size: usize,
    text_sha256: &'a str,
}

#[derive(Serialize)]
struct Layout<'a> {
    schema: u32,
    rows: usize,
    vocab_size: usize,
    dtype: &'a str,
    sha256: &'a str,
}

impl Contents {
    /// Rows.
    pub fn tokens(&self) -> usize {
        self.windows.iter().map(Vec::len).sum()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        let values = self.tokens() as u64 * self.vocab_size as u64 * 4;
        values + (self.tokens_json().len() + self.layout_json(&"0".repeat(DIGEST_LEN)).len()) as u64
    }

    fn tokens_json(&self) -> String {
        let Self { windows, vocab_size, text_sha256, .. } = self;
        line(&Tokens { windows, tokens: self.tokens(), vocab_size: *vocab_size, text_sha256 })
    }

    fn layout_json(&self, sha256: &str) -> String {
        let (rows, vocab_size) = (self.tokens(), self.vocab_size);
        line(&Layout { schema: SCHEMA, rows, vocab_size, dtype: "f32", sha256 })
    }
}

fn line(of: &impl Serialize) -> String {
    // Numbers, lists and texts always have a JSON.
    serde_json::to_string(of).map(|json| json + "\n").unwrap_or_default()
}

/// Takes rows in window order; the description of what they are is written last.
pub struct Writer {
    directory: PathBuf,
    values: BufWriter<File>,
    digest: Sha256,
    bytes: Vec<u8>,
}

impl Writer {
    /// Makes the directory and writes the windows.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn create(directory: &Path, contents: &Contents) -> Result<Self, LogitsError> {
        std::fs::create_dir_all(directory).map_err(failed(directory))?;
        write(&directory.join("tokens.json"), &contents.tokens_json())?;
        let path = directory.join("logits.f32");
        let file = File::create(&path).map_err(failed(&path))?;
        Ok(Self {
            directory: directory.to_owned(),
            values: BufWriter::with_capacity(1 << 20, file),
            digest: Sha256::new(),
            bytes: Vec::new(),
        })
    }

    /// Appends whole rows.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn append(&mut self, rows: &[f32]) -> std::io::Result<()> {
        self.bytes.clear();
        self.bytes.extend(rows.iter().flat_map(|value| value.to_le_bytes()));
        self.digest.update(&self.bytes);
        self.values.write_all(&self.bytes)
    }

    /// Writes what lies there.
    ///
    /// # Errors
    /// Where the system refuses.
    pub fn finish(mut self, contents: &Contents) -> Result<(), LogitsError> {
        self.values.flush().map_err(failed(&self.directory.join("logits.f32")))?;
        let sha256 = format!("{:x}", self.digest.finalize());
        write(&self.directory.join("logits.json"), &contents.layout_json(&sha256))
    }
}

fn write(path: &Path, text: &str) -> Result<(), LogitsError> {
    std::fs::write(path, text).map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> LogitsError {
    let path = path.to_owned();
    move |source| LogitsError::Write { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_size_is_known_before_the_values() {
        let dir = tempfile::tempdir().unwrap();
        let text_sha256 = "ab".repeat(32);
        let contents = Contents { windows: vec![vec![0, 2], vec![1]], vocab_size: 3, text_sha256 };
        let mut writer = Writer::create(dir.path(), &contents).unwrap();
        writer.append(&[1.0, 2.0, 3.0]).unwrap();
        writer.append(&[0.5; 6]).unwrap();
        writer.finish(&contents).unwrap();
        let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
        let names = ["tokens.json", "logits.f32", "logits.json"];
        assert_eq!(names.iter().map(|name| read(name).len() as u64).sum::<u64>(), contents.bytes());
        assert_eq!(read("logits.f32")[..8], [0, 0, 128, 63, 0, 0, 0, 64]);
        let layout: serde_json::Value = serde_json::from_slice(&read("logits.json")).unwrap();
        assert_eq!((&layout["rows"], &layout["dtype"], &layout["schema"]), (&3.into(), &"f32".into(), &1.into()));
        assert_eq!(layout["sha256"].as_str().unwrap(), format!("{:x}", Sha256::digest(read("logits.f32"))));
        let tokens: serde_json::Value = serde_json::from_slice(&read("tokens.json")).unwrap();
        assert_eq!(tokens["windows"], serde_json::json!([[0, 2], [1]]));
    }
}
