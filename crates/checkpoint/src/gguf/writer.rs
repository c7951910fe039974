//! A GGUF v3, streamed: the header first, from planned shapes and types, then the tensors by blocks.

use std::io::Write;
use std::path::Path;

use model::description::StoredTensor;

use super::header::alignment_of;
use super::{Error, Metadata, Problem, VERSION, encode};
use crate::partial_file::PartialFile;
use crate::write_order::WriteOrder;

/// Writes one file; nothing appears under its name before [`Writer::finish`].
#[derive(Debug)]
pub struct Writer {
    file: PartialFile,
    order: WriteOrder,
    alignment: u64,
    /// Bytes written since the last padding.
    unpadded: u64,
}

impl Writer {
    /// Starts `path` and writes its header. The tensors' bytes must follow in the same order.
    ///
    /// `general.alignment` of the metadata is obeyed.
    pub fn create(path: &Path, metadata: &Metadata, tensors: &[StoredTensor]) -> Result<Self, Error> {
        let start = || -> Result<Self, Problem> {
            let order = WriteOrder::new(tensors)?;
            let alignment = u64::from(alignment_of(metadata)?);
            let header = encode::header(VERSION, metadata, tensors)?;
            let mut file = PartialFile::create(path)?;
            file.write_all(&header)?;
            let mut writer = Self { file, order, alignment, unpadded: header.len() as u64 };
            // Without a tensor there is no data, and nothing is padded up to it.
            if !tensors.is_empty() {
                writer.pad()?;
            }
            Ok(writer)
        };
        start().map_err(|problem| Error::at(path, problem))
    }

    /// Appends bytes to the tensor `name`, whose turn it must be; any number of bytes at a time.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.append(name, bytes).map_err(|problem| Error::at(self.file.target(), problem))
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), Problem> {
        let complete = self.order.advance(name, bytes.len() as u64)?;
        self.file.write_all(bytes)?;
        self.unpadded += bytes.len() as u64;
        if complete {
            self.pad()?;
        }
        Ok(())
    }

    /// Zeros up to the next tensor; the last one is padded too, as llama.cpp writes it.
    fn pad(&mut self) -> Result<(), Problem> {
        const ZEROS: [u8; 512] = [0; 512];
        let mut missing = self.unpadded.next_multiple_of(self.alignment) - self.unpadded;
        while missing > 0 {
            let now = missing.min(ZEROS.len() as u64);
            self.file.write_all(&ZEROS[..now as usize])?;
            missing -= now;
        }
        self.unpadded = 0;
        Ok(())
    }

    /// Puts the file on disk and gives it its name; an error where a tensor is short.
    pub fn finish(self) -> Result<(), Error> {
        let target = self.file.target().to_owned();
        self.order.check_complete().map_err(|error| Error::at(&target, error))?;
        self.file.publish().map_err(|error| Error::at(&target, error))
    }
}
