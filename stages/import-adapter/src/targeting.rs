//! Which modules PEFT's configuration names: factors of others are left out by PEFT without a word, so they are not
//! merged here either.
//!
//! Source: `check_target_module_exists` of PEFT's `tuners_utils.py`.

use regex::Regex;
use serde_json::{Map, Value};

/// What names modules in `adapter_config.json`.
#[derive(Debug)]
pub struct Targeting {
    target: Names,
    exclude: Names,
    /// `None` where the layers do not matter.
    layers: Option<Vec<u64>>,
    /// Each finds a layer's number; the first that does counts.
    layer_patterns: Vec<Regex>,
}

/// Names of modules, or a pattern for the whole path.
#[derive(Debug)]
enum Names {
    /// Nothing is said, or in a way that PEFT alone understands.
    Unsaid,
    List(Vec<String>),
    Pattern(Regex),
}

impl Targeting {
    /// Reads the keys.
    pub fn of(config: &Map<String, Value>) -> Self {
        let layers = match config.get("layers_to_transform") {
            Some(Value::Number(one)) => Some(one.as_u64().into_iter().collect()),
            Some(Value::Array(some)) if !some.is_empty() => Some(some.iter().filter_map(Value::as_u64).collect()),
            _ => None,
        };
        Self {
            target: Self::target(config),
            exclude: match Names::of(config.get("exclude_modules")) {
                Names::List(names) if names.is_empty() => Names::Unsaid,
                names => names,
            },
            layers,
            layer_patterns: layer_patterns(config.get("layers_pattern")),
        }
    }

    /// No module at all where parameters alone are named; PEFT's choice for the kind of model where nothing is.
    fn target(config: &Map<String, Value>) -> Names {
        let has_parameters =
            config.get("target_parameters").and_then(Value::as_array).is_some_and(|names| !names.is_empty());
        match Names::of(config.get("target_modules")) {
            Names::Unsaid if has_parameters && config.get("target_modules").is_none_or(Value::is_null) => {
                Names::List(Vec::new())
            }
            names => names,
        }
    }

    /// The key by which PEFT leaves a module out.
    pub fn leaves_out(&self, module: &str) -> Option<&'static str> {
        if self.exclude.has(module) == Some(true) {
            Some("exclude_modules")
        } else if self.target.has(module) == Some(false) {
            Some("target_modules")
        } else if matches!(&self.target, Names::List(_)) && !self.has_layer(module) {
            Some("layers_to_transform")
        } else {
            None
        }
    }

    fn has_layer(&self, module: &str) -> bool {
        let Some(layers) = &self.layers else { return true };
        // A module that is named by its whole path is meant, whatever its layer.
        let whole = matches!(&self.target, Names::List(names) if names.iter().any(|name| name == module));
        let found = self.layer_patterns.iter().find_map(|pattern| pattern.captures(module));
        let layer = found.and_then(|found| found.get(1)?.as_str().parse::<u64>().ok());
        whole || layer.is_some_and(|layer| layers.contains(&layer))
    }
}

/// The number behind the pattern, or behind the first word that has a number behind it.
fn layer_patterns(value: Option<&Value>) -> Vec<Regex> {
    let patterns = match value {
        Some(Value::String(one)) if !one.is_empty() => vec![one.clone()],
        Some(Value::Array(some)) => strings(some),
        _ => Vec::new(),
    };
    let compiled: Vec<Regex> =
        patterns.iter().filter_map(|word| Regex::new(&format!(r"^(?:.*?\.)?{word}\.(\d+)\.")).ok()).collect();
    match compiled.is_empty() {
        true => Regex::new(r"^.*?\.[^.]*\.(\d+)\.").into_iter().collect(),
        false => compiled,
    }
}

impl Names {
    fn of(value: Option<&Value>) -> Self {
        match value {
            Some(Value::String(all)) if all == "all-linear" => Self::Unsaid,
            // A pattern in Python's own dialect says nothing here.
            Some(Value::String(pattern)) => Regex::new(&format!("^(?:{pattern})$")).map_or(Self::Unsaid, Self::Pattern),
            Some(Value::Array(names)) => Self::List(strings(names)),
            _ => Self::Unsaid,
        }
    }

    fn has(&self, module: &str) -> Option<bool> {
        let is_it = |name: &String| {
            module.strip_suffix(name.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        match self {
            Self::Unsaid => None,
            Self::List(names) => Some(names.iter().any(is_it)),
            Self::Pattern(pattern) => Some(pattern.is_match(module)),
        }
    }
}

fn strings(values: &[Value]) -> Vec<String> {
    values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const Q1: &str = "model.layers.1.self_attn.q_proj";

    fn left_out(config: Value) -> Option<&'static str> {
        config.as_object().and_then(|config| Targeting::of(config).leaves_out(Q1))
    }

    #[test]
    fn names_and_patterns_are_pefts() {
        for target in [json!(["q_proj"]), json!(["self_attn.q_proj"]), json!([Q1]), json!(r"model\..*\.(q|k)_proj")] {
            assert_eq!(left_out(json!({ "target_modules": target })), None, "{target}");
        }
        for target in [json!(["proj"]), json!(["k_proj"]), json!("q_proj")] {
            assert_eq!(left_out(json!({ "target_modules": target })), Some("target_modules"), "{target}");
        }
        for target in [json!(null), json!("all-linear"), json!(r"(?=model).*")] {
            assert_eq!(left_out(json!({ "target_modules": target })), None, "{target}");
        }
        for target in [json!(null), json!([])] {
            let config = json!({ "target_modules": target, "target_parameters": ["experts.down_proj"] });
            assert_eq!(left_out(config), Some("target_modules"), "{target}");
        }
        for exclude in [json!(["q_proj"]), json!(r".*\.1\..*")] {
            let config = json!({ "target_modules": ["q_proj"], "exclude_modules": exclude });
            assert_eq!(left_out(config), Some("exclude_modules"), "{exclude}");
        }
    }

    #[test]
    fn layers_count_for_short_names() {
        let config = |layers: Value, pattern: Value, target: &str| json!({ "target_modules": [target], "layers_to_transform": layers, "layers_pattern": pattern });
        assert_eq!(left_out(config(json!([0, 1]), json!(null), "q_proj")), None);
        assert_eq!(left_out(config(json!(1), json!("layers"), "q_proj")), None);
        assert_eq!(left_out(config(json!(0), json!(null), "q_proj")), Some("layers_to_transform"));
        assert_eq!(left_out(config(json!([1]), json!(["blocks"]), "q_proj")), Some("layers_to_transform"));
        assert_eq!(left_out(config(json!([0]), json!(null), Q1)), None);
        assert_eq!(left_out(config(json!([]), json!(null), "q_proj")), None);
        assert_eq!(left_out(config(json!([1]), json!("model.layers|h"), "q_proj")), Some("layers_to_transform"));
        assert_eq!(left_out(config(json!([1]), json!("(?:model.layers|h)"), "q_proj")), None);
        assert_eq!(left_out(config(json!([1]), json!(""), "q_proj")), None);
    }

    #[test]
    fn the_number_of_an_expert_is_no_layer() {
        let expert = "model.layers.1.mlp.experts.0.up_proj";
        let left_out = |layer: u64| {
            let config = json!({ "target_modules": ["up_proj"], "layers_to_transform": [layer] });
            config.as_object().and_then(|config| Targeting::of(config).leaves_out(expert))
        };
        assert_eq!((left_out(1), left_out(0)), (None, Some("layers_to_transform")));
    }
}
