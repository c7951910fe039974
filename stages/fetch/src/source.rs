//! How a pipeline spells where a model is.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where a model is.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory or a GGUF file on this machine.
    Path(PathBuf),
}

/// What is wrong with a `source`.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    #[error("`source = \"{given}\"` has no known scheme")]
    UnknownScheme { given: String },
    #[error("`source` points at `{path}`, which does not exist", path = .path.display())]
    NotFound { path: PathBuf },
}

impl SourceError {
    pub fn help(&self) -> String {
        match self {
            SourceError::UnknownScheme { .. } => {
                "known: `path:DIRECTORY`, `path:FILE.gguf`, relative to the pipeline file".into()
            }
            SourceError::NotFound { .. } => "paths are relative to the pipeline file".into(),
        }
    }
}

/// Reads a `source`; relative paths start from `base_dir`.
pub fn parse(given: &str, base_dir: &Path) -> Result<Source, SourceError> {
    let Some(path) = given.strip_prefix("path:") else {
        return Err(SourceError::UnknownScheme { given: given.into() });
    };
    let joined = base_dir.join(path);
    match joined.canonicalize() {
        Ok(path) => Ok(Source::Path(path)),
        Err(_) => Err(SourceError::NotFound { path: joined }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn paths_start_from_the_pipeline() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let parsed = parse("path:src/source.rs", here).unwrap();
        assert_eq!(parsed, Source::Path(here.join("src/source.rs").canonicalize().unwrap()));
        assert!(matches!(parse("path:nowhere", here), Err(SourceError::NotFound { .. })));
        let unknown = parse("ftp://x", here).unwrap_err();
        assert!(unknown.help().contains("path:"), "{unknown}");
    }
}
