//! PEFT's adapters, as PEFT or Unsloth saves them.
//!
//! `base_model.model.<module>.lora_A.weight` with A `(r, in)`, `lora_B` `(out, r)` and, for DoRA,
//! `lora_magnitude_vector` `(out)`. A raw state dict has the adapter's name behind `lora_A`, and `.weight` behind the
//! vector. An embedding has `lora_embedding_A` `(r, entries)` and `lora_embedding_B` `(features, r)`, and PEFT saves its
//! frozen weight beside them, as it saves an adapted head's. What the scale is comes from the configuration, patterns
//! included. Experts are parameters, whose wrappers have names of their own: they become those of the modules here.

use std::collections::BTreeMap;
use std::path::Path;

use checkpoint::adapter::{AdapterConfig, Targeting, WrappedParameter};
use model::Inventory;
use model::description::StoredTensor;
use stage_model::{HEAD, ModelInput};

use crate::change::{Lies, Lookup, Part, Parts};
use crate::error::ImportError;
use crate::found::{Found, Kind};
use crate::names::{core, without_wrappers};
use crate::source::read_config;
use crate::weights::Weights;

pub fn read(config_path: &Path, weights_path: &Path, model: &ModelInput) -> Result<Found, ImportError> {
    let json = read_config(config_path)?;
    let of_config = |source| ImportError::Config { path: config_path.to_owned(), source: Box::new(source) };
    let config = AdapterConfig::parse(&json).map_err(of_config)?;
    let targeting = Targeting::parse(&json).map_err(of_config)?;
    let weights = Weights::safetensors(weights_path)?;
    let wrapped = config.wrapped(&model.reading.inventory);
    let Tensors { parts, saved, looked_up } = Tensors::sort(&weights, &wrapped, &model.reading.inventory)?;
    let parameter = |module: &str| wrapped.iter().find(|wrapped| wrapped.module == module);
    let lies = |module: &str| match parameter(module) {
        Some(WrappedParameter { experts, .. }) if *experts > 1 => Lies::Parameter { experts: *experts as u64 },
        _ if looked_up.get(module) == Some(&true) => Lies::Lookup(Lookup::Peft),
        _ => Lies::Rows,
    };
    let changes = parts.finish(lies, |module, rank| {
        let named = parameter(module).map_or(module, |parameter| &parameter.parameter);
        let configured = config.rank_of(named).map_err(of_config)?;
        if configured as u64 != rank {
            return Err(ImportError::Rank { changed: module.to_owned(), rank, configured: configured as u64 });
        }
        config.scale_of(named).map_err(of_config)
    })?;
    let tied = model.reading.architecture.is_tied();
    let keeps_tie = tied && config.ensure_weight_tying && targeting.names_one_of_the_tied().map_err(of_config)?;
    for (module, change) in &changes {
        let is_parameter = parameter(module).is_some();
        if change.magnitude.is_some() != (config.use_dora && !is_parameter) {
            return Err(ImportError::Dora { changed: module.clone(), said: config.use_dora });
        }
        // Of modules that share a matrix PEFT's configuration names one.
        if is_parameter || (keeps_tie && core(module) == HEAD) {
            continue;
        }
        if let Some(key) = targeting.leaves_out(module).map_err(of_config)? {
            return Err(ImportError::LeftOut { changed: module.clone(), key });
        }
    }
    let base = config.base_model_name_or_path.clone();
    Ok(Found { kind: Kind::Peft, base, changes, saved, keeps_tie, repeated: None, config: Some(config), weights })
}

/// A file's tensors by what they are for.
#[derive(Default)]
struct Tensors {
    parts: Parts,
    /// Whole weights by module.
    saved: BTreeMap<String, StoredTensor>,
    /// By module: whether its factors' names are those of one that looks up.
    looked_up: BTreeMap<String, bool>,
}

impl Tensors {
    fn sort(weights: &Weights, wrapped: &[WrappedParameter], inventory: &Inventory) -> Result<Self, ImportError> {
        let mut sorted = Self::default();
        for tensor in weights.tensors() {
            if let Some(module) = saved_module(&tensor.name, inventory) {
                let name = tensor.name.clone();
                if let Some(StoredTensor { name: other, .. }) = sorted.saved.insert(module, tensor) {
                    return Err(ImportError::Twice { tensors: [other, name] });
                }
                continue;
            }
            let Some((module, part, of_lookup)) = part_of(&tensor.name) else {
                return Err(ImportError::UnexpectedTensor { kind: Kind::Peft, tensor: tensor.name });
            };
            let module = without_wrappers(&module);
            let mut before = |of_lookup| *sorted.looked_up.entry(module.clone()).or_insert(of_lookup);
            if of_lookup.is_some_and(|of_lookup| before(of_lookup) != of_lookup) {
                return Err(ImportError::TwoKinds { changed: module });
            }
            let parameter = wrapped.iter().find(|wrapped| core(&wrapped.path) == core(&module));
            sorted.parts.add(parameter.map_or(&module, |parameter| &parameter.module), part, tensor)?;
        }
        Ok(sorted)
    }
}

/// The module whose whole weight a tensor is, where that is an embedding or a head.
fn saved_module(name: &str, inventory: &Inventory) -> Option<String> {
    let weight = name.strip_suffix(".weight")?;
    let module = without_wrappers(weight.strip_suffix(".base_layer").unwrap_or(weight));
    let is_head = || core(&module) == HEAD;
    (is_head() || Kind::Peft.is_embedding(inventory, &module)).then_some(module)
}

/// The module of a tensor, what it is to it, and whether the module is one that looks up, where the name tells.
fn part_of(name: &str) -> Option<(String, Part, Option<bool>)> {
    let words: Vec<&str> = name.split('.').collect();
    let at = words.iter().position(|word| word.starts_with("lora_"))?;
    let (part, of_lookup) = match (words[at], &words[at + 1..]) {
        ("lora_A", ["weight"] | [_, "weight"]) => (Part::A, Some(false)),
        ("lora_B", ["weight"] | [_, "weight"]) => (Part::B, Some(false)),
        ("lora_embedding_A", [] | [_]) => (Part::A, Some(true)),
        ("lora_embedding_B", [] | [_]) => (Part::B, Some(true)),
        ("lora_magnitude_vector", [] | [_] | [_, "weight"]) => (Part::Magnitude, None),
        _ => return None,
    };
    Some((words[..at].join("."), part, of_lookup))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapters_name_may_stand_in_it() {
        let module = || "base_model.model.x.q_proj".to_owned();
        for (tail, part, of_lookup) in [
            ("lora_A.weight", Part::A, Some(false)),
            ("lora_B.default.weight", Part::B, Some(false)),
            ("lora_embedding_A", Part::A, Some(true)),
            ("lora_embedding_B.default", Part::B, Some(true)),
            ("lora_magnitude_vector", Part::Magnitude, None),
            ("lora_magnitude_vector.weight", Part::Magnitude, None),
            ("lora_magnitude_vector.default.weight", Part::Magnitude, None),
        ] {
            assert_eq!(part_of(&format!("{}.{tail}", module())), Some((module(), part, of_lookup)), "{tail}");
        }
        for tail in ["lora_embedding_A.default.weight", "weight", "lora_A.bias", "lora_C.weight"] {
            assert_eq!(part_of(&format!("{}.{tail}", module())), None, "{tail}");
        }
    }
}
