//! `config.json`, as published, as transformers 5 writes it, and back.

use model::ModelDescription;
use model::architecture::Rope;
use model::inventory::{Dialect, IgnoredTensor};
use model_api::FamilyError;
use model_api::config::Config;
use serde_json::{Map, Value};

use crate::rope_scaling;
use crate::shape::Shape;

/// The raw configuration of a model that has one.
///
/// # Errors
/// Where there is none.
pub fn raw(model: &ModelDescription) -> Result<&Value, FamilyError> {
    model.config.as_ref().ok_or_else(|| FamilyError::MissingKey { key: "config.json".into() })
}

/// Which spelling a configuration has: transformers 5 replaces `rope_theta` and `rope_scaling`, and `torch_dtype`.
pub fn dialect(raw: &Value) -> Dialect {
    let written_by_5 = raw.get("rope_parameters").is_some() || raw.get("dtype").is_some();
    if written_by_5 { Dialect::Transformers5 } else { Dialect::Published }
}

/// The same configuration as published checkpoints spell it, which every runtime reads; whoever writes one writes plain
/// numbers.
pub fn published(raw: &Value) -> Value {
    let mut config = raw.clone();
    let Some(keys) = config.as_object_mut() else { return config };
    if let Some(Value::Object(mut scaling)) = keys.shift_remove("rope_parameters") {
        if let Some(theta) = scaling.shift_remove("rope_theta") {
            keys.insert("rope_theta".into(), theta);
        }
        let default = scaling.get("rope_type").is_none_or(|kind| kind == "default");
        keys.insert("rope_scaling".into(), if default { Value::Null } else { Value::Object(scaling) });
    }
    for key in crate::quantization::KEYS {
        keys.shift_remove(key);
    }
    if let Some(dtype) = keys.shift_remove("dtype") {
        keys.insert("torch_dtype".into(), dtype);
    }
    keys.sort_keys();
    config
}

/// The rotary embedding. transformers 5 moves `rope_theta` into `rope_parameters`, which replaces `rope_scaling`.
///
/// # Errors
/// Where a scaling rule is not known.
pub fn rope(config: &Config<'_>, head_dim: u64) -> Result<Rope, FamilyError> {
    let scaling = match config.optional_object("rope_parameters")? {
        Some(parameters) => Some(parameters),
        None => config.optional_object("rope_scaling")?,
    };
    let inner = scaling.as_ref().map(|s| s.optional_number("rope_theta")).transpose()?.flatten();
    let theta = inner.or(config.optional_number("rope_theta")?).unwrap_or(10_000.0);
    let (factors, attention_factor) = match &scaling {
        Some(scaling) => rope_scaling::read(scaling, theta, head_dim)?,
        None => (Vec::new(), 1.0),
    };
    Ok(Rope { theta: positive("rope_theta", theta)?, factors, attention_factor })
}

/// Keys of a configuration that count something.
const SIZES: [&str; 18] = [
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "mamba_d_conv",
    "mamba_d_head",
    "mamba_d_state",
    "mamba_expand",
    "mamba_n_groups",
    "mamba_n_heads",
    "max_position_embeddings",
    "num_attention_heads",
    "num_experts_per_tok",
    "num_hidden_layers",
    "num_key_value_heads",
    "num_local_experts",
    "shared_intermediate_size",
    "sliding_window",
    "vocab_size",
];

/// Refuses sizes that no GGUF can say: llama.cpp counts with 32 bits, and what is computed of them here must not overflow.
///
/// # Errors
/// Where one is beyond.
pub fn check_sizes(raw: &Value) -> Result<(), FamilyError> {
    let beyond = |key: &&str| raw.get(*key).and_then(Value::as_u64).is_some_and(|size| size > i32::MAX as u64);
    match SIZES.into_iter().find(beyond) {
        None => Ok(()),
        Some(key) => Err(FamilyError::BadKey {
            key: key.into(),
            got: raw[key].to_string(),
            expected: format!("at most {}", i32::MAX),
        }),
    }
}

/// A number that scales or divides: zero, a sign, or a value past `f32`'s range would make nonsense of every logit.
///
/// # Errors
/// Where it is no positive `f32`.
pub fn positive(key: &str, value: f64) -> Result<f32, FamilyError> {
    let held = value as f32;
    if held > 0.0 && held.is_finite() {
        return Ok(held);
    }
    let expected = format!("a positive number of at most {:e}", f32::MAX);
    Err(FamilyError::BadKey { key: key.into(), got: value.to_string(), expected })
}

