//! A Qwen from `config.json`, as published or as transformers 5 writes it.

use model::ModelDescription;
use model::description::Reading;
use model_api::FamilyError;
use model_api::config::{Config, HARMLESS};
use transformer::config::LayerType;
use transformer::quantization::as_stored;
use transformer::{Quantization, Shape, config};

use crate::shape::{Generation, Qwen};

/// Means nothing where `use_sliding_window` is false, as in every published checkpoint.
const HARMLESS_HERE: &[&str] = &["sliding_window"];

pub fn read(model: &ModelDescription) -> Result<Reading, FamilyError> {
    let raw = config::raw(model)?;
    let keys = Config::new(raw)?;
    let generation = Generation::named(keys.optional_str("model_type")?.unwrap_or_default())?;
    config::must_be(&keys, "hidden_act", "silu")?;
    let quantization = Quantization::read(&keys)?;
    if keys.flag("use_mrope", false)? {
        return Err(FamilyError::Unsupported {
            what: "`use_mrope = true`".into(),
            hint: "positions of images and videos; language models have one position a token".into(),
        });
    }
    let shape = Shape::from_config(model, &keys, false)?;
    let attention_bias = keys.flag("attention_bias", false)?;
    let qwen = Qwen {
        generation,
        rope: config::rope(&keys, shape.head_dim)?,
        windows: windows(&keys, shape.num_hidden_layers)?,
        shape,
        qkv_bias: generation == Generation::Two || attention_bias,
        o_bias: generation == Generation::Three && attention_bias,
    };
    keys.finish(&[HARMLESS, HARMLESS_HERE].concat())?;
    let (architecture, inventory) = qwen.build(config::ignored(&qwen.shape));
    let reading = Reading {
        family: crate::ID.into(),
        dialect: config::dialect(raw),
        architecture,
        inventory,
        config: config::published(raw),
        gguf: qwen.gguf(),
        assumed: Vec::new(),
        lost_in_gguf: qwen.lost(),
        notes: config::notes(&qwen.shape, model),
    };
    Ok(as_stored(reading, quantization.as_ref(), model))
}

/// Where `use_sliding_window` is set, layers from `max_window_layers` on have a window; transformers 5 names the layers
/// that have one.
fn windows(keys: &Config<'_>, layers: u64) -> Result<Vec<Option<u64>>, FamilyError> {
    let window = if keys.flag("use_sliding_window", false)? { keys.optional_size("sliding_window")? } else { None };
    let first = keys.optional_size("max_window_layers")?.unwrap_or(28);
    let slides = match config::layer_types(keys, layers)? {
        Some(types) => types.into_iter().map(|kind| kind == LayerType::Sliding).collect(),
        None => (0..layers).map(|i| i >= first).collect::<Vec<bool>>(),
    };
    Ok(slides.into_iter().map(|slides| window.filter(|_| slides)).collect())
}
