//! A Llama from `config.json`, as published or as transformers 5 writes it.

use model::ModelDescription;
use model::description::Reading;
use model_api::FamilyError;
use model_api::config::{Config, HARMLESS};
use transformer::quantization::as_stored;
use transformer::{Quantization, Shape, config};

use crate::shape::Llama;

/// Keys that Llama checkpoints carry and that change nothing.
const HARMLESS_HERE: &[&str] = &["is_llama_config", "pretraining_tp", "transformers.js_config"];

pub fn read(model: &ModelDescription) -> Result<Reading, FamilyError> {
    let raw = config::raw(model)?;
    let keys = Config::new(raw)?;
    config::must_be(&keys, "hidden_act", "silu")?;
    let quantization = Quantization::read(&keys)?;
    if keys.flag("rope_interleaved", false)? {
        return Err(FamilyError::Unsupported {
            what: "`rope_interleaved = true`".into(),
            hint: "published Llama checkpoints pair the halves of each head".into(),
        });
    }
    let shape = Shape::from_config(model, &keys, false)?;
    let attention_bias = keys.flag("attention_bias", false)?;
    let llama = Llama {
        rope: config::rope(&keys, shape.head_dim)?,
        shape,
        qkv_bias: attention_bias,
        o_bias: attention_bias,
        mlp_bias: keys.flag("mlp_bias", false)?,
    };
    keys.finish(&[HARMLESS, HARMLESS_HERE].concat())?;
    let (architecture, inventory) = llama.build(config::ignored(&llama.shape));
    let reading = Reading {
        family: crate::ID.into(),
        dialect: config::dialect(raw),
        architecture,
        inventory,
        config: config::published(raw),
        gguf: llama.shape.llama_header(&llama.rope),
        assumed: Vec::new(),
        lost_in_gguf: Vec::new(),
        notes: config::notes(&llama.shape, model),
    };
    Ok(as_stored(reading, quantization.as_ref(), model))
}
