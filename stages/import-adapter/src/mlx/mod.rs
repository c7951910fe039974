//! mlx-lm's adapters: `adapters.safetensors` beside an `adapter_config.json` with the training's arguments.
//!
//! `<module>.lora_a` is `(in, rank)` and `lora_b` `(rank, out)`, the transposes of PEFT's; experts' are stacked as
//! `(experts, rank, in)` and `(experts, out, rank)`, and an embedding's are `(entries, rank)` and `(rank, features)`.
//! DoRA's lengths are `<module>.m`. The scale is what multiplies, not to be divided by the rank. Arguments beside those of
//! LoRA and the number of its layers concern the training alone.

mod targeting;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};
use stage_model::ModelInput;

use crate::change::{Lies, Lookup, Part, Parts};
use crate::error::ImportError;
use crate::found::{Found, Kind};
use crate::names::without_wrappers;
use crate::source::read_keys;
use crate::weights::Weights;
use targeting::Targeting;

/// Known keys of `lora_parameters`.
const PARAMETERS: [&str; 5] = ["rank", "scale", "alpha", "dropout", "keys"];

pub fn read(
    config_path: &Path,
    weights_path: &Path,
    scale: Option<f32>,
    model: &ModelInput,
) -> Result<Found, ImportError> {
    let keys = read_keys(config_path)?;
    let config = Config::parse(&keys, scale)?;
    let targeting = Targeting::of(&keys, model.reading.architecture.layers.len() as u64);
    let inventory = &model.reading.inventory;
    let weights = Weights::safetensors(weights_path)?;
    let mut parts = Parts::default();
    for tensor in weights.tensors() {
        let (module, part) = match tensor.name.rsplit_once('.') {
            Some((module, "lora_a")) => (module, Part::A),
            Some((module, "lora_b")) => (module, Part::B),
            Some((module, "m")) => (module, Part::Magnitude),
            _ => return Err(ImportError::UnexpectedTensor { kind: Kind::Mlx, tensor: tensor.name }),
        };
        parts.add(&without_wrappers(module), part, tensor.clone())?;
    }
    let changes = parts.finish(
        |module| match Kind::Mlx.is_embedding(inventory, module) {
            true => Lies::Lookup(Lookup::Mlx),
            false => Lies::Columns,
        },
        |module, rank| match config.rank == rank {
            true => Ok(config.scale),
            false => Err(ImportError::Rank { changed: module.to_owned(), rank, configured: config.rank }),
        },
    )?;
    for (module, change) in &changes {
        if let Some(key) = targeting.leaves_out(module) {
            return Err(ImportError::LeftOut { changed: module.clone(), key });
        }
        if change.magnitude.is_some() != config.dora {
            return Err(ImportError::Dora { changed: module.clone(), said: config.dora });
        }
    }
    let base = keys.get("model").and_then(Value::as_str).map(str::to_owned);
    // What mlx-lm looks up in is what it multiplies with, where there is no other head.
    let keeps_tie = changes.keys().any(|module| Kind::Mlx.is_embedding(inventory, module));
    Ok(Found {
        kind: Kind::Mlx,
        base,
        changes,
        saved: BTreeMap::new(),
        keeps_tie,
        repeated: None,
        config: None,
        weights,
    })
}

/// What of the arguments changes the computation.
#[derive(Debug, PartialEq)]
struct Config {
    rank: u64,
    scale: f32,
    dora: bool,
}

