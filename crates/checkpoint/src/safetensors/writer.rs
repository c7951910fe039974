//! One safetensors file, streamed: the header first, from planned shapes, then the tensors by blocks.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use super::{Error, Problem, header};
use crate::partial_file::PartialFile;
use crate::write_order::WriteOrder;
use model::description::StoredTensor;

/// Writes one file; nothing appears under its name before [`Writer::finish`].
#[derive(Debug)]
pub struct Writer {
    file: PartialFile,
    order: WriteOrder,
}

impl Writer {
    /// Starts `path` and writes its header. The tensors' bytes must follow in the same order.
    pub fn create(path: &Path, tensors: &[StoredTensor], metadata: &BTreeMap<String, String>) -> Result<Self, Error> {
        let start = || -> Result<Self, Problem> {
            let order = WriteOrder::new(tensors)?;
            let header = header::encode(tensors, metadata)?;
            let mut file = PartialFile::create(path)?;
            file.write_all(&header)?;
            Ok(Self { file, order })
        };
        start().map_err(|problem| Error::at(path, problem))
    }

    /// Appends bytes to the tensor `name`, whose turn it must be; any number of bytes at a time.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let advanced = self.order.advance(name, bytes.len() as u64);
        advanced.map_err(|error| Error::at(self.file.target(), error))?;
        self.file.write_all(bytes).map_err(|error| Error::at(self.file.target(), error))
    }

    /// Puts the file on disk under its `.part` name, once every tensor is complete.
    pub(super) fn seal(&mut self) -> Result<(), Error> {
        self.order.check_complete().map_err(|error| Error::at(self.file.target(), error))?;
        self.file.seal().map_err(|error| Error::at(self.file.target(), error))
    }

    /// Puts the file on disk and gives it its name; an error where a tensor is short.
    pub fn finish(mut self) -> Result<(), Error> {
        self.seal()?;
        let target = self.file.target().to_owned();
        self.file.publish().map_err(|error| Error::at(&target, error))
    }
}

/// Sorts tensors as the reference writer does, widest numbers first and then by name, which keeps each one aligned.
pub fn published_order(tensors: &mut [StoredTensor]) {
    tensors.sort_by(|a, b| {
        let key = |tensor: &StoredTensor| Reverse((tensor.stored_type.block_bytes(), tensor.stored_type));
        key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
}
