//! `adapter_config.json`: what changes the computation is read or refused, the rest is known to be harmless.

use serde_json::{Map, Value, json};

use super::Problem;
use super::pattern::Pattern;

/// What of a LoRA configuration changes the computation, and what PEFT wants to know beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterConfig {
    /// Rank of modules that no pattern names.
    pub r: usize,
    /// Numerator of the scale of modules that no pattern names.
    pub lora_alpha: f64,
    /// The modules' last names, or PEFT's pattern as the one item.
    pub target_modules: Vec<String>,
    /// Parameters that are adapted where they lie, by their paths or the ends of them behind a dot.
    pub target_parameters: Vec<String>,
    /// Ranks of modules by name or regular expression; the first that matches counts.
    pub rank_pattern: Vec<(String, usize)>,
    /// Numerators by name or regular expression; the first that matches counts.
    pub alpha_pattern: Vec<(String, f64)>,
    /// Divides by √r instead of r.
    pub use_rslora: bool,
    /// Every module keeps the lengths of its rows apart.
    pub use_dora: bool,
    /// Only used while training.
    pub lora_dropout: f64,
    /// Where head and embedding are one matrix, what changes the embedding changes the head: else PEFT changes what is
    /// looked up alone.
    pub ensure_weight_tying: bool,
    /// The model that it was trained on, as its trainer called it.
    pub base_model_name_or_path: Option<String>,
}

/// Keys that change nothing once the matrices are there.
const HARMLESS: [&str; 16] = [
    "task_type",
    "auto_mapping",
    "peft_version",
    "revision",
    "inference_mode",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "megatron_config",
    "megatron_core",
    "loftq_config",
    "eva_config",
    "corda_config",
    "lora_ga_config",
    "qalora_group_size",
    "runtime_config",
];

/// Keys that are read.
const READ: [&str; 12] = [
    "peft_type",
    "r",
    "lora_alpha",
    "target_modules",
    "target_parameters",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
    "use_dora",
    "lora_dropout",
    "ensure_weight_tying",
    "base_model_name_or_path",
];

/// Keys of parts of LoRA that are known and refused unless they are off.
const NOT_YET: [&str; 12] = [
    "use_qalora",
    "use_bdlora",
    "fan_in_fan_out",
    "modules_to_save",
    "trainable_token_indices",
    "layer_replication",
    "lora_bias",
    "alora_invocation_tokens",
    "arrow_config",
    "velora_config",
    "monteclora_config",
    "kasa_config",
];

/// Initializations that leave the base's weights as they are.
const PLAIN_INITIALIZATIONS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

impl AdapterConfig {
    /// A configuration of one rank and one alpha.
    pub fn new(r: usize, lora_alpha: f64, target_modules: Vec<String>) -> Self {
        Self {
            r,
            lora_alpha,
            target_modules,
            target_parameters: Vec::new(),
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            use_rslora: false,
            use_dora: false,
            lora_dropout: 0.0,
            ensure_weight_tying: false,
            base_model_name_or_path: None,
        }
    }

    /// Parses `adapter_config.json`.
    ///
    /// An unknown key that is off (`null`, `false`, empty) is taken for a newer PEFT's default; one that is on is refused.
    pub fn parse(json: &[u8]) -> Result<Self, Problem> {
        let map: Map<String, Value> = serde_json::from_slice(json).map_err(Problem::Json)?;
        map.iter().try_for_each(|(key, value)| check_key(key, value))?;
        match map.get("peft_type") {
            Some(Value::String(kind)) if kind == "LORA" => {}
            other => return Err(Problem::NotLora { got: other.cloned().unwrap_or_default().to_string() }),
        }
        Ok(Self {
            r: required(&map, "r", "a positive integer", positive)?,
            lora_alpha: required(&map, "lora_alpha", "a number", Value::as_f64)?,
            target_modules: optional(&map, "target_modules", "a list of names or a pattern", names)?
                .unwrap_or_default(),
            target_parameters: optional(&map, "target_parameters", "a list of names", list)?.unwrap_or_default(),
            rank_pattern: optional(&map, "rank_pattern", "ranks by module", |v| pairs(v, positive))?
                .unwrap_or_default(),
            alpha_pattern: optional(&map, "alpha_pattern", "numbers by module", |v| pairs(v, Value::as_f64))?
                .unwrap_or_default(),
            use_rslora: optional(&map, "use_rslora", "true or false", Value::as_bool)?.unwrap_or(false),
            use_dora: optional(&map, "use_dora", "true or false", Value::as_bool)?.unwrap_or(false),
            lora_dropout: optional(&map, "lora_dropout", "a number", Value::as_f64)?.unwrap_or(0.0),
            ensure_weight_tying: optional(&map, "ensure_weight_tying", "true or false", Value::as_bool)?
                .unwrap_or(false),
            base_model_name_or_path: optional(&map, "base_model_name_or_path", "a name", |v| {
                v.as_str().map(str::to_owned)
            })?,
        })
    }

