//! A directory's headers as a model's description.

use std::collections::BTreeMap;

use model::description::{Container, ModelDescription, StoredTensor};
use serde_json::Value;

/// The description of a checkpoint, local or remote, from its `config.json` and its tensors in file order, shard after
/// shard in the order of their names.
pub fn describe(config: Value, tensors: impl IntoIterator<Item = StoredTensor>) -> ModelDescription {
    ModelDescription {
        container: Container::Safetensors,
        config: Some(config),
        metadata: BTreeMap::new(),
        tensors: tensors.into_iter().collect(),
        small: BTreeMap::new(),
        tokenizer: None,
        provenance: BTreeMap::new(),
    }
}
