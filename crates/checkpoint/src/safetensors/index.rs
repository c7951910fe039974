//! `model.safetensors.index.json`: which shard holds which tensor.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::header::{Header, Pairs};
use super::{Error, INDEX_FILE, Problem};

/// The index of a checkpoint in several files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIndex {
    /// Tensor name → file name within the same directory.
    pub weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    /// Parses the index; shard names that lead out of its directory and duplicates are refused.
    pub fn parse(json: &[u8]) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Raw {
            weight_map: Pairs<String>,
        }
        let raw: Raw = serde_json::from_slice(json).map_err(Problem::IndexJson)?;
        let mut weight_map = BTreeMap::new();
        for (name, shard) in raw.weight_map.0 {
            if shard.is_empty() || shard.starts_with('.') || shard.contains(['/', '\\', ':', '\0']) {
                return Err(Problem::ShardName { shard });
            }
            if weight_map.insert(name.clone(), shard).is_some() {
                return Err(Problem::Duplicate { name });
            }
        }
        Ok(Self { weight_map })
    }

    /// The files that the index names, each with the number of its tensors.
    pub fn shards(&self) -> BTreeMap<&str, usize> {
        let mut shards = BTreeMap::new();
        for shard in self.weight_map.values() {
            *shards.entry(shard.as_str()).or_insert(0) += 1;
        }
        shards
    }

    /// Checks that the shards hold exactly what the index says, each tensor in its place.
    ///
    /// `headers` are by file name; the error names the index where a shard is missing, else the shard.
    pub fn check(&self, headers: &BTreeMap<String, Header>) -> Result<(), Error> {
        for (shard, tensors) in self.shards() {
            if !headers.contains_key(shard) {
                return Err(Error::new(INDEX_FILE, Problem::MissingShard { shard: shard.to_owned(), tensors }));
            }
        }
        let mut held = BTreeMap::new();
        for (shard, header) in headers {
            for tensor in &header.tensors {
                let name = tensor.tensor.name.as_str();
                let indexed = self.weight_map.get(name);
                if indexed != Some(shard) {
                    let (name, indexed) = (name.to_owned(), indexed.cloned());
                    let problem = Problem::NotInIndex { name, shard: shard.clone(), indexed };
                    return Err(Error::new(INDEX_FILE, problem));
                }
                held.insert(name, shard);
            }
        }
        match self.weight_map.iter().find(|(name, _)| !held.contains_key(name.as_str())) {
            None => Ok(()),
            Some((name, shard)) => {
                let problem = Problem::NotInShard { name: name.clone(), shard: shard.clone() };
                Err(Error::new(INDEX_FILE, problem))
            }
        }
    }

    /// The index as `transformers` writes it, with `total_bytes` of all tensors.
    pub(super) fn encode(&self, total_bytes: u64) -> Result<Vec<u8>, Problem> {
        #[derive(Serialize)]
        struct Raw<'a> {
            metadata: BTreeMap<&'static str, u64>,
            weight_map: &'a BTreeMap<String, String>,
        }
        let raw = Raw { metadata: BTreeMap::from([("total_size", total_bytes)]), weight_map: &self.weight_map };
        let mut json = serde_json::to_vec_pretty(&raw).map_err(Problem::IndexJson)?;
        json.push(b'\n');
        Ok(json)
    }
}
