//! A model directory as `transformers` saves it: `config.json`, weights, and the files beside them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::safetensors::{INDEX_FILE, SINGLE_FILE};
use crate::source::read_small_file;

/// The model's configuration.
pub const CONFIG_FILE: &str = "config.json";

/// Files that belong to a model whatever its weights become: vocabulary, templates, sampling defaults, licence.
pub const SIDE_FILES: [&str; 15] = [
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
    "USE_POLICY.md",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];

/// What is wrong with a model directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The system refused.
    #[error("`{}`: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No configuration.
    #[error("`{}` holds no `config.json`, so it is no model directory{}", dir.display(), adapter_hint(dir))]
    NoConfig {
        /// The directory.
        dir: PathBuf,
    },
    /// A configuration that is no JSON.
    #[error("`{}` is not valid JSON: {error}", path.display())]
    ConfigJson {
        /// The file.
        path: PathBuf,
        /// Why.
        error: serde_json::Error,
    },
    /// No weights that are read.
    #[error("`{}` holds neither `model.safetensors` nor `model.safetensors.index.json`{}", dir.display(), other_weights(found))]
    NoWeights {
        /// The directory.
        dir: PathBuf,
        /// Weights in other formats.
        found: Vec<String>,
    },
}

fn adapter_hint(dir: &Path) -> &'static str {
    if dir.join(crate::adapter::CONFIG_FILE).exists() { "; it is an adapter, which goes beside a model" } else { "" }
}

fn other_weights(found: &[String]) -> String {
    match found {
        [] => String::new(),
        found => format!("; convert {} to safetensors first", found.join(", ")),
    }
}

/// A directory with a configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct HfDirectory {
    path: PathBuf,
    config: Value,
}

impl HfDirectory {
    /// Reads `config.json` of `path`.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let file = path.join(CONFIG_FILE);
        if !file.exists() {
            return Err(DirectoryError::NoConfig { dir: path.to_owned() });
        }
        let json = read_small_file(&file).map_err(|error| DirectoryError::Io { path: file.clone(), error })?;
        let config =
            model::python_json::parse(&json).map_err(|error| DirectoryError::ConfigJson { path: file, error })?;
        Ok(Self { path: path.to_owned(), config })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.json` as it lies.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Checks that there are weights that can be read.
    pub fn check_weights(&self) -> Result<(), DirectoryError> {
        if self.path.join(SINGLE_FILE).exists() || self.path.join(INDEX_FILE).exists() {
            return Ok(());
        }
        let others = [".bin", ".pt", ".pth", ".safetensors", ".npz", ".h5"];
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut found: Vec<_> = names.filter(|name| others.iter().any(|ending| name.ends_with(ending))).collect();
        found.sort();
        Err(DirectoryError::NoWeights { dir: self.path.clone(), found })
    }

    /// The files beside configuration and weights that belong to the model, in the order of names.
    pub fn side_files(&self) -> Vec<&'static str> {
        SIDE_FILES.into_iter().filter(|name| self.path.join(name).is_file()).collect()
    }

    /// Copies the side files into `to`, byte for byte, but for those whose names are in `except`.
    pub fn copy_side_files(&self, to: &Path, except: &[&str]) -> Result<(), DirectoryError> {
        for name in self.side_files().into_iter().filter(|name| !except.contains(name)) {
            let from = self.path.join(name);
            fs::copy(&from, to.join(name)).map_err(|error| DirectoryError::Io { path: from, error })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn side_files_are_copied_and_the_rest_is_not() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["config.json", "tokenizer.json", "generation_config.json", "optimizer.pt"] {
            fs::write(from.path().join(name), "{}").unwrap();
        }
        let directory = HfDirectory::open(from.path()).unwrap();
        directory.copy_side_files(to.path(), &["generation_config.json"]).unwrap();
        let copied: Vec<_> = fs::read_dir(to.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(copied, ["tokenizer.json"]);
    }

    #[test]
    fn what_is_no_model_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("adapter_config.json"), "{}").unwrap();
        let error = HfDirectory::open(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("so it is no model directory; it is an adapter, which goes beside a model"), "{error}");
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
        let error = HfDirectory::open(dir.path()).unwrap().check_weights().unwrap_err().to_string();
        assert!(error.ends_with("; convert pytorch_model.bin to safetensors first"), "{error}");
        fs::write(dir.path().join("config.json"), "{").unwrap();
        assert!(HfDirectory::open(dir.path()).unwrap_err().to_string().contains("is not valid JSON"));
    }

    #[test]
    fn infinity_as_python_writes_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), r#"{"time_step_limit": [0.0, Infinity]}"#).unwrap();
        let directory = HfDirectory::open(dir.path()).unwrap();
        assert_eq!(directory.config()["time_step_limit"][1], "Infinity");
    }
}
