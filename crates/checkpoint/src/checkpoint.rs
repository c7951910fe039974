//! A model on disk, whatever holds it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use model::ModelDescription;
use model::description::{Container, StoredTensor};
use serde_json::Value;

use crate::gguf::{self, Gguf};
use crate::hf_directory::{DirectoryError, HfDirectory};
use crate::safetensors::{self, Safetensors};

/// Why a path gives no model.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refused.
    #[error("`{}`: {error}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file that is something else.
    #[error(
        "`{}` is no model: it begins with `{}`; a model is a directory with `config.json` and safetensors, or a GGUF file",
        path.display(), begins.escape_ascii()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        begins: Vec<u8>,
    },
    /// The directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Its weights.
    #[error(transparent)]
    Safetensors(Box<safetensors::Error>),
    /// The GGUF.
    #[error(transparent)]
    Gguf(Box<gguf::Error>),
}

/// Mapped tensors with what describes the model beside them.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    Directory(HfDirectory, Safetensors),
    Gguf(Gguf),
}

impl Checkpoint {
    /// Maps the model at `path`: a directory with `config.json`, or a GGUF, known by its magic and not by its suffix.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let contents = if path.is_dir() {
            let directory = HfDirectory::open(path)?;
            directory.check_weights()?;
            let tensors = Safetensors::open_dir(path).map_err(|error| OpenError::Safetensors(Box::new(error)))?;
            Contents::Directory(directory, tensors)
        } else {
            let begins = first_bytes(path).map_err(|error| OpenError::Io { path: path.to_owned(), error })?;
            if begins != gguf::MAGIC {
                return Err(OpenError::Unknown { path: path.to_owned(), begins });
            }
            Contents::Gguf(Gguf::open(path).map_err(|error| OpenError::Gguf(Box::new(error)))?)
        };
        Ok(Self { path: path.to_owned(), contents })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What holds the model.
    pub fn container(&self) -> Container {
        match self.contents {
            Contents::Directory(..) => Container::Safetensors,
            Contents::Gguf(_) => Container::Gguf,
        }
    }

    /// The directory around safetensors.
    pub fn directory(&self) -> Option<&HfDirectory> {
        match &self.contents {
            Contents::Directory(directory, _) => Some(directory),
            Contents::Gguf(_) => None,
        }
    }

    /// The GGUF with its metadata.
    pub fn gguf(&self) -> Option<&Gguf> {
        match &self.contents {
            Contents::Directory(..) => None,
            Contents::Gguf(gguf) => Some(gguf),
        }
    }

    /// `config.json` as it lies; a GGUF has none.
    pub fn config(&self) -> Option<&Value> {
        self.directory().map(HfDirectory::config)
    }

    /// Every stored tensor in file order.
    pub fn tensors(&self) -> Vec<&StoredTensor> {
        match &self.contents {
            Contents::Directory(_, safetensors) => safetensors.tensors().collect(),
            Contents::Gguf(gguf) => gguf.tensors().collect(),
        }
    }

    /// The stored tensor of that name and its bytes as they lie.
    pub fn tensor(&self, name: &str) -> Option<(&StoredTensor, &[u8])> {
        match &self.contents {
            Contents::Directory(_, safetensors) => safetensors.get(name),
            Contents::Gguf(gguf) => gguf.get(name),
        }
    }

    /// The files that hold tensors.
    pub fn weight_files(&self) -> Vec<PathBuf> {
        match &self.contents {
            Contents::Directory(_, safetensors) => safetensors.paths().collect(),
            Contents::Gguf(gguf) => gguf.paths().collect(),
        }
    }

    /// The model's description, without the tokenizer's summary and provenance, which others know.
    pub fn describe(&self) -> ModelDescription {
        match &self.contents {
            Contents::Directory(directory, safetensors) => {
                safetensors::describe(directory.config().clone(), safetensors.tensors().cloned())
            }
            Contents::Gguf(gguf) => {
                let small = gguf::FACT_TENSORS.into_iter().filter_map(|name| {
                    let (tensor, bytes) = gguf.get(name)?;
                    Some((name.to_owned(), gguf::fact_values(tensor, bytes)?))
                });
                gguf::describe(gguf.metadata(), gguf.tensors().cloned(), small.collect())
            }
        }
    }
}

/// The first four bytes, or as many as there are.
fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(gguf::MAGIC.len() as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
