//! Which modules PEFT's configuration names: factors of others are left out by PEFT without a word, so they are not
//! merged here either.
//!
//! Source: `check_target_module_exists` and `_check_tied_modules` of PEFT's `tuners_utils.py`.

use serde_json::{Map, Value};

use super::pattern::Pattern;
use super::{Problem, last_part};

/// What names modules in `adapter_config.json`.
#[derive(Debug)]
pub struct Targeting {
    target: Names,
    exclude: Names,
    /// `None` where the layers do not matter.
    layers: Option<Vec<u64>>,
    /// Each finds a layer's number; the first that does counts.
    layer_patterns: Vec<Pattern>,
}

/// Names of modules, or a pattern for the whole path.
#[derive(Debug)]
enum Names {
    /// Nothing is said.
    Unsaid,
    List(Vec<String>),
    Pattern(Pattern),
}

impl Targeting {
    /// Reads the keys of an `adapter_config.json`.
    ///
    /// # Errors
    /// As [`Targeting::of`], and where it is no JSON.
    pub fn parse(json: &[u8]) -> Result<Self, Problem> {
        Self::of(&serde_json::from_slice(json).map_err(Problem::Json)?)
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// Where a pattern is none, or nothing is named: then PEFT goes by a table of its own, which changes.
    pub fn of(config: &Map<String, Value>) -> Result<Self, Problem> {
        let layers = match config.get("layers_to_transform") {
            Some(Value::Number(one)) => Some(one.as_u64().into_iter().collect()),
            Some(Value::Array(some)) if !some.is_empty() => Some(some.iter().filter_map(Value::as_u64).collect()),
            _ => None,
        };
        Ok(Self {
            target: Self::target(config)?,
            exclude: match Names::of("exclude_modules", config.get("exclude_modules"))? {
                Names::List(names) if names.is_empty() => Names::Unsaid,
                names => names,
            },
            layers,
            layer_patterns: layer_patterns(config.get("layers_pattern"))?,
        })
    }

    /// No module at all where parameters alone are named.
    fn target(config: &Map<String, Value>) -> Result<Names, Problem> {
        let has_parameters =
            config.get("target_parameters").and_then(Value::as_array).is_some_and(|names| !names.is_empty());
        match config.get("target_modules") {
            None | Some(Value::Null) if has_parameters => Ok(Names::List(Vec::new())),
            None | Some(Value::Null) => Err(Problem::NoTargets),
            some => Names::of("target_modules", some),
        }
    }

    /// The key by which PEFT leaves a module out.
    ///
    /// # Errors
    /// Where a pattern takes too long to tell.
    pub fn leaves_out(&self, module: &str) -> Result<Option<&'static str>, Problem> {
        Ok(if self.exclude.has(module)? == Some(true) {
            Some("exclude_modules")
        } else if self.target.has(module)? == Some(false) {
            Some("target_modules")
        } else if matches!(&self.target, Names::List(_)) && !self.has_layer(module)? {
            Some("layers_to_transform")
        } else {
            None
        })
    }

    /// Whether the embedding or the head is named, in the way that PEFT asks before it ties one's factors to the other's:
    /// a pattern is held against their last names, not their paths.
    ///
    /// # Errors
    /// Where a pattern takes too long to tell.
    pub fn names_one_of_the_tied(&self) -> Result<bool, Problem> {
        const TIED: [&str; 2] = ["embed_tokens", "lm_head"];
        match &self.target {
            Names::Unsaid => Ok(false),
            Names::List(names) => Ok(names.iter().any(|name| TIED.contains(&last_part(name)))),
            Names::Pattern(_) => {
                let [embedding, head] = TIED.map(|name| self.target.has(name));
                Ok(embedding? == Some(true) || head? == Some(true))
            }
        }
    }

    fn has_layer(&self, module: &str) -> Result<bool, Problem> {
        let Some(layers) = &self.layers else { return Ok(true) };
        // A module that is named by its whole path is meant, whatever its layer.
        if matches!(&self.target, Names::List(names) if names.iter().any(|name| name == module)) {
            return Ok(true);
        }
        for pattern in &self.layer_patterns {
            if let Some(found) = pattern.groups(module)? {
                let layer = found.name("idx").and_then(|idx| idx.as_str().parse::<u64>().ok());
                return Ok(layer.is_some_and(|layer| layers.contains(&layer)));
            }
        }
        Ok(false)
    }
}

/// The number behind the pattern, or behind the first word that has a number behind it.
fn layer_patterns(value: Option<&Value>) -> Result<Vec<Pattern>, Problem> {
    const KEY: &str = "layers_pattern";
    let words = match value {
        Some(Value::String(one)) if !one.is_empty() => vec![one.clone()],
        Some(Value::Array(some)) => strings(some),
        _ => Vec::new(),
    };
    if words.is_empty() {
        return Ok(vec![Pattern::at_start(KEY, "", r".*?\.[^.]*\.(?P<idx>\d+)\.")?]);
    }
    let behind = |word: &String| Pattern::at_start(KEY, word, &format!(r"(?:^|.*?\.){word}\.(?P<idx>\d+)\."));
    words.iter().map(behind).collect()
}

