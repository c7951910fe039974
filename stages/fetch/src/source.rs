//! How a pipeline spells where a model is.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where a model is.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory or a GGUF file on this machine.
    Path(PathBuf),
    /// A repository of a hub.
    Hub(HubModel),
}

/// `hf:org/name[@revision][:QUANTIZATION]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubModel {
    /// `org/name`.
    pub repository: String,
    /// A branch, a tag or a commit; `main` where none was given.
    pub revision: String,
    /// Which quantization of a repository of GGUFs.
    pub quantization: Option<String>,
}

/// What is wrong with a `source`.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    #[error("`source = \"{given}\"` has no known scheme")]
    UnknownScheme { given: String },
    #[error("`source` points at `{path}`, which does not exist", path = .path.display())]
    NotFound { path: PathBuf },
    #[error("`source` names the repository `{given}`, which is not of the form `org/name`")]
    Repository { given: String },
    #[error("`source` names the revision `{given}`, which no branch, tag or commit can be called")]
    Revision { given: String },
    #[error("`source` names the quantization `{given}`, which is not of the form `Q4_K_M`")]
    Quantization { given: String },
}

impl SourceError {
    pub fn help(&self) -> String {
        match self {
            SourceError::UnknownScheme { .. } => "known: `path:DIRECTORY`, `path:FILE.gguf`, both relative to the \
                pipeline file, and `hf:org/name[@revision][:QUANTIZATION]`"
                .into(),
            SourceError::NotFound { .. } => "paths are relative to the pipeline file".into(),
            SourceError::Repository { .. } | SourceError::Revision { .. } | SourceError::Quantization { .. } => {
                "such as `hf:meta-llama/Llama-3.2-3B-Instruct`, `hf:org/name@v1.0`, `hf:org/name-GGUF:Q4_K_M`".into()
            }
        }
    }
}

/// Reads a `source`; relative paths start from `base_dir`.
pub fn parse(given: &str, base_dir: &Path) -> Result<Source, SourceError> {
    match given.split_once(':') {
        Some(("path", path)) => local(&base_dir.join(path)).map(Source::Path),
        Some(("hf", model)) => hub(model).map(Source::Hub),
        _ => Err(SourceError::UnknownScheme { given: given.into() }),
    }
}

/// Links stay as they are: the parts of a split GGUF are found by the name under which the first one is given.
fn local(path: &Path) -> Result<PathBuf, SourceError> {
    let not_found = || SourceError::NotFound { path: path.to_owned() };
    if !path.exists() {
        return Err(not_found());
    }
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    match (parent, path.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.join(name)),
        // `..` and the root have no name of their own.
        _ => path.canonicalize().map_err(|_| not_found()),
    }
}

fn hub(given: &str) -> Result<HubModel, SourceError> {
    let (head, quantization) = match given.split_once(':') {
        Some((head, quantization)) => (head, Some(quantization)),
        None => (given, None),
    };
    let (repository, revision) = head.split_once('@').unwrap_or((head, "main"));
    if !is_repository(repository) {
        return Err(SourceError::Repository { given: repository.into() });
    }
    if !is_revision(revision) {
        return Err(SourceError::Revision { given: revision.into() });
    }
    if let Some(given) = quantization.filter(|name| !is_quantization(name)) {
        return Err(SourceError::Quantization { given: given.into() });
    }
    let quantization = quantization.map(str::to_owned);
    Ok(HubModel { repository: repository.into(), revision: revision.into(), quantization })
}

/// Names become parts of addresses and of file names, so only what hubs allow passes.
fn is_repository(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let part =
        |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && part.chars().all(plain);
    let parts = name.split_once('/');
    parts.is_some_and(|(org, name)| part(org) && part(name)) && !name.contains("--") && !name.contains("..")
}

/// As `git check-ref-format` has it, as far as a file name's safety needs it.
fn is_revision(name: &str) -> bool {
    let safe = |c: char| !c.is_whitespace() && !c.is_control() && !"~^:?*[\\\"<>|".contains(c);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains("..");
    name.chars().all(safe) && name.split('/').all(part)
}

fn is_quantization(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn paths_start_from_the_pipeline() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let parsed = parse("path:src/source.rs", here).unwrap();
        assert_eq!(parsed, Source::Path(here.canonicalize().unwrap().join("src/source.rs")));
        assert!(matches!(parse("path:nowhere", here), Err(SourceError::NotFound { .. })));
        let unknown = parse("ftp://x", here).unwrap_err();
        assert!(unknown.help().contains("path:"), "{unknown}");
    }

    #[test]
    fn a_hub_model_has_a_revision_and_perhaps_a_quantization() {
        let parse = |given: &str| parse(given, Path::new("."));
        let model = |repository: &str, revision: &str, quantization: Option<&str>| {
            let quantization = quantization.map(str::to_owned);
            Ok(Source::Hub(HubModel { repository: repository.into(), revision: revision.into(), quantization }))
        };
        assert_eq!(parse("hf:org/name"), model("org/name", "main", None));
        assert_eq!(parse("hf:org/name@refs/pr/1"), model("org/name", "refs/pr/1", None));
        assert_eq!(parse("hf:org/name:Q4_K_M"), model("org/name", "main", Some("Q4_K_M")));
        assert_eq!(parse("hf:org/name@v1.0:Q4_K_M"), model("org/name", "v1.0", Some("Q4_K_M")));
    }

    #[test]
    fn what_could_leave_the_cache_is_refused() {
        for given in ["hf:name", "hf:org/name/more", "hf:../name", "hf:org/..", "hf:org/a--b", "hf:/name", "hf:org/a b"]
        {
            let parsed = parse(given, Path::new("."));
            assert!(matches!(parsed, Err(SourceError::Repository { .. })), "{given}: {parsed:?}");
        }
        for given in ["hf:org/name@", "hf:org/name@../x", "hf:org/name@a//b", "hf:org/name@/x", "hf:org/name@a\\b"] {
            let parsed = parse(given, Path::new("."));
            assert!(matches!(parsed, Err(SourceError::Revision { .. })), "{given}: {parsed:?}");
        }
        assert!(matches!(parse("hf:org/name:", Path::new(".")), Err(SourceError::Quantization { .. })));
        assert!(matches!(parse("hf:org/name:Q4/x", Path::new(".")), Err(SourceError::Quantization { .. })));
    }
}
