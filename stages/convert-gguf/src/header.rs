//! The metadata of the GGUF, all but the vocabulary.

use model::description::{Container, MetaValue};
use stage_model::ModelInput;

use crate::naming::size_label;

/// llama.cpp's `GGML_QNT_VERSION`: how block types are laid out.
const QUANTIZATION_VERSION: u32 = 2;

/// Keys in the order in which they are written.
pub fn metadata(model: &ModelInput, name: &str, file_type: u32) -> Vec<(String, MetaValue)> {
    let reading = &model.reading;
    let text = |key: &str, value: &str| (key.to_owned(), MetaValue::String(value.to_owned()));
    let mut out = vec![
        text("general.architecture", &reading.gguf.architecture),
        text("general.type", "model"),
        text("general.name", name),
        text("general.size_label", &size_label(&reading.inventory.gguf)),
    ];
    out.extend(kept(model));
    out.extend(reading.gguf.metadata.iter().cloned());
    out.push(("general.file_type".into(), MetaValue::U32(file_type)));
    out.push(("general.quantization_version".into(), MetaValue::U32(QUANTIZATION_VERSION)));
    out
}

/// What a GGUF base says about itself and that stays true: licence, authors, sources. The architecture's own keys are
/// written anew from what the family read, so nothing is said twice.
fn kept(model: &ModelInput) -> Vec<(String, MetaValue)> {
    if model.description.container != Container::Gguf {
        return Vec::new();
    }
    const OURS: [&str; 7] = [
        "general.alignment",
        "general.architecture",
        "general.file_type",
        "general.name",
        "general.quantization_version",
        "general.size_label",
        "general.type",
    ];
    let stays = |(key, _): &(&String, &MetaValue)| key.starts_with("general.") && !OURS.contains(&key.as_str());
    let pairs = model.description.metadata.iter().filter(stays);
    pairs.map(|(key, value)| (key.clone(), value.clone())).collect()
}
