//! What a change of the embedding or the head means where the two are one matrix.
//!
//! mlx-lm multiplies with the matrix that it looks up in, so its change is one of both. PEFT changes what is looked up, or
//! what multiplies, and the other stays: merged, the model has two matrices. With `ensure_weight_tying` it keeps one, and
//! saves the embedding's factors as the head's too. llama.cpp takes the embedding's factors for the head's, and aborts.

use stage_api::{Context, Result};
use stage_model::{HEAD, ModelInput};

use crate::assemble::are_same;
use crate::error::ImportError;
use crate::found::{Found, Kind};
use crate::names::core;

/// The model that the factors are placed onto; the head's own are taken out where they must be the embedding's.
pub fn as_meant(ctx: &Context, model: ModelInput, found: &mut Found) -> Result<ModelInput> {
    if !model.reading.architecture.is_tied() {
        found.keeps_tie = false;
        return Ok(model);
    }
    match found.kind {
        Kind::Mlx | Kind::Gguf => Ok(model),
        Kind::Peft if found.keeps_tie => {
            found.keeps_tie = found.changes.keys().any(|name| is_embedding(found, &model, name));
            let head = found.changes.keys().find(|name| core(name) == HEAD).cloned();
            match head {
                Some(head) if !found.keeps_tie => return Err(ImportError::HeadAlone { head }.into()),
                Some(head) => found.repeated = found.changes.remove(&head),
                None => {}
            }
            Ok(model)
        }
        Kind::Peft => {
            let names = as_modules(&model, found);
            model.untied_where(ctx, names.iter().map(String::as_str))
        }
    }
}

/// Holds the head's factors against the embedding's, which they must be.
pub fn hold(found: &Found, model: &ModelInput) -> Result<(), ImportError> {
    let Some(head) = &found.repeated else { return Ok(()) };
    let embedding = found.changes.iter().find(|(name, _)| is_embedding(found, model, name));
    match embedding {
        Some((_, embedding)) if head.scale != embedding.scale => {
            Err(ImportError::TiedScales { head: head.scale, embedding: embedding.scale })
        }
        Some((_, embedding)) if are_same(found, head, embedding)? => Ok(()),
        _ => Err(ImportError::NotTied { head: head.b.name.clone() }),
    }
}

/// What is changed, by the names of the model's modules where it has them; the head goes by transformers'.
fn as_modules(model: &ModelInput, found: &Found) -> Vec<String> {
    let known: Vec<&str> =
        model.reading.inventory.tensors.iter().filter_map(|t| Some(&*t.adapter.as_ref()?.module)).collect();
    let named = |name: &String| known.iter().copied().chain([HEAD]).find(|known| core(known) == core(name));
    found.changes.keys().filter_map(named).map(str::to_owned).collect()
}

fn is_embedding(found: &Found, model: &ModelInput, name: &str) -> bool {
    found.kind.is_embedding(&model.reading.inventory, name)
}
