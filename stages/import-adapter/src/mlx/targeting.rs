//! Which modules mlx-lm's arguments name: it refuses an adapter with factors of others.
//!
//! Source: `linear_to_lora_layers` and `load_adapters` of mlx-lm's `tuner/utils.py`.

use serde_json::{Map, Value};

use crate::names::core;

/// What names modules in `adapter_config.json`.
#[derive(Debug)]
pub struct Targeting {
    /// Names within a layer, or whole paths; `None` for everything in the layers.
    keys: Option<Vec<String>>,
    /// Where adapted layers begin, and the key that says so.
    first_layer: (u64, &'static str),
}

impl Targeting {
    /// Reads the keys, for a model of so many layers.
    pub fn of(config: &Map<String, Value>, layers: u64) -> Self {
        let keys = config.get("lora_parameters").and_then(|parameters| parameters.get("keys")?.as_array());
        let names = |keys: &Vec<Value>| keys.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect();
        // Its name was another once. What is not positive means all.
        let key = if config.contains_key("num_layers") { "num_layers" } else { "lora_layers" };
        let last = config.get(key).and_then(Value::as_u64).unwrap_or(0);
        let first = if last == 0 { 0 } else { layers.saturating_sub(last) };
        Self { keys: keys.map(names), first_layer: (first, key) }
    }

    /// The argument by which mlx-lm adapts no such module.
    pub fn leaves_out(&self, module: &str) -> Option<&'static str> {
        let named = |name: &str| self.keys.as_ref().map(|keys| keys.iter().any(|key| key == name));
        if named(module) == Some(true) {
            return None;
        }
        let layer = core(module).strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
        let layer = layer.and_then(|(number, name)| Some((number.parse::<u64>().ok()?, name)));
        match layer {
            Some((number, _)) if number < self.first_layer.0 => Some(self.first_layer.1),
            Some((_, name)) if named(name) != Some(false) => None,
            _ => Some("lora_parameters.keys"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn left_out(config: Value, module: &str) -> Option<&'static str> {
        Targeting::of(config.as_object().unwrap(), 4).leaves_out(module)
    }

    const Q1: &str = "model.layers.1.self_attn.q_proj";
    const EMBEDDING: &str = "model.embed_tokens";

    #[test]
    fn layers_count_from_the_last() {
        for layers in [json!(-1), json!(0), json!(3), json!(9), json!(null)] {
            assert_eq!(left_out(json!({ "num_layers": layers }), Q1), None, "{layers}");
        }
        assert_eq!(left_out(json!({ "num_layers": 2 }), Q1), Some("num_layers"));
        assert_eq!(left_out(json!({ "lora_layers": 2 }), Q1), Some("lora_layers"));
    }

    #[test]
    fn keys_name_modules_of_layers_or_whole_paths() {
        let keys = |keys: Value| json!({ "num_layers": 2, "lora_parameters": { "keys": keys } });
        let q3 = "model.layers.3.self_attn.q_proj";
        assert_eq!(left_out(keys(json!(["self_attn.q_proj"])), q3), None);
        assert_eq!(left_out(keys(json!(["q_proj"])), q3), Some("lora_parameters.keys"));
        assert_eq!(left_out(keys(json!([Q1])), Q1), None);
        assert_eq!(left_out(keys(json!(["self_attn.q_proj"])), Q1), Some("num_layers"));
        assert_eq!(left_out(keys(json!([EMBEDDING])), EMBEDDING), None);
        assert_eq!(left_out(keys(json!(["self_attn.q_proj"])), EMBEDDING), Some("lora_parameters.keys"));
        assert_eq!(left_out(keys(json!(null)), EMBEDDING), Some("lora_parameters.keys"));
    }
}
