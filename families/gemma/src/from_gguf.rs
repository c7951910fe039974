//! A Gemma 2 from a GGUF of the architecture `gemma2`: what llama.cpp's graph of that name computes from it.

use model::ModelDescription;
use model::description::Reading;
use model::inventory::Dialect;
use model_api::FamilyError;
use serde_json::{Value, json};
use transformer::keys::Keys;
use transformer::{Shape, config};

use crate::shape::{Gemma2, alternating, hard_coded_scalar};

const OWN: &[&str] = &[
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attn_logit_softcapping",
    "final_logit_softcapping",
];

pub fn read(model: &ModelDescription) -> Result<Reading, FamilyError> {
    let keys = Keys::of(model)?;
    // The graph has no other head than the embedding.
    let shape = Shape { tied: true, ..Shape::from_gguf(model, &keys)? };
    let gemma = Gemma2 {
        rope: keys.rope(shape.head_dim)?,
        query_pre_attn_scalar: hard_coded_scalar(&shape),
        sliding_window: keys.size("attention.sliding_window")?.unwrap_or(4096),
        slides: alternating(shape.num_hidden_layers),
        attn_logit_softcapping: Some(keys.positive("attn_logit_softcapping")?.unwrap_or(50.0)),
        final_logit_softcapping: Some(keys.positive("final_logit_softcapping")?.unwrap_or(30.0)),
        shape,
    };
    let (architecture, inventory) = gemma.build(Vec::new());
    Ok(Reading {
        family: crate::ID.into(),
        dialect: Dialect::Gguf,
        architecture,
        inventory,
        config: published(&gemma, model),
        gguf: gemma.gguf(),
        assumed: vec![
            keys.hard_coded("hidden_activation", json!("gelu_pytorch_tanh")),
            keys.hard_coded("query_pre_attn_scalar", json!(gemma.query_pre_attn_scalar)),
            keys.hard_coded("layer_types", json!("every other layer slides, the first one does")),
        ],
        lost_in_gguf: gemma.lost(),
        notes: keys.notes(OWN),
    })
}

/// transformers takes nothing but an integer; a fraction, which it cannot have, stays one.
fn whole(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { json!(value as i64) } else { json!(value) }
}

/// The published configuration of a GGUF's numbers.
fn published(gemma: &Gemma2, model: &ModelDescription) -> Value {
    let shape = &gemma.shape;
    let own = json!({
        "architectures": ["Gemma2ForCausalLM"],
        "attention_bias": false,
        "attn_logit_softcapping": gemma.attn_logit_softcapping,
        "final_logit_softcapping": gemma.final_logit_softcapping,
        "head_dim": shape.head_dim,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh",
        "model_type": "gemma2",
        "query_pre_attn_scalar": whole(gemma.query_pre_attn_scalar),
        "rope_theta": config::shortest(gemma.rope.theta),
        "sliding_window": gemma.sliding_window,
    });
    config::write(shape, model, own)
}