impl Names {
    fn of(key: &'static str, value: Option<&Value>) -> Result<Self, Problem> {
        Ok(match value {
            Some(Value::String(all)) if all == "all-linear" => Self::Unsaid,
            Some(Value::String(pattern)) => Self::Pattern(Pattern::whole(key, pattern)?),
            Some(Value::Array(names)) => Self::List(strings(names)),
            _ => Self::Unsaid,
        })
    }

    fn has(&self, module: &str) -> Result<Option<bool>, Problem> {
        let is_it = |name: &String| {
            module.strip_suffix(name.as_str()).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        Ok(match self {
            Self::Unsaid => None,
            Self::List(names) => Some(names.iter().any(is_it)),
            Self::Pattern(pattern) => Some(pattern.fits(module)?),
        })
    }
}

fn strings(values: &[Value]) -> Vec<String> {
    values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    const Q1: &str = "model.layers.1.self_attn.q_proj";

    fn left_out(config: Value) -> Option<&'static str> {
        Targeting::of(config.as_object()?).and_then(|targeting| targeting.leaves_out(Q1)).unwrap()
    }

    #[test]
    fn names_and_patterns_are_pefts() {
        for target in [json!(["q_proj"]), json!(["self_attn.q_proj"]), json!([Q1]), json!(r"model\..*\.(q|k)_proj")] {
            assert_eq!(left_out(json!({ "target_modules": target })), None, "{target}");
        }
        for target in [json!(["proj"]), json!(["k_proj"]), json!("q_proj")] {
            assert_eq!(left_out(json!({ "target_modules": target })), Some("target_modules"), "{target}");
        }
        for target in
            [json!("all-linear"), json!(r"(?=model).*"), json!(r"model\.layers\.(?P<n>\d)\.(?!mlp).*(?<=q)_proj")]
        {
            assert_eq!(left_out(json!({ "target_modules": target })), None, "{target}");
        }
        assert_eq!(left_out(json!({ "target_modules": "(?!model).*" })), Some("target_modules"));
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
    fn a_pattern_ties_by_last_names() {
        let ties = |target: Value| {
            let config = json!({ "target_modules": target });
            Targeting::of(config.as_object().unwrap()).unwrap().names_one_of_the_tied().unwrap()
        };
        for target in [json!(["model.embed_tokens"]), json!(["q_proj", "lm_head"]), json!(".*embed_tokens|.*q_proj")] {
            assert!(ties(target.clone()), "{target}");
        }
        for target in [json!(["q_proj"]), json!(r"model\.embed_tokens|.*q_proj"), json!("all-linear")] {
            assert!(!ties(target.clone()), "{target}");
        }
    }

    #[test]
    fn what_says_nothing_is_refused() {
        let error = |config: Value| {
            let targeting = Targeting::of(config.as_object().unwrap());
            targeting.and_then(|targeting| targeting.leaves_out(Q1)).unwrap_err().to_string()
        };
        assert!(error(json!({ "target_modules": null })).contains("names no module"));
        assert!(error(json!({})).contains("names no module"));
        for key in ["target_modules", "exclude_modules"] {
            let mut config = json!({ "target_modules": ["q_proj"] });
            config[key] = json!("(q_proj");
            assert!(error(config).contains(&format!("pattern `(q_proj` of `{key}`")));
        }
        let config = json!({ "target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "(h" });
        assert!(error(config).contains("`layers_pattern`"));
        // Repetitions in repetitions, which Python would try for hours.
        let slow = r"((?=[a-z.])([a-z0-9._]+)+)+!";
        for key in ["target_modules", "exclude_modules"] {
            let mut config = json!({ "target_modules": ["q_proj"] });
            config[key] = json!(slow);
            assert!(error(config).contains(&format!("pattern `{slow}` of `{key}`")));
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
        assert_eq!(left_out(config(json!([1]), json!("h|layers"), "q_proj")), Some("layers_to_transform"));
        assert_eq!(left_out(config(json!([1]), json!(""), "q_proj")), None);
    }

    #[test]
    fn the_number_of_an_expert_is_no_layer() {
        let expert = "model.layers.1.mlp.experts.0.up_proj";
        let left_out = |layer: u64| {
            let config = json!({ "target_modules": ["up_proj"], "layers_to_transform": [layer] });
            Targeting::of(config.as_object()?).and_then(|targeting| targeting.leaves_out(expert)).unwrap()
        };
        assert_eq!((left_out(1), left_out(0)), (None, Some("layers_to_transform")));
    }
}
