//! A Granite from `config.json`, as published or as transformers 5 writes it.

use model::ModelDescription;
use model::description::Reading;
use model::inventory::Dialect;
use model_api::FamilyError;
use model_api::config::{Config, HARMLESS};
use serde_json::{Value, json};
use transformer::quantization::as_stored;
use transformer::{Mamba2Part, Quantization, Shape, config, divided};

use crate::shape::{Granite, Kind, Mixer, Mixture, Multipliers};

/// Keys that Granite checkpoints carry and that change nothing: how weights were made, what training added to the
/// loss, and in how large chunks a state space is computed.
const HARMLESS_HERE: &[&str] =
    &["init_method", "mamba_chunk_size", "output_router_logits", "router_aux_loss_coef", "router_jitter_noise"];

pub fn read(model: &ModelDescription) -> Result<Reading, FamilyError> {
    let raw = config::raw(model)?;
    let keys = Config::new(raw)?;
    let named = keys.optional_str("model_type")?.unwrap_or_default();
    let kind = Kind::ALL.into_iter().find(|kind| kind.model_type() == named).ok_or_else(|| FamilyError::BadKey {
        key: "model_type".into(),
        got: format!("`{named}`"),
        expected: "a Granite's".into(),
    })?;
    config::must_be(&keys, "hidden_act", "silu")?;
    config::must_be(&keys, "normalization_function", "rmsnorm")?;
    let quantization = Quantization::read(&keys)?;
    let granite = granite(model, &keys, kind)?;
    keys.finish(&[HARMLESS, HARMLESS_HERE].concat())?;
    let (architecture, inventory) = granite.build(config::ignored(&granite.shape));
    let reading = Reading {
        family: crate::ID.into(),
        dialect: config::dialect(raw),
        architecture,
        inventory,
        config: published(raw),
        gguf: granite.gguf(),
        assumed: Vec::new(),
        lost_in_gguf: granite.lost(),
        notes: config::notes(&granite.shape, model),
    };
    let mut reading = as_stored(reading, quantization.as_ref(), model);
    if reading.dialect == Dialect::Mlx && granite.is_hybrid() && raw.get("time_step_limit").is_none() {
        let note = "mlx-lm keeps time steps within 0.001 and 100 where `time_step_limit` is absent; here they have no \
                    bounds then, as in transformers";
        reading.notes.push(note.into());
    }
    Ok(reading)
}

fn granite(model: &ModelDescription, keys: &Config<'_>, kind: Kind) -> Result<Granite, FamilyError> {
    let shape = Shape::from_config(model, keys, kind != Kind::Dense)?;
    let experts = if kind == Kind::Dense { None } else { keys.optional("num_local_experts").and_then(Value::as_u64) };
    let mixture = match experts.filter(|n| *n > 0) {
        Some(num_experts) => Some(Mixture::new(num_experts, "num_experts_per_tok", keys.size("num_experts_per_tok")?)?),
        None => None,
    };
    if kind != Kind::Dense {
        // Says nothing without experts.
        keys.optional("num_experts_per_tok");
    }
    let hybrid = kind == Kind::MoeHybrid;
    let multiplier = |key: &str| config::positive(key, keys.optional_number(key)?.unwrap_or(1.0));
    Ok(Granite {
        kind,
        rope: config::rope(keys, shape.head_dim)?,
        has_positions: !hybrid || keys.optional_str("position_embedding_type")? == Some("rope"),
        multipliers: Multipliers {
            embedding: multiplier("embedding_multiplier")?,
            attention: multiplier("attention_multiplier")?,
            residual: multiplier("residual_multiplier")?,
            logits_scaling: config::divisor("logits_scaling", multiplier("logits_scaling")?)?,
        },
        attention_bias: keys.flag("attention_bias", false)?,
        mlp_bias: kind == Kind::Dense && keys.flag("mlp_bias", false)?,
        mixture,
        shared_intermediate_size: if hybrid { Some(keys.size("shared_intermediate_size")?) } else { None },
        mixers: if hybrid { mixers(keys, shape.num_hidden_layers)? } else { attention_only(&shape) },
        mamba: if hybrid { Some(mamba(keys, &shape)?) } else { None },
        shape,
    })
}

fn attention_only(shape: &Shape) -> Vec<Mixer> {
    vec![Mixer::Attention; shape.num_hidden_layers as usize]
}

