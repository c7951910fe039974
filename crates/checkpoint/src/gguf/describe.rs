//! A GGUF's header as a model's description.

use std::collections::BTreeMap;

use model::description::{Container, MetaValue, ModelDescription, StoredTensor};

use super::Metadata;

/// Tensors that hold facts of the architecture rather than weights; a description has their values.
pub const FACT_TENSORS: [&str; 1] = ["rope_freqs.weight"];
/// More than this is no small fact.
pub const MAX_FACT_BYTES: u64 = 64 << 10;

/// The description of a GGUF, local or remote; `facts` are the values of those [`FACT_TENSORS`] that it has.
pub fn describe(
    metadata: &Metadata,
    tensors: impl IntoIterator<Item = StoredTensor>,
    facts: BTreeMap<String, Vec<f32>>,
) -> ModelDescription {
    ModelDescription {
        container: Container::Gguf,
        config: None,
        metadata: metadata_of(metadata),
        tensors: tensors.into_iter().collect(),
        small: facts,
        tokenizer: None,
        provenance: BTreeMap::new(),
    }
}

/// The values of a fact tensor from its bytes; `None` where it is too large or of a type that is not decoded.
pub fn fact_values(tensor: &StoredTensor, bytes: &[u8]) -> Option<Vec<f32>> {
    if tensor.bytes() > MAX_FACT_BYTES {
        return None;
    }
    let mut values = vec![0.0; tensor.values() as usize];
    blocks::decode_rows(tensor.stored_type, bytes, &mut values).ok()?;
    Some(values)
}

/// The vocabulary's keys stay out: the tokenizer's summary says what they mean, and a planned file has no text for them.
fn metadata_of(metadata: &Metadata) -> BTreeMap<String, MetaValue> {
    let all = metadata.describe(ModelDescription::MAX_ARRAY);
    all.into_iter().filter(|(key, _)| !key.starts_with("tokenizer.")).collect()
}