    /// The configuration as PEFT reads it.
    pub fn to_json(&self) -> Value {
        let ranks: Map<String, Value> = self.rank_pattern.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let alphas: Map<String, Value> = self.alpha_pattern.iter().map(|(k, v)| (k.clone(), number(*v))).collect();
        let mut json = json!({
            "base_model_name_or_path": self.base_model_name_or_path,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": number(self.lora_alpha),
            "lora_dropout": self.lora_dropout,
            "modules_to_save": null,
            "peft_type": "LORA",
            "r": self.r,
            "rank_pattern": ranks,
            "alpha_pattern": alphas,
            "target_modules": self.target_modules,
            "task_type": "CAUSAL_LM",
            "use_dora": self.use_dora,
            "use_rslora": self.use_rslora,
        });
        if !self.target_parameters.is_empty() {
            json["target_parameters"] = json!(self.target_parameters);
        }
        if self.ensure_weight_tying {
            json["ensure_weight_tying"] = json!(true);
        }
        json
    }

    /// The rank that `module` has; a parameter goes by its path.
    pub fn rank_of(&self, module: &str) -> Result<usize, Problem> {
        Ok(first_match("rank_pattern", &self.rank_pattern, module)?.unwrap_or(self.r))
    }

    /// What multiplies `B·A` of `module`.
    pub fn scale_of(&self, module: &str) -> Result<f32, Problem> {
        let alpha = first_match("alpha_pattern", &self.alpha_pattern, module)?.unwrap_or(self.lora_alpha);
        let rank = self.rank_of(module)?;
        let divisor = if self.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
        let scale = (alpha / divisor) as f32;
        if scale == 0.0 || !scale.is_finite() {
            return Err(Problem::NoScale { module: module.to_owned(), alpha, rank, scale });
        }
        Ok(scale)
    }
}

/// The value of the first pattern that fits.
fn first_match<T: Copy>(key: &'static str, patterns: &[(String, T)], module: &str) -> Result<Option<T>, Problem> {
    for (pattern, value) in patterns {
        if Pattern::ending(key, pattern)?.fits(module)? {
            return Ok(Some(*value));
        }
    }
    Ok(None)
}

/// Whether a value switches nothing on.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn check_key(key: &str, value: &Value) -> Result<(), Problem> {
    let refused = |supported| Err(Problem::NotYet { key: key.to_owned(), got: value.to_string(), supported });
    match key {
        _ if READ.contains(&key) || HARMLESS.contains(&key) => Ok(()),
        "bias" if value == "none" => Ok(()),
        "bias" => refused("\"none\""),
        // PiSSA and its kin write another base's weights than the model's, so `W + B·A` would be wrong.
        "init_lora_weights" => match value {
            Value::Bool(_) => Ok(()),
            Value::String(name) if PLAIN_INITIALIZATIONS.contains(&name.as_str()) => Ok(()),
            _ => refused("one that keeps the base's weights: true, \"gaussian\", \"orthogonal\", \"eva\""),
        },
        _ if is_off(value) => Ok(()),
        _ if NOT_YET.contains(&key) => refused("its absence"),
        _ => Err(Problem::UnknownKey { key: key.to_owned(), got: value.to_string() }),
    }
}

fn optional<T>(
    map: &Map<String, Value>,
    key: &'static str,
    expected: &'static str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Option<T>, Problem> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).ok_or_else(|| Problem::Key { key, got: value.to_string(), expected }),
    }
}

fn required<T>(
    map: &Map<String, Value>,
    key: &'static str,
    expected: &'static str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<T, Problem> {
    optional(map, key, expected, read)?.ok_or_else(|| Problem::Key { key, got: Value::Null.to_string(), expected })
}

fn positive(value: &Value) -> Option<usize> {
    value.as_u64().filter(|n| *n > 0).and_then(|n| usize::try_from(n).ok())
}

fn names(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(pattern) => Some(vec![pattern.clone()]),
        _ => list(value),
    }
}

fn list(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

fn pairs<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<(String, T)>> {
    value.as_object()?.iter().map(|(key, value)| Some((key.clone(), read(value)?))).collect()
}

/// PEFT's alphas are integers; a fraction stays one.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}
