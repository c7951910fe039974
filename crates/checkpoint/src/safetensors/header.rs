//! The header of one safetensors file, read strictly.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::StoredType;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::Problem;
use crate::source::ByteSource;
use crate::tensor::{LocatedTensor, byte_len};
use model::description::StoredTensor;

/// No published header comes near; the reference implementation has the same cap.
const MAX_HEADER_BYTES: u64 = 100_000_000;
const LENGTH_BYTES: u64 = 8;
const METADATA_KEY: &str = "__metadata__";

/// What one file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Tensors in the order of their bytes.
    pub tensors: Vec<LocatedTensor>,
    /// Free text that the writer left, such as `format = "pt"`.
    pub metadata: BTreeMap<String, String>,
}

impl Header {
    /// Reads and checks the header in two ranged reads. Data is not touched.
    pub fn read(source: &(impl ByteSource + ?Sized)) -> Result<Self, Problem> {
        let file_bytes = source.len();
        let after_length = file_bytes.checked_sub(LENGTH_BYTES).ok_or(Problem::TooShort { got: file_bytes })?;
        let mut length = [0; LENGTH_BYTES as usize];
        source.read_at(0, &mut length)?;
        let length = u64::from_le_bytes(length);
        let limit = after_length.min(MAX_HEADER_BYTES);
        if length > limit {
            return Err(Problem::HeaderTooLong { got: length, limit });
        }
        let mut json = vec![0; length as usize];
        source.read_at(LENGTH_BYTES, &mut json)?;
        Self::parse(&json, LENGTH_BYTES + length, after_length - length)
    }

    /// Checks a header's JSON against data of `data_bytes` that starts at `data_start` of its file.
    fn parse(json: &[u8], data_start: u64, data_bytes: u64) -> Result<Self, Problem> {
        let Pairs(pairs) = serde_json::from_slice::<Pairs<Item>>(json).map_err(Problem::HeaderJson)?;
        let mut seen = BTreeSet::new();
        let mut metadata = BTreeMap::new();
        let mut entries = Vec::new();
        for (name, item) in pairs {
            if !seen.insert(name.clone()) {
                return Err(Problem::Duplicate { name });
            }
            match item {
                Item::Tensor(entry) => entries.push((name, entry)),
                Item::Metadata(pairs) => {
                    for (key, value) in pairs {
                        if metadata.insert(key.clone(), value).is_some() {
                            return Err(Problem::Duplicate { name: key });
                        }
                    }
                }
            }
        }
        entries.sort_by_key(|(_, entry)| entry.data_offsets);
        let tensors = locate(entries, data_start, data_bytes)?;
        Ok(Self { tensors, metadata })
    }
}

/// Checks that the tensors, in the order of their offsets, fill the data without gap or overlap.
fn locate(entries: Vec<(String, Entry)>, data_start: u64, data_bytes: u64) -> Result<Vec<LocatedTensor>, Problem> {
    let mut tensors = Vec::with_capacity(entries.len());
    let mut position = 0;
    for (name, entry) in entries {
        let (begin, end) = entry.data_offsets;
        let Some(stored_type) = StoredType::from_safetensors_name(&entry.dtype) else {
            return Err(Problem::UnknownDtype { name, dtype: entry.dtype });
        };
        let tensor = StoredTensor { name, stored_type, shape: entry.shape };
        let expected = byte_len(&tensor);
        if expected.is_none() || expected != end.checked_sub(begin) {
            let StoredTensor { name, stored_type, shape } = tensor;
            return Err(Problem::WrongBytes { name, stored_type, shape, expected, begin, end });
        }
        if begin < position {
            return Err(Problem::Overlap { name: tensor.name, begin, previous_end: position });
        }
        if begin > position {
            return Err(Problem::Gap { name: tensor.name, begin, previous_end: position });
        }
        position = end;
        if position > data_bytes {
            break;
        }
        tensors.push(LocatedTensor { tensor, offset: data_start + begin, bytes: end - begin });
    }
    if position != data_bytes {
        return Err(Problem::DataLength { expected: position, got: data_bytes });
    }
    Ok(tensors)
}

/// A tensor's entry as it is spelled.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) dtype: String,
    pub(super) shape: Vec<u64>,
    pub(super) data_offsets: (u64, u64),
}

/// The value of a header's key, told apart by the key.
enum Item {
    Tensor(Entry),
    Metadata(Vec<(String, String)>),
}

/// A JSON object as its pairs in order, duplicates included: serde's maps would keep the last one in silence.
pub(super) struct Pairs<T>(pub(super) Vec<(String, T)>);

/// How the value of a key is read, where that depends on the key.
pub(super) trait PairValue: Sized {
    fn next<'de, M: MapAccess<'de>>(key: &str, map: &mut M) -> Result<Self, M::Error>;
}

impl PairValue for Item {
    fn next<'de, M: MapAccess<'de>>(key: &str, map: &mut M) -> Result<Self, M::Error> {
        if key == METADATA_KEY {
            // mlx writes `null` where it has nothing to say.
            let pairs = map.next_value::<Option<Pairs<String>>>()?;
            Ok(Item::Metadata(pairs.map_or_else(Vec::new, |Pairs(pairs)| pairs)))
        } else {
            map.next_value().map(Item::Tensor)
        }
    }
}

impl PairValue for String {
    fn next<'de, M: MapAccess<'de>>(_key: &str, map: &mut M) -> Result<Self, M::Error> {
        map.next_value()
    }
}

impl<'de, T: PairValue> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: PairValue> Visitor<'de> for PairsVisitor<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut pairs = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let value = T::next(&key, &mut map)?;
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(PairsVisitor(std::marker::PhantomData))
    }
}

/// Encodes the length and the JSON of a header for tensors that follow back to back in the given order.
pub(super) fn encode(tensors: &[StoredTensor], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, Problem> {
    let mut json = serde_json::Map::new();
    if !metadata.is_empty() {
        json.insert(
            METADATA_KEY.to_owned(),
            metadata.iter().map(|(k, v)| (k.clone(), serde_json::Value::from(v.clone()))).collect(),
        );
    }
    let mut position = 0u64;
    for tensor in tensors {
        let not_storable = || Problem::NotStorable { name: tensor.name.clone(), stored_type: tensor.stored_type };
        let dtype = tensor.stored_type.safetensors_name().ok_or_else(not_storable)?;
        let end = byte_len(tensor).and_then(|bytes| position.checked_add(bytes)).ok_or_else(not_storable)?;
        let entry = Entry { dtype: dtype.to_owned(), shape: tensor.shape.clone(), data_offsets: (position, end) };
        json.insert(tensor.name.clone(), serde_json::to_value(entry).map_err(Problem::HeaderJson)?);
        position = end;
    }
    let mut text = serde_json::to_vec(&json).map_err(Problem::HeaderJson)?;
    // Spaces up to a multiple of eight, so that the data is aligned for readers that cast it in place.
    text.resize(text.len().next_multiple_of(LENGTH_BYTES as usize), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    Ok(bytes)
}
