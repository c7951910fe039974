//! An adapter's tensors, whatever file they lie in.

use std::path::{Path, PathBuf};

use checkpoint::gguf::Gguf;
use checkpoint::safetensors::Safetensors;
use model::description::StoredTensor;

use crate::error::ImportError;

/// A mapped file of tensors.
pub struct Weights {
    file: File,
    path: PathBuf,
}

enum File {
    Safetensors(Safetensors),
    Gguf(Gguf),
}

impl Weights {
    pub fn safetensors(path: &Path) -> Result<Self, ImportError> {
        let file = Safetensors::open_file(path).map_err(|error| ImportError::Safetensors(Box::new(error)))?;
        Ok(Self { file: File::Safetensors(file), path: path.to_owned() })
    }

    pub fn gguf(path: &Path, file: Gguf) -> Self {
        Self { file: File::Gguf(file), path: path.to_owned() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Headers in file order.
    pub fn tensors(&self) -> Vec<StoredTensor> {
        match &self.file {
            File::Safetensors(file) => file.tensors().cloned().collect(),
            File::Gguf(file) => file.tensors().cloned().collect(),
        }
    }

    /// A tensor as it lies.
    pub fn bytes(&self, tensor: &StoredTensor) -> &[u8] {
        let found = match &self.file {
            File::Safetensors(file) => file.get(&tensor.name),
            File::Gguf(file) => file.get(&tensor.name),
        };
        found.map(|(_, bytes)| bytes).unwrap_or_default()
    }

    /// All values of a tensor in `f32`, every one a number.
    pub fn values(&self, tensor: &StoredTensor) -> Result<Vec<f32>, ImportError> {
        let (name, bytes) = (&tensor.name, self.bytes(tensor));
        let mut values = vec![0.0; tensor.values() as usize];
        blocks::decode_rows(tensor.stored_type, bytes, &mut values)
            .map_err(|source| ImportError::Decode { tensor: name.clone(), source })?;
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(ImportError::NotFinite { tensor: name.clone(), at, value: values[at] }),
            None => Ok(values),
        }
    }
}
