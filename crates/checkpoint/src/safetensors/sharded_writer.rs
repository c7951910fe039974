//! A checkpoint streamed into as many files as its size asks for, with the index that names them.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Error, INDEX_FILE, Problem, SINGLE_FILE, ShardIndex, Writer};
use crate::partial_file::PartialFile;
use crate::tensor::byte_len;
use model::description::StoredTensor;

/// Writes `model.safetensors`, or shards and their index. All files get their names in [`ShardedWriter::finish`].
#[derive(Debug)]
pub struct ShardedWriter {
    dir: PathBuf,
    metadata: BTreeMap<String, String>,
    waiting: VecDeque<Shard>,
    current: Option<(Writer, Shard)>,
    sealed: Vec<Writer>,
    /// Index and bytes of all tensors; `None` where one file holds everything.
    index: Option<(ShardIndex, u64)>,
}

/// A file to be, and its tensors.
#[derive(Debug)]
struct Shard {
    file_name: String,
    tensors: Vec<StoredTensor>,
}

impl ShardedWriter {
    /// Plans files of at most `max_shard_bytes` each (a larger tensor gets a file of its own) and starts the first.
    pub fn create(
        dir: &Path,
        tensors: &[StoredTensor],
        metadata: &BTreeMap<String, String>,
        max_shard_bytes: u64,
    ) -> Result<Self, Error> {
        // The plan as a whole is checked here: names that are unique in each shard may not be so over all of them.
        crate::write_order::WriteOrder::new(tensors).map_err(|error| Error::at(dir, error))?;
        let (shards, total_bytes) = split(tensors, max_shard_bytes);
        let index = (shards.len() > 1).then(|| (index_of(&shards), total_bytes));
        let mut writer = Self {
            dir: dir.to_owned(),
            metadata: metadata.clone(),
            waiting: shards.into(),
            current: None,
            sealed: Vec::new(),
            index,
        };
        writer.open_next()?;
        Ok(writer)
    }

    /// The files that [`ShardedWriter::finish`] will have made, for the tensors and limit of [`ShardedWriter::create`].
    pub fn planned_files(tensors: &[StoredTensor], max_shard_bytes: u64) -> Vec<String> {
        let (shards, _) = split(tensors, max_shard_bytes);
        let index = (shards.len() > 1).then(|| INDEX_FILE.to_owned());
        shards.into_iter().map(|shard| shard.file_name).chain(index).collect()
    }

    /// Appends bytes to the tensor `name`, whose turn it must be; any number of bytes at a time.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let holds = |shard: &Shard| shard.tensors.iter().any(|tensor| tensor.name == name);
        while self.current.as_ref().is_some_and(|(_, shard)| !holds(shard)) && self.waiting.iter().any(holds) {
            self.seal_current()?;
            self.open_next()?;
        }
        match &mut self.current {
            Some((writer, _)) => writer.write(name, bytes),
            None => Ok(()),
        }
    }

    /// Puts every file on disk, gives each its name, the index last; an error where a tensor is short.
    pub fn finish(mut self) -> Result<(), Error> {
        while self.current.is_some() {
            self.seal_current()?;
            self.open_next()?;
        }
        for writer in std::mem::take(&mut self.sealed) {
            writer.finish()?;
        }
        let Some((index, total_bytes)) = &self.index else {
            return Ok(());
        };
        let path = self.dir.join(INDEX_FILE);
        let write = || -> Result<(), Problem> {
            let mut file = PartialFile::create(&path)?;
            file.write_all(&index.encode(*total_bytes)?)?;
            Ok(file.publish()?)
        };
        write().map_err(|problem| Error::at(&path, problem))
    }

    fn seal_current(&mut self) -> Result<(), Error> {
        if let Some((mut writer, _)) = self.current.take() {
            writer.seal()?;
            self.sealed.push(writer);
        }
        Ok(())
    }

    fn open_next(&mut self) -> Result<(), Error> {
        if let Some(shard) = self.waiting.pop_front() {
            let writer = Writer::create(&self.dir.join(&shard.file_name), &shard.tensors, &self.metadata)?;
            self.current = Some((writer, shard));
        }
        Ok(())
    }
}

/// Fills shards in order; the last number is the bytes of all tensors.
fn split(tensors: &[StoredTensor], max_shard_bytes: u64) -> (Vec<Shard>, u64) {
    let (mut groups, mut filled, mut total) = (vec![Vec::new()], 0u64, 0u64);
    for tensor in tensors {
        let bytes = byte_len(tensor).unwrap_or(0);
        if filled > 0 && filled.saturating_add(bytes) > max_shard_bytes {
            groups.push(Vec::new());
            filled = 0;
        }
        if let Some(group) = groups.last_mut() {
            group.push(tensor.clone());
        }
        filled = filled.saturating_add(bytes);
        total = total.saturating_add(bytes);
    }
    let count = groups.len();
    let file_name = |number: usize| match count {
        1 => SINGLE_FILE.to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
    };
    let shards = groups.into_iter().enumerate();
    (shards.map(|(number, tensors)| Shard { file_name: file_name(number), tensors }).collect(), total)
}

fn index_of(shards: &[Shard]) -> ShardIndex {
    let names = |shard: &Shard| -> Vec<_> {
        shard.tensors.iter().map(|tensor| (tensor.name.clone(), shard.file_name.clone())).collect()
    };
    ShardIndex { weight_map: shards.iter().flat_map(names).collect() }
}
