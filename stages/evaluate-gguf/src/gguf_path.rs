//! The file to give to llama.cpp, in an artifact that is a file or a directory.

use std::path::{Path, PathBuf};

/// Why an artifact has no GGUF to load.
#[derive(Debug, thiserror::Error)]
pub enum GgufPathError {
    /// The artifact cannot be looked into.
    #[error("cannot read the directory `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// None, or several that are not parts of one.
    #[error("`{}` should hold one GGUF, but has {}", path.display(), if found.is_empty() { "none".into() } else { found.join(", ") })]
    Count { path: PathBuf, found: Vec<String> },
}

/// The GGUF itself, or the only one in a directory; of a split one its first part, which is where llama.cpp begins.
///
/// # Errors
/// Where a directory holds no GGUF, or several.
pub fn find(artifact: &Path) -> Result<PathBuf, GgufPathError> {
    if !artifact.is_dir() {
        return Ok(artifact.to_owned());
    }
    let failed = |source| GgufPathError::Read { path: artifact.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(artifact).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".gguf") && !is_later_part(&name) {
            found.push(name);
        }
    }
    found.sort();
    match found.as_slice() {
        [only] => Ok(artifact.join(only)),
        _ => Err(GgufPathError::Count { path: artifact.to_owned(), found }),
    }
}

/// `…-00002-of-00003.gguf` and on.
fn is_later_part(name: &str) -> bool {
    let Some((front, count)) = name.trim_end_matches(".gguf").rsplit_once("-of-") else { return false };
    let Some((_, number)) = front.rsplit_once('-') else { return false };
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    is_number(count) && is_number(number) && number != "00001"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_part_stands_for_a_split_file() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |name: &str| std::fs::write(dir.path().join(name), "").unwrap();
        assert!(find(dir.path()).unwrap_err().to_string().contains("has none"));
        touch("m-00001-of-00002.gguf");
        touch("m-00002-of-00002.gguf");
        touch("Modelfile");
        assert_eq!(find(dir.path()).unwrap(), dir.path().join("m-00001-of-00002.gguf"));
        touch("other.gguf");
        assert!(find(dir.path()).unwrap_err().to_string().contains("m-00001-of-00002.gguf, other.gguf"));
        let file = dir.path().join("other.gguf");
        assert_eq!(find(&file).unwrap(), file);
    }
}
