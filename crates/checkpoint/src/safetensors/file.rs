//! A mapped checkpoint of one file or many.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Error, Header, INDEX_FILE, Problem, SINGLE_FILE, ShardIndex};
use crate::source::{MappedFile, read_small_file};
use crate::tensor::LocatedTensor;
use model::description::StoredTensor;

/// Tensors of one file or of all shards, mapped, by name.
#[derive(Debug)]
pub struct Safetensors {
    files: Vec<MappedFile>,
    /// (file, tensor) in file order, shard after shard.
    tensors: Vec<(usize, LocatedTensor)>,
    by_name: BTreeMap<String, usize>,
    metadata: BTreeMap<String, String>,
}

impl Safetensors {
    /// Maps the checkpoint of `dir`: `model.safetensors`, else the shards of `model.safetensors.index.json`.
    pub fn open_dir(dir: &Path) -> Result<Self, Error> {
        let single = dir.join(SINGLE_FILE);
        let index = dir.join(INDEX_FILE);
        if single.exists() || !index.exists() { Self::open_file(&single) } else { Self::open_index(&index) }
    }

    /// Maps a single file.
    pub fn open_file(path: &Path) -> Result<Self, Error> {
        let (file, header) = open(path)?;
        Ok(Self::new(vec![(file, header)]))
    }

    /// Maps the shards that the index at `path` names, and checks them against it.
    pub fn open_index(path: &Path) -> Result<Self, Error> {
        let json = read_small_file(path).map_err(|error| Error::at(path, error))?;
        let index = ShardIndex::parse(&json).map_err(|problem| Error::at(path, problem))?;
        let dir = path.parent().unwrap_or(Path::new(""));
        let (mut files, mut headers) = (Vec::new(), BTreeMap::new());
        for (shard, tensors) in index.shards() {
            let shard_path = dir.join(shard);
            if !shard_path.exists() {
                return Err(Error::at(path, Problem::MissingShard { shard: shard.to_owned(), tensors }));
            }
            let (file, header) = open(&shard_path)?;
            files.push(file);
            headers.insert(shard.to_owned(), header);
        }
        index.check(&headers).map_err(|error| Error::at(path, error.problem))?;
        // `shards()` and `headers` are both in the order of the shards' names.
        Ok(Self::new(files.into_iter().zip(headers.into_values()).collect()))
    }

    fn new(parts: Vec<(MappedFile, Header)>) -> Self {
        let (mut files, mut tensors, mut metadata) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (number, (file, header)) in parts.into_iter().enumerate() {
            files.push(file);
            metadata.extend(header.metadata);
            tensors.extend(header.tensors.into_iter().map(|tensor| (number, tensor)));
        }
        let names = tensors.iter().enumerate().map(|(at, (_, located))| (located.tensor.name.clone(), at));
        let by_name = names.collect();
        Self { files, tensors, by_name, metadata }
    }

    /// Every tensor in file order, shard after shard.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &StoredTensor> {
        self.tensors.iter().map(|(_, located)| &located.tensor)
    }

    /// The tensor of that name and its bytes as they lie.
    pub fn get(&self, name: &str) -> Option<(&StoredTensor, &[u8])> {
        let (file, located) = &self.tensors[*self.by_name.get(name)?];
        Some((&located.tensor, located.slice(self.files[*file].bytes())))
    }

    /// Free text of the headers, of all shards together.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The mapped files.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.files.iter().map(|file| file.path().to_owned())
    }
}

fn open(path: &Path) -> Result<(MappedFile, Header), Error> {
    let file = MappedFile::open(path).map_err(|error| Error::at(path, error))?;
    let header = Header::read(&file).map_err(|problem| Error::at(path, problem))?;
    Ok((file, header))
}