impl Config {
    fn parse(keys: &Map<String, Value>, given: Option<f32>) -> Result<Self, ImportError> {
        let bad = |key: &'static str, got: Option<&Value>, expected: &'static str| ImportError::Key {
            key,
            got: got.cloned().unwrap_or_default().to_string(),
            expected,
        };
        // Before it had a name, DoRA was a flag.
        let was_dora = keys.get("use_dora").is_some_and(|flag| flag == true);
        let dora = match keys.get("fine_tune_type") {
            None => was_dora,
            Some(kind) if kind == "lora" => false,
            Some(kind) if kind == "dora" => true,
            Some(kind) if kind == "full" => return Err(ImportError::FullFineTune),
            other => return Err(bad("fine_tune_type", other, "\"lora\" or \"dora\"")),
        };
        let parameters = match keys.get("lora_parameters") {
            Some(Value::Object(parameters)) => parameters,
            other => return Err(bad("lora_parameters", other, "rank and scale")),
        };
        if let Some(key) = parameters.keys().find(|key| !PARAMETERS.contains(&key.as_str())) {
            return Err(ImportError::UnknownKey { key: key.clone(), got: parameters[key].to_string() });
        }
        let rank = parameters.get("rank");
        let rank = rank
            .and_then(Value::as_u64)
            .filter(|r| *r > 0)
            .ok_or_else(|| bad("lora_parameters.rank", rank, "a positive integer"))?;
        let number = |key: &'static str, name: &'static str| match parameters.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| bad(name, Some(value), "a number")),
        };
        let (scale, alpha) = (number("scale", "lora_parameters.scale")?, number("alpha", "lora_parameters.alpha")?);
        Ok(Self { rank, scale: multiplier(scale, alpha, rank, given)?, dora })
    }
}

/// Early versions multiplied by `scale · alpha / rank`, later ones by `scale` whatever else is there, and those of today
/// refuse an `alpha` alone. Where versions differ the user has to say which it was.
fn multiplier(scale: Option<f64>, alpha: Option<f64>, rank: u64, given: Option<f32>) -> Result<f32, ImportError> {
    match (given, scale, alpha) {
        (Some(given), _, _) => Ok(given),
        (None, Some(scale), None) => Ok(scale as f32),
        (None, Some(scale), Some(alpha)) => {
            let early = scale * alpha / rank as f64;
            if early == scale { Ok(scale as f32) } else { Err(ImportError::TwoScales { scale, alpha, rank, early }) }
        }
        (None, None, Some(alpha)) => Err(ImportError::AlphaAlone { alpha, quotient: alpha / rank as f64 }),
        (None, None, None) => Err(ImportError::NoScale),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn parse(config: &Value, given: Option<f32>) -> Result<Config, String> {
        Config::parse(config.as_object().unwrap(), given).map_err(|error| error.to_string())
    }

    #[test]
    fn a_scale_multiplies_as_it_is() {
        let of = |kind: &str| json!({ "fine_tune_type": kind, "lora_parameters": { "rank": 8, "scale": 20.0 } });
        assert_eq!(parse(&of("lora"), None), Ok(Config { rank: 8, scale: 20.0, dora: false }));
        assert_eq!(parse(&of("dora"), None), Ok(Config { rank: 8, scale: 20.0, dora: true }));
        assert!(parse(&of("full"), None).unwrap_err().contains("whole weights"));
        assert!(parse(&of("vera"), None).unwrap_err().contains("`fine_tune_type` is \"vera\""));
        let early = json!({ "use_dora": true, "lora_parameters": { "rank": 8, "scale": 20.0 } });
        assert_eq!(parse(&early, None), Ok(Config { rank: 8, scale: 20.0, dora: true }));
    }

    #[test]
    fn two_scales_are_not_chosen_between() {
        let of = |parameters: Value| json!({ "lora_parameters": parameters });
        let both = of(json!({ "rank": 8, "scale": 10.0, "alpha": 16.0 }));
        assert!(parse(&both, None).unwrap_err().contains("10 · 16 / 8 = 20"), "{:?}", parse(&both, None));
        assert_eq!(parse(&both, Some(20.0)).unwrap().scale, 20.0);
        assert_eq!(parse(&of(json!({ "rank": 8, "scale": 10.0, "alpha": 8 })), None).unwrap().scale, 10.0);
        assert!(parse(&of(json!({ "rank": 8, "alpha": 16 })), None).unwrap_err().contains("`alpha` 16"));
        assert!(parse(&of(json!({ "rank": 8 })), None).unwrap_err().contains("no `scale`"));
        assert!(parse(&of(json!({ "rank": 0, "scale": 1.0 })), None).unwrap_err().contains("positive"));
        assert!(parse(&of(json!({ "rank": 8, "scale": 1.0, "rslora": true })), None).unwrap_err().contains("rslora"));
    }
}
