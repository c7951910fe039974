//! Logits in files, and how far two of them are apart.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{MatrixError, io_at};

/// The golden logits of a `golden.safetensors`.
///
/// # Errors
/// Where the file is none, or has no tensor `logits`.
pub fn golden(path: &Path) -> Result<Vec<f32>, MatrixError> {
    let file = fs::read(path).map_err(io_at(path))?;
    let no_logits = || MatrixError::Logits { path: path.to_owned(), what: "no safetensors with `logits`".into() };
    floats(of_safetensors(&file, "logits").ok_or_else(no_logits)?, path)
}

/// The values of a `logits` artifact.
///
/// # Errors
/// Where there are none.
pub fn ours(artifact: &Path) -> Result<Vec<f32>, MatrixError> {
    let path = artifact.join("logits.f32");
    floats(&fs::read(&path).map_err(io_at(&path))?, &path)
}

/// The greatest difference, as a share of the standard deviation of `expected`; `path` is where they lie.
///
/// # Errors
/// Where there are not equally many.
pub fn apart(got: &[f32], expected: &[f32], path: &Path) -> Result<f64, MatrixError> {
    if got.len() != expected.len() {
        let what = format!("{} logits, expected {}", expected.len(), got.len());
        return Err(MatrixError::Logits { path: path.to_owned(), what });
    }
    let n = expected.len() as f64;
    let mean = expected.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = expected.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
    let differences = got.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()));
    Ok(differences.fold(0.0, f64::max) / variance.sqrt())
}

/// The bytes of a tensor: the format is a header's length, the header as JSON, the data.
fn of_safetensors<'a>(file: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let header: Value = serde_json::from_slice(header).ok()?;
    let offsets = &header[name]["data_offsets"];
    let at = |i: usize| usize::try_from(offsets[i].as_u64()?).ok();
    data.get(at(0)?..at(1)?)
}

fn floats(bytes: &[u8], path: &Path) -> Result<Vec<f32>, MatrixError> {
    let (words, rest) = bytes.as_chunks::<4>();
    let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    if values.is_empty() || !rest.is_empty() || values.iter().any(|x| !x.is_finite()) {
        let what = format!("{} bytes are no list of numbers", bytes.len());
        return Err(MatrixError::Logits { path: path.to_owned(), what });
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn differences_are_shares_of_the_deviation() {
        let path = Path::new("logits");
        assert_eq!(apart(&[1.0, -1.0], &[1.0, -1.0], path).unwrap(), 0.0);
        assert_eq!(apart(&[2.5, -2.0], &[2.0, -2.0], path).unwrap(), 0.25);
        let message = apart(&[1.0], &[1.0, 2.0], path).unwrap_err().to_string();
        assert_eq!(message, "`logits`: 2 logits, expected 1");
    }

    #[test]
    fn a_tensor_is_found_by_its_name() {
        let header = br#"{"ids":{"data_offsets":[0,4]},"logits":{"data_offsets":[4,12]}}"#;
        let file = [&(header.len() as u64).to_le_bytes()[..], header, &[9; 4], &[1, 2, 3, 4, 5, 6, 7, 8]].concat();
        assert_eq!(of_safetensors(&file, "logits").unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(of_safetensors(&file, "scores"), None);
        assert_eq!(of_safetensors(&file[..file.len() - 1], "logits"), None, "cut short");
        assert_eq!(of_safetensors(&[255; 9], "logits"), None, "no header of that length");
    }
}
