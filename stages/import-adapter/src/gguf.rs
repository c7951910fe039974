//! A GGUF LoRA, as llama.cpp's `--lora` takes it.
//!
//! `<tensor>.lora_a` `(rank, in)` and `.lora_b` `(out, rank)` by the names of the base's GGUF, experts' stacked. llama.cpp
//! multiplies by `alpha / rank` with the rank of each pair; an alpha of 0, or none, is 1. Of the embedding they are
//! `(entries, rank)` and `(features, rank)`.

use std::collections::BTreeMap;
use std::path::Path;

use checkpoint::gguf::{EMBEDDING, Gguf, Metadata};

use crate::change::{Lies, Lookup, Part, Parts};
use crate::error::ImportError;
use crate::found::{Found, Kind};
use crate::weights::Weights;

const INVOCATION: &str = "adapter.alora.invocation_tokens";

pub fn read(path: &Path, architecture: &str) -> Result<Found, ImportError> {
    let file = Gguf::open(path).map_err(|error| ImportError::Gguf(Box::new(error)))?;
    let metadata = file.metadata();
    let alpha = check(metadata, architecture)?;
    let base = text(metadata, "general.base_model.0.repo_url")?.or(text(metadata, "general.base_model.0.name")?);
    let weights = Weights::gguf(path, file);
    let mut parts = Parts::default();
    for tensor in weights.tensors() {
        let (changed, part) = match tensor.name.rsplit_once('.') {
            Some((changed, "lora_a")) => (changed.to_owned(), Part::A),
            Some((changed, "lora_b")) => (changed.to_owned(), Part::B),
            _ => return Err(ImportError::UnexpectedTensor { kind: Kind::Gguf, tensor: tensor.name }),
        };
        parts.add(&changed, part, tensor)?;
    }
    let scale = |_: &str, rank: u64| Ok(if alpha == 0.0 { 1.0 } else { alpha / rank as f32 });
    let lies = |name: &str| if name == EMBEDDING { Lies::Lookup(Lookup::Gguf) } else { Lies::Rows };
    let changes = parts.finish(lies, scale)?;
    let saved = BTreeMap::new();
    Ok(Found { kind: Kind::Gguf, base, changes, saved, keeps_tie: false, repeated: None, config: None, weights })
}

/// What llama.cpp asks of the metadata, and what it would do beside adding; returns alpha.
fn check(metadata: &Metadata, architecture: &str) -> Result<f32, ImportError> {
    let says = |key: &'static str, expected: &str| match text(metadata, key)? {
        Some(got) if got == expected => Ok(()),
        got => Err(ImportError::Metadata { key, got, expected: expected.to_owned() }),
    };
    says("general.type", "adapter")?;
    says("adapter.type", "lora")?;
    says("general.architecture", architecture)?;
    if metadata.value(INVOCATION).is_some() {
        return Err(ImportError::Invocation);
    }
    Ok(metadata.get::<f32>("adapter.lora.alpha")?.unwrap_or(0.0))
}

fn text(metadata: &Metadata, key: &str) -> Result<Option<String>, ImportError> {
    Ok(metadata.get::<&str>(key)?.map(str::to_owned))
}
