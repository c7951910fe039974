//! What is known about a model without its weights.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::architecture::Architecture;
use crate::inventory::{Dialect, Inventory};
use crate::stored_type::StoredType;

/// A model's headers: what `plan` works on, for a file on disk as for one that is only going to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDescription {
    /// What holds it.
    pub container: Container,
    /// `config.json` as it lies, for safetensors.
    pub config: Option<Value>,
    /// A GGUF's metadata by key, without `tokenizer.` keys (which `tokenizer` sums up) and arrays of more than
    /// [`ModelDescription::MAX_ARRAY`] values.
    pub metadata: BTreeMap<String, MetaValue>,
    /// Stored tensors in file order.
    pub tensors: Vec<StoredTensor>,
    /// `f32` values of small GGUF tensors that are facts rather than weights: `rope_freqs.weight`.
    pub small: BTreeMap<String, Vec<f32>>,
    /// A summary of the tokenizer, as `crates/tokenizer` writes it.
    pub tokenizer: Option<Value>,
    /// Where the model came from, as far as its `fetch` knew: `source` (`hf:org/name`) with its `revision`, the `file`
    /// of a GGUF by its name alone, and `pre`, the pre-tokenizer that was named for it.
    pub provenance: BTreeMap<String, String>,
}

/// What holds a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// A Hugging Face directory.
    Safetensors,
    /// One GGUF or its splits.
    Gguf,
}

impl Container {
    /// The name in a description's facts.
    pub fn name(self) -> &'static str {
        match self {
            Container::Safetensors => "safetensors",
            Container::Gguf => "gguf",
        }
    }
}

/// A tensor's header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredTensor {
    /// The stored name.
    pub name: String,
    /// How its values lie.
    pub stored_type: StoredType,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
}

impl StoredTensor {
    /// Bytes of the data; the header was checked when it was read.
    pub fn bytes(&self) -> u64 {
        self.stored_type.tensor_bytes(&self.shape).unwrap_or(0)
    }

    /// The number of values.
    pub fn values(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// A GGUF metadata value, as far as families and vocabularies use it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum MetaValue {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Vec<MetaValue>),
}

impl MetaValue {
    /// A value in it that is NaN or infinite.
    fn not_finite(&self) -> Option<f64> {
        match self {
            MetaValue::F32(value) => Some(f64::from(*value)).filter(|value| !value.is_finite()),
            MetaValue::F64(value) => Some(*value).filter(|value| !value.is_finite()),
            MetaValue::Array(values) => values.iter().find_map(MetaValue::not_finite),
            _ => None,
        }
    }

    /// An unsigned number of whatever width.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            MetaValue::U8(v) => Some(u64::from(*v)),
            MetaValue::U16(v) => Some(u64::from(*v)),
            MetaValue::U32(v) => Some(u64::from(*v)),
            MetaValue::U64(v) => Some(*v),
            MetaValue::I8(v) => u64::try_from(*v).ok(),
            MetaValue::I16(v) => u64::try_from(*v).ok(),
            MetaValue::I32(v) => u64::try_from(*v).ok(),
            MetaValue::I64(v) => u64::try_from(*v).ok(),
            _ => None,
        }
    }

    /// A floating-point number.
    pub fn as_f32(&self) -> Option<f32> {
        match self {
            MetaValue::F32(v) => Some(*v),
            MetaValue::F64(v) => Some(*v as f32),
            _ => None,
        }
    }

    /// A string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            MetaValue::String(s) => Some(s),
            _ => None,
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            MetaValue::Bool(b) => Some(*b),
            _ => None,
        }
    }
}

impl ModelDescription {
    /// Longer metadata arrays are left out of descriptions.
    pub const MAX_ARRAY: usize = 1024;

    /// The stored tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.iter().find(|t| t.name == name)
    }

    /// Bytes of all tensors' data.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().map(StoredTensor::bytes).sum()
    }

    /// A fact that is NaN or infinite, with its name: JSON has no such number, and no model either.
    pub fn not_finite(&self) -> Option<(&str, f64)> {
        let in_metadata = self.metadata.iter().find_map(|(key, value)| Some((key.as_str(), value.not_finite()?)));
        let in_small = || {
            let small = self.small.iter();
            small.flat_map(|(name, values)| values.iter().map(move |value| (name.as_str(), f64::from(*value))))
        };
        in_metadata.or_else(|| in_small().find(|(_, value)| !value.is_finite()))
    }

    /// What a family claims it by: `model_type` of the configuration, or the GGUF architecture.
    pub fn claim(&self) -> Option<(&'static str, &str)> {
        match self.container {
            Container::Safetensors => Some(("model_type", self.config.as_ref()?.get("model_type")?.as_str()?)),
            Container::Gguf => Some(("gguf_architecture", self.metadata.get("general.architecture")?.as_str()?)),
        }
    }
}

/// A model's description as its family reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// The family that read it.
    pub family: String,
    /// The spelling that was seen.
    pub dialect: Dialect,
    /// What the network computes.
    pub architecture: Architecture,
    /// Every tensor.
    pub inventory: Inventory,
    /// The published `config.json` that says the same; for a safetensors model the one that was read.
    pub config: Value,
    /// The GGUF header that says the same.
    pub gguf: GgufHeader,
    /// Facts that the dialect can't carry, with what its runtime takes for them.
    pub assumed: Vec<Assumed>,
    /// Facts that GGUF can't carry and that this model sets otherwise than llama.cpp assumes.
    pub lost_in_gguf: Vec<LostFact>,
    /// Things worth saying: ignored keys, untied heads.
    pub notes: Vec<String>,
}

/// A GGUF's own keys, without vocabulary and naming.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GgufHeader {
    /// `general.architecture`.
    pub architecture: String,
    /// The architecture's keys in the order in which they are written.
    pub metadata: Vec<(String, MetaValue)>,
    /// Which keys llama.cpp's converter writes for the vocabulary.
    pub vocabulary: VocabularyKeys,
}

/// How llama.cpp's converter writes a vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VocabularyKeys {
    /// As for Llama and what derives from it: `add_space_prefix`, and `add_bos_token` for some vocabularies.
    Llama,
    /// The vocabulary alone.
    Plain,
}

/// A fact that was filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assumed {
    /// The configuration key.
    pub fact: String,
    /// The value taken.
    pub value: Value,
    /// Why that value.
    pub reason: String,
}

/// A fact that a dialect drops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostFact {
    /// The configuration key.
    pub fact: String,
    /// What the model says.
    pub value: Value,
    /// What the dialect's runtime assumes instead.
    pub assumed: Value,
    /// The bound beyond which answers change, e.g. `past 4096 tokens`; `None` where they change everywhere.
    pub bound: Option<String>,
}
