//! A shape from `config.json`, as published or as transformers 5 writes it.

use model::ModelDescription;
use model::architecture::Rope;
use model::inventory::{Dialect, IgnoredTensor};
use model_api::FamilyError;
use model_api::config::{Config, HARMLESS};
use serde_json::Value;

use crate::rope_scaling;
use crate::shape::{Seen, Shape};

/// Keys that Llama checkpoints carry and that change nothing.
const HARMLESS_HERE: &[&str] = &["is_llama_config", "pretraining_tp", "transformers.js_config"];

pub fn read(model: &ModelDescription) -> Result<Seen, FamilyError> {
    let missing = || FamilyError::MissingKey { key: "config.json".into() };
    let raw = model.config.as_ref().ok_or_else(missing)?;
    let config = Config::new(raw)?;
    must_be(config.optional_str("hidden_act")?.unwrap_or("silu"), "hidden_act", "silu")?;
    refuse_quantized(&config)?;
    if config.flag("rope_interleaved", false)? {
        return Err(FamilyError::Unsupported {
            what: "`rope_interleaved = true`".into(),
            hint: "published Llama checkpoints pair the halves of each head".into(),
        });
    }
    let shape = shape(&config)?;
    let known: Vec<&str> = [HARMLESS, HARMLESS_HERE].concat();
    config.finish(&known)?;
    let dialect = if raw.get("rope_parameters").is_some() { Dialect::Transformers5 } else { Dialect::Published };
    let mut notes = Vec::new();
    if shape.tied && model.tensor("lm_head.weight").is_some() {
        notes.push("`lm_head.weight` is stored although `tie_word_embeddings` is true; the embedding is used".into());
    }
    let ignored = ignored(&shape);
    Ok(Seen { shape, dialect, config: published(raw), ignored, assumed: Vec::new(), notes })
}

/// The same configuration as published checkpoints spell it, which every runtime reads.
fn published(raw: &Value) -> Value {
    let mut config = raw.clone();
    let Some(keys) = config.as_object_mut() else { return config };
    if let Some(Value::Object(mut scaling)) = keys.shift_remove("rope_parameters") {
        if let Some(theta) = scaling.shift_remove("rope_theta") {
            keys.insert("rope_theta".into(), theta);
        }
        let default = scaling.get("rope_type").is_none_or(|kind| kind == "default");
        keys.insert("rope_scaling".into(), if default { Value::Null } else { Value::Object(scaling) });
    }
    if let Some(dtype) = keys.shift_remove("dtype") {
        keys.insert("torch_dtype".into(), dtype);
    }
    keys.sort_keys();
    config
}

fn shape(config: &Config<'_>) -> Result<Shape, FamilyError> {
    let hidden_size = config.size("hidden_size")?;
    let num_attention_heads = config.size("num_attention_heads")?;
    let num_key_value_heads = config.optional_size("num_key_value_heads")?.unwrap_or(num_attention_heads);
    let head_dim = match config.optional_size("head_dim")? {
        Some(head_dim) => head_dim,
        None => divided(hidden_size, num_attention_heads, "hidden_size", "num_attention_heads")?,
    };
    divided(num_attention_heads, num_key_value_heads, "num_attention_heads", "num_key_value_heads")?;
    divided(head_dim, 2, "head_dim", "2")?;
    let attention_bias = config.flag("attention_bias", false)?;
    Ok(Shape {
        vocab_size: config.size("vocab_size")?,
        hidden_size,
        intermediate_size: config.size("intermediate_size")?,
        num_hidden_layers: config.size("num_hidden_layers")?,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        max_position_embeddings: config.size("max_position_embeddings")?,
        rms_norm_eps: config.number("rms_norm_eps")? as f32,
        rope: rope(config, head_dim)?,
        tied: config.flag("tie_word_embeddings", false)?,
        qkv_bias: attention_bias,
        o_bias: attention_bias,
        mlp_bias: config.flag("mlp_bias", false)?,
    })
}

/// transformers 5 moves `rope_theta` into `rope_parameters`, which replaces `rope_scaling`.
fn rope(config: &Config<'_>, head_dim: u64) -> Result<Rope, FamilyError> {
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
    Ok(Rope { theta: theta as f32, factors, attention_factor })
}

fn divided(whole: u64, by: u64, whole_key: &str, by_key: &str) -> Result<u64, FamilyError> {
    if whole.is_multiple_of(by) {
        return Ok(whole / by);
    }
    Err(FamilyError::BadKey {
        key: whole_key.into(),
        got: whole.to_string(),
        expected: format!("a multiple of {by_key} ({by})"),
    })
}

fn must_be(got: &str, key: &str, expected: &str) -> Result<(), FamilyError> {
    if got == expected {
        return Ok(());
    }
    Err(FamilyError::BadKey { key: key.into(), got: format!("`{got}`"), expected: format!("`{expected}`") })
}

fn refuse_quantized(config: &Config<'_>) -> Result<(), FamilyError> {
    let quantized = ["quantization_config", "quantization"].into_iter().find_map(|k| config.optional(k));
    match quantized {
        None => Ok(()),
        Some(by) => Err(FamilyError::Unsupported {
            what: format!("a quantized checkpoint ({})", by.get("quant_method").and_then(Value::as_str).unwrap_or("?")),
            hint: "use the 16-bit checkpoint, or a GGUF of it".into(),
        }),
    }
}

fn ignored(shape: &Shape) -> Vec<IgnoredTensor> {
    let frequencies = (0..shape.num_hidden_layers).map(|i| IgnoredTensor {
        name: format!("model.layers.{i}.self_attn.rotary_emb.inv_freq"),
        reason: "old checkpoints store the RoPE frequencies, which follow from the configuration".into(),
    });
    let head = shape.tied.then(|| IgnoredTensor {
        name: "lm_head.weight".into(),
        reason: "`tie_word_embeddings` is true, so the embedding is the head".into(),
    });
    frequencies.chain(head).collect()
}