/// Layers by name: `mamba` and `attention`, which transformers 5 saves as `linear_attention` and `full_attention`.
fn mixers(keys: &Config<'_>, layers: u64) -> Result<Vec<Mixer>, FamilyError> {
    let mixer = |kind: &Value| match kind.as_str()? {
        "mamba" | "linear_attention" => Some(Mixer::Mamba),
        "attention" | "full_attention" => Some(Mixer::Attention),
        _ => None,
    };
    let Some(value) = keys.optional("layer_types").or_else(|| keys.optional("layers_block_type")) else {
        // transformers' default.
        return Ok(vec![Mixer::Mamba; layers as usize]);
    };
    let mixers: Option<Vec<_>> = value.as_array().and_then(|types| types.iter().map(mixer).collect());
    mixers.filter(|mixers| mixers.len() as u64 == layers).ok_or_else(|| FamilyError::BadKey {
        key: "layer_types".into(),
        got: value.to_string(),
        expected: format!("{layers} of `mamba` and `attention`"),
    })
}

fn mamba(keys: &Config<'_>, shape: &Shape) -> Result<Mamba2Part, FamilyError> {
    let size = |key: &str, default: u64| Ok::<_, FamilyError>(keys.optional_size(key)?.unwrap_or(default));
    let num_heads = size("mamba_n_heads", 128)?;
    let inner = size("mamba_expand", 2)? * shape.hidden_size;
    let head_dim = match keys.optional("mamba_d_head").and_then(Value::as_u64) {
        Some(head_dim) => head_dim,
        None => divided("mamba_expand * hidden_size", inner, "mamba_n_heads", num_heads)?,
    };
    if num_heads * head_dim != inner {
        return Err(FamilyError::BadKey {
            key: "mamba_n_heads".into(),
            got: num_heads.to_string(),
            expected: format!("heads of {head_dim} that make mamba_expand * hidden_size ({inner})"),
        });
    }
    let num_groups = size("mamba_n_groups", 1)?;
    divided("mamba_n_heads", num_heads, "mamba_n_groups", num_groups)?;
    Ok(Mamba2Part {
        num_heads,
        head_dim,
        state_size: size("mamba_d_state", 256)?,
        num_groups,
        kernel_size: size("mamba_d_conv", 4)?,
        conv_bias: keys.flag("mamba_conv_bias", true)?,
        proj_bias: keys.flag("mamba_proj_bias", false)?,
        time_step: time_step(keys)?,
    })
}

/// `[min, max]`; infinity, which JSON lacks, is written `Infinity` or `{"__float__": "Infinity"}`.
fn time_step(keys: &Config<'_>) -> Result<(Option<f32>, Option<f32>), FamilyError> {
    let Some(limit) = keys.optional("time_step_limit") else { return Ok((None, None)) };
    let bound = |value: &Value| match value.get("__float__").unwrap_or(value) {
        Value::Number(n) => n.as_f64().map(|n| n as f32),
        Value::String(text) if text == "Infinity" => Some(f32::INFINITY),
        _ => None,
    };
    match limit.as_array().map(Vec::as_slice) {
        Some([min, max]) if bound(min).is_some() && bound(max).is_some() => {
            // The time step is positive, so a bound of zero is none.
            Ok((bound(min).filter(|min| *min > 0.0), bound(max).filter(|max| max.is_finite())))
        }
        _ => Err(FamilyError::BadKey {
            key: "time_step_limit".into(),
            got: limit.to_string(),
            expected: "the least and the greatest time step".into(),
        }),
    }
}

/// llama.cpp's converter and older transformers know the published names of layers alone, and no infinity as an object.
fn published(raw: &Value) -> Value {
    let mut config = config::published(raw);
    let Some(keys) = config.as_object_mut() else { return config };
    if let Some(Value::Array(types)) = keys.get_mut("layer_types") {
        for kind in types {
            match kind.as_str() {
                Some("linear_attention") => *kind = json!("mamba"),
                Some("full_attention") => *kind = json!("attention"),
                _ => {}
            }
        }
    }
    // (0, infinity) is what an absent key means.
    if keys.get("time_step_limit").is_some_and(|limit| limit.to_string().contains("Infinity")) {
        keys.shift_remove("time_step_limit");
    }
    config
}
