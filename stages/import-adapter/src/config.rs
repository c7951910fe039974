//! The configuration that gives modules the ranks and scales that they have.

use std::collections::BTreeMap;

use checkpoint::adapter::{AdapterConfig, LoraModule};
use model::Inventory;
use model::inventory::AdapterFacts;

use crate::found::Found;

/// PEFT's own where it says the same of the modules, else one rank and alpha with patterns for those that differ.
pub fn of(found: &Found, modules: &BTreeMap<String, LoraModule>, inventory: &Inventory) -> AdapterConfig {
    let named: Vec<(Name, &LoraModule)> =
        modules.iter().map(|(module, lora)| (name_in_config(inventory, module), lora)).collect();
    let fits = |config: &AdapterConfig| {
        let says = |(name, lora): &(Name, &LoraModule)| {
            let name = name.path();
            config.rank_of(name).ok() == Some(lora.rank()) && config.scale_of(name).ok() == Some(lora.scale)
        };
        named.iter().all(says)
    };
    let config = found.config.clone().filter(fits).unwrap_or_else(|| written(found, &named));
    // Whole paths: an adapter need not change every layer, and PEFT would add to all modules of a last name.
    let (mut target_modules, mut target_parameters) = (Vec::new(), Vec::new());
    for (name, _) in named {
        match name {
            Name::Module(path) => target_modules.push(path),
            Name::Parameter(path) => target_parameters.push(path),
        }
    }
    AdapterConfig { target_modules, target_parameters, ensure_weight_tying: found.keeps_tie, ..config }
}

/// What a configuration calls a module.
enum Name {
    Module(String),
    /// What transformers has as a parameter: experts, and their router.
    Parameter(String),
}

impl Name {
    fn path(&self) -> &str {
        let (Name::Module(path) | Name::Parameter(path)) = self;
        path
    }
}

fn name_in_config(inventory: &Inventory, module: &str) -> Name {
    let facts = inventory.by_module(module).and_then(|spec| Some((spec, spec.adapter.as_ref()?)));
    match facts {
        Some((_, AdapterFacts { parameter: Some(path), .. })) => Name::Parameter(path.clone()),
        Some((spec, AdapterFacts { expert_axis: Some(_), .. })) => Name::Parameter(spec.name.clone()),
        _ => Name::Module(module.to_owned()),
    }
}

fn written(found: &Found, modules: &[(Name, &LoraModule)]) -> AdapterConfig {
    let (r, alpha) = most_common(modules.iter().map(|(_, lora)| (lora.rank(), alpha_of(lora))));
    let mut config = AdapterConfig::new(r, alpha, Vec::new());
    config.use_dora = modules.iter().any(|(_, lora)| lora.magnitude.is_some());
    config.base_model_name_or_path = found.base.clone();
    for (name, lora) in modules {
        if lora.rank() != r {
            config.rank_pattern.push((name.path().to_owned(), lora.rank()));
        }
        if alpha_of(lora) != alpha {
            config.alpha_pattern.push((name.path().to_owned(), alpha_of(lora)));
        }
    }
    config
}

/// What divided by the rank is the scale, to the bit.
fn alpha_of(lora: &LoraModule) -> f64 {
    f64::from(lora.scale) * lora.rank() as f64
}

fn most_common(pairs: impl Iterator<Item = (usize, f64)>) -> (usize, f64) {
    let mut counts: Vec<((usize, f64), usize)> = Vec::new();
    for pair in pairs {
        match counts.iter_mut().find(|(known, _)| *known == pair) {
            Some((_, count)) => *count += 1,
            None => counts.push((pair, 1)),
        }
    }
    // Of equals the first, which is that of the first module.
    counts.iter().rev().max_by_key(|(_, count)| *count).map_or((1, 1.0), |(pair, _)| *pair)
}
