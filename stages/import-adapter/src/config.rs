//! The configuration that gives modules the ranks and scales that they have.

use std::collections::BTreeMap;

use checkpoint::adapter::{AdapterConfig, LoraModule};

use crate::found::Found;

/// PEFT's own where it says the same of the modules, else one rank and alpha with patterns for those that differ.
pub fn of(found: &Found, modules: &BTreeMap<String, LoraModule>) -> AdapterConfig {
    // Whole paths: an adapter need not change every layer, and PEFT would add to all modules of a last name.
    let target_modules = modules.keys().cloned().collect();
    let fits = |config: &AdapterConfig| {
        let says = |(name, lora): (&String, &LoraModule)| {
            config.rank_of(name).ok() == Some(lora.rank()) && config.scale_of(name).ok() == Some(lora.scale)
        };
        modules.iter().all(says)
    };
    match found.config.clone().filter(fits) {
        Some(config) => AdapterConfig { target_modules, ..config },
        None => written(found, modules, target_modules),
    }
}

fn written(found: &Found, modules: &BTreeMap<String, LoraModule>, targets: Vec<String>) -> AdapterConfig {
    let (r, alpha) = most_common(modules.values().map(|lora| (lora.rank(), alpha_of(lora))));
    let mut config = AdapterConfig::new(r, alpha, targets);
    config.use_dora = modules.values().any(|lora| lora.magnitude.is_some());
    config.base_model_name_or_path = found.base.clone();
    for (name, lora) in modules {
        if lora.rank() != r {
            config.rank_pattern.push((name.clone(), lora.rank()));
        }
        if alpha_of(lora) != alpha {
            config.alpha_pattern.push((name.clone(), alpha_of(lora)));
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
