//! A mapped GGUF of one file or many.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use model::description::StoredTensor;

use super::{Error, Header, Metadata, Problem, check_parts, part_names};
use crate::source::MappedFile;
use crate::tensor::LocatedTensor;

/// Metadata and tensors of a file or of all its parts, mapped.
#[derive(Debug)]
pub struct Gguf {
    files: Vec<MappedFile>,
    version: u32,
    metadata: Metadata,
    /// (part, tensor) in file order.
    tensors: Vec<(usize, LocatedTensor)>,
    by_name: BTreeMap<String, usize>,
}

impl Gguf {
    /// Maps the file at `path` and, where it is the first part of a split model, the other parts beside it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (file, header) = open(path)?;
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        let names = part_names(&file_name, &header).map_err(|error| Error::at(path, error.problem))?;
        let mut files = vec![file];
        let mut parts = vec![(path.display().to_string(), header)];
        for name in &names[1..] {
            let part = path.with_file_name(name);
            if !part.exists() {
                let problem = Problem::MissingPart { part: name.clone(), count: names.len() as u64 };
                return Err(Error::at(path, problem));
            }
            let (file, header) = open(&part)?;
            files.push(file);
            parts.push((part.display().to_string(), header));
        }
        check_parts(&parts)?;
        Ok(Self::new(files, parts.into_iter().map(|(_, header)| header).collect()))
    }

    fn new(files: Vec<MappedFile>, headers: Vec<Header>) -> Self {
        let mut gguf =
            Self { files, version: 0, metadata: Metadata::default(), tensors: Vec::new(), by_name: BTreeMap::new() };
        for (part, header) in headers.into_iter().enumerate() {
            // All metadata is in the first part; what the others say has been held against their place.
            if part == 0 {
                (gguf.version, gguf.metadata) = (header.version, header.metadata);
            }
            for tensor in header.tensors {
                gguf.by_name.insert(tensor.tensor.name.clone(), gguf.tensors.len());
                gguf.tensors.push((part, tensor));
            }
        }
        gguf
    }

    /// 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The metadata of the first part.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Every tensor in file order, part after part.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &StoredTensor> {
        self.tensors.iter().map(|(_, tensor)| &tensor.tensor)
    }

    /// The tensor of that name and its bytes as they lie.
    pub fn get(&self, name: &str) -> Option<(&StoredTensor, &[u8])> {
        let (part, tensor) = &self.tensors[*self.by_name.get(name)?];
        Some((&tensor.tensor, tensor.slice(self.files[*part].bytes())))
    }

    /// The mapped files, the first part first.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.files.iter().map(|file| file.path().to_owned())
    }
}

fn open(path: &Path) -> Result<(MappedFile, Header), Error> {
    let file = MappedFile::open(path).map_err(|error| Error::at(path, error))?;
    let header = Header::read(&file).map_err(|problem| Error::at(path, problem))?;
    Ok((file, header))
}
