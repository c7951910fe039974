//! A Mistral from `config.json`, as published or as transformers 5 writes it.

use model::ModelDescription;
use model::architecture::{Activation, Architecture, Rope};
use model::description::{LostFact, Reading};
use model::inventory::Inventory;
use model_api::FamilyError;
use model_api::config::{Config, HARMLESS};
use serde_json::json;
use transformer::quantization::as_stored;
use transformer::{AttentionPart, Builder, GluPart, Quantization, Shape, config};

pub fn read(model: &ModelDescription) -> Result<Reading, FamilyError> {
    let raw = config::raw(model)?;
    let keys = Config::new(raw)?;
    config::must_be(&keys, "hidden_act", "silu")?;
    let quantization = Quantization::read(&keys)?;
    let shape = Shape::from_config(model, &keys, false)?;
    let rope = config::rope(&keys, shape.head_dim)?;
    let window = keys.optional_size("sliding_window")?;
    keys.finish(HARMLESS)?;
    let (architecture, inventory) = build(&shape, &rope, window);
    let reading = Reading {
        family: "mistral".into(),
        dialect: config::dialect(raw),
        architecture,
        inventory,
        config: config::published(raw),
        gguf: shape.llama_header(&rope),
        assumed: Vec::new(),
        lost_in_gguf: lost(window),
        notes: config::notes(&shape, model),
    };
    Ok(as_stored(reading, quantization.as_ref(), model))
}

fn build(shape: &Shape, rope: &Rope, window: Option<u64>) -> (Architecture, Inventory) {
    let attention = AttentionPart { interleaved: true, window, ..AttentionPart::usual(shape, rope) };
    let glu = GluPart { intermediate_size: shape.intermediate_size, activation: Activation::Silu, bias: false };
    let mut model = Builder::new(shape, Some(rope));
    for _ in 0..shape.num_hidden_layers {
        model.layer().pre_norm(&attention, &glu, 1.0);
    }
    model.finish(config::ignored(shape))
}

/// llama.cpp's graph of `llama` has no window, so every key is seen.
fn lost(window: Option<u64>) -> Vec<LostFact> {
    let lost = window.map(|window| LostFact {
        fact: "sliding_window".into(),
        value: json!(window),
        assumed: json!(null),
        bound: Some(format!("past {window} tokens")),
    });
    lost.into_iter().collect()
}