/// A number that something is divided by: its inverse is an `f32` too.
///
/// # Errors
/// Where it is not.
pub fn divisor(key: &str, value: f32) -> Result<f32, FamilyError> {
    positive(&format!("1 / {key}"), 1.0 / f64::from(value)).map(|_| value)
}

/// Refuses a value that would change the computation; `expected` is also what an absent key means.
///
/// # Errors
/// Where the key has another value.
pub fn must_be(config: &Config<'_>, key: &str, expected: &str) -> Result<(), FamilyError> {
    match config.optional_str(key)? {
        Some(got) if got != expected => {
            Err(FamilyError::BadKey { key: key.into(), got: format!("`{got}`"), expected: format!("`{expected}`") })
        }
        _ => Ok(()),
    }
}

/// What transformers 5 calls a layer's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerType {
    /// `full_attention`: a query sees every key before it.
    Full,
    /// `sliding_attention`: a query sees a window.
    Sliding,
}

/// `layer_types`, one a layer; `None` where the configuration has none.
///
/// # Errors
/// Where there are others than these two, or not as many as layers.
pub fn layer_types(config: &Config<'_>, layers: u64) -> Result<Option<Vec<LayerType>>, FamilyError> {
    let Some(value) = config.optional("layer_types") else { return Ok(None) };
    let kind = |kind: &Value| match kind.as_str()? {
        "full_attention" => Some(LayerType::Full),
        "sliding_attention" => Some(LayerType::Sliding),
        _ => None,
    };
    let types: Option<Vec<_>> = value.as_array().and_then(|types| types.iter().map(kind).collect());
    types.filter(|types| types.len() as u64 == layers).map(Some).ok_or_else(|| FamilyError::BadKey {
        key: "layer_types".into(),
        got: value.to_string(),
        expected: format!("{layers} of `full_attention` and `sliding_attention`"),
    })
}

/// Tensors of checkpoints that carry nothing: RoPE frequencies of old ones, a head beside the embedding that serves.
pub fn ignored(shape: &Shape) -> Vec<IgnoredTensor> {
    let frequencies = (0..shape.num_hidden_layers).map(|i| IgnoredTensor {
        name: format!("model.layers.{i}.self_attn.rotary_emb.inv_freq"),
        reason: "old checkpoints store the RoPE frequencies, which follow from the configuration".into(),
        copy_of: None,
    });
    let head = shape.tied.then(|| IgnoredTensor {
        name: "lm_head.weight".into(),
        reason: "`tie_word_embeddings` is true, so the embedding is the head".into(),
        copy_of: Some("model.embed_tokens.weight".into()),
    });
    frequencies.chain(head).collect()
}

/// What is worth saying about a stored head that is not used.
pub fn notes(shape: &Shape, model: &ModelDescription) -> Vec<String> {
    let unused = shape.tied && model.tensor("lm_head.weight").is_some();
    let note = "`lm_head.weight` is stored although `tie_word_embeddings` is true; the embedding is used, and must be the same";
    unused.then(|| note.to_owned()).into_iter().collect()
}

/// A published configuration of the keys that every transformer has and the family's own, in alphabetical order as
/// transformers saves them; keys without a value are left out.
pub fn write(shape: &Shape, model: &ModelDescription, own: Value) -> Value {
    let token = |role: &str| model.tokenizer.as_ref()?.get(role)?.as_u64();
    let common = serde_json::json!({
        "attention_dropout": 0.0,
        "bos_token_id": token("bos"),
        "eos_token_id": token("eos"),
        "hidden_size": shape.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": shape.intermediate_size,
        "max_position_embeddings": shape.max_position_embeddings,
        "num_attention_heads": shape.num_attention_heads,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_key_value_heads": shape.num_key_value_heads,
        "pad_token_id": token("pad"),
        "rms_norm_eps": shortest(shape.rms_norm_eps),
        "tie_word_embeddings": shape.tied,
        "use_cache": true,
        "vocab_size": shape.vocab_size,
    });
    let keys = [common, own].into_iter().filter_map(|keys| match keys {
        Value::Object(keys) => Some(keys),
        _ => None,
    });
    let mut config: Map<String, Value> = keys.flatten().filter(|(_, value)| !value.is_null()).collect();
    config.sort_keys();
    Value::Object(config)
}

/// The shortest decimal that is the same `f32`: 1e-05, not 9.99999974e-06.
pub fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
