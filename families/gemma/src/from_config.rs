//! A Gemma 2 from `config.json`, as published or as transformers 5 writes it.

use model::ModelDescription;
use model::description::Reading;
use model_api::FamilyError;
use model_api::config::{Config, HARMLESS};
use transformer::config::LayerType;
use transformer::quantization::as_stored;
use transformer::{Quantization, Shape, config};

use crate::shape::{Gemma2, alternating};

/// Keys that Gemma checkpoints carry and that change nothing: the first is how a cache is laid out, the second repeats
/// `sliding_window`.
const HARMLESS_HERE: &[&str] = &["cache_implementation", "sliding_window_size"];

pub fn read(model: &ModelDescription) -> Result<Reading, FamilyError> {
    let raw = config::raw(model)?;
    let keys = Config::new(raw)?;
    // `hidden_activation` decides where both are there, as in transformers.
    let activation =
        if raw.get("hidden_activation").is_some_and(|v| !v.is_null()) { "hidden_activation" } else { "hidden_act" };
    keys.optional("hidden_act");
    config::must_be(&keys, activation, "gelu_pytorch_tanh")?;
    let quantization = Quantization::read(&keys)?;
    for flag in ["attention_bias", "use_bidirectional_attention"] {
        if keys.flag(flag, false)? {
            let hint = "published Gemma 2 checkpoints have it false".into();
            return Err(FamilyError::Unsupported { what: format!("`{flag} = true`"), hint });
        }
    }
    let shape = Shape::from_config(model, &keys, true)?;
    if !shape.tied {
        return Err(FamilyError::BadKey {
            key: "tie_word_embeddings".into(),
            got: "false".into(),
            expected: "true, as in every Gemma 2".into(),
        });
    }
    let query_pre_attn_scalar = keys.optional_number("query_pre_attn_scalar")?.unwrap_or(256.0);
    config::positive("query_pre_attn_scalar", query_pre_attn_scalar)?;
    let gemma = Gemma2 {
        rope: config::rope(&keys, shape.head_dim)?,
        query_pre_attn_scalar,
        sliding_window: keys.optional_size("sliding_window")?.unwrap_or(4096),
        slides: match config::layer_types(&keys, shape.num_hidden_layers)? {
            Some(types) => types.into_iter().map(|kind| kind == LayerType::Sliding).collect(),
            None => alternating(shape.num_hidden_layers),
        },
        attn_logit_softcapping: cap(
            &keys,
            "attn_logit_softcapping",
            raw.get("attn_logit_softcapping").is_some(),
            50.0,
        )?,
        final_logit_softcapping: cap(
            &keys,
            "final_logit_softcapping",
            raw.get("final_logit_softcapping").is_some(),
            30.0,
        )?,
        shape,
    };
    keys.finish(&[HARMLESS, HARMLESS_HERE].concat())?;
    let (architecture, inventory) = gemma.build(config::ignored(&gemma.shape));
    let reading = Reading {
        family: crate::ID.into(),
        dialect: config::dialect(raw),
        architecture,
        inventory,
        config: config::published(raw),
        gguf: gemma.gguf(),
        assumed: Vec::new(),
        lost_in_gguf: gemma.lost(),
        notes: config::notes(&gemma.shape, model),
    };
    Ok(as_stored(reading, quantization.as_ref(), model))
}

/// An absent key means the published value, null means no cap.
fn cap(keys: &Config<'_>, key: &str, written: bool, default: f32) -> Result<Option<f32>, FamilyError> {
    let cap = keys.optional_number(key)?.map(|cap| config::positive(key, cap)).transpose()?;
    Ok(if written { cap } else { Some(default) })
}
