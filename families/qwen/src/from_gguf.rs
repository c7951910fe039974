//! A Qwen from a GGUF of the architecture `qwen2` or `qwen3`.

use model::ModelDescription;
use model::description::Reading;
use model::inventory::Dialect;
use model_api::FamilyError;
use serde_json::{Value, json};
use transformer::keys::Keys;
use transformer::{Shape, config, rope_scaling};

use crate::shape::{Generation, Qwen};

pub fn read(model: &ModelDescription) -> Result<Reading, FamilyError> {
    let keys = Keys::of(model)?;
    let shape = Shape::from_gguf(model, &keys)?;
    let generation = Generation::named(keys.architecture())?;
    let has = |name: &str| model.tensor(name).is_some();
    let qwen = Qwen {
        generation,
        rope: keys.rope(shape.head_dim)?,
        windows: vec![None; shape.num_hidden_layers as usize],
        shape,
        // llama.cpp's graph of `qwen2` has them in every file.
        qkv_bias: generation == Generation::Two || has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"),
        o_bias: has("blk.0.attn_output.bias"),
    };
    let (architecture, inventory) = qwen.build(Vec::new());
    Ok(Reading {
        family: crate::ID.into(),
        dialect: Dialect::Gguf,
        architecture,
        inventory,
        config: published(&qwen, model),
        gguf: qwen.gguf(),
        assumed: vec![
            keys.hard_coded("hidden_act", json!("silu")),
            keys.hard_coded("use_sliding_window", json!(false)),
        ],
        lost_in_gguf: Vec::new(),
        notes: keys.notes(&[]),
    })
}

/// The published configuration of a GGUF's numbers.
fn published(qwen: &Qwen, model: &ModelDescription) -> Value {
    let (shape, rope, generation) = (&qwen.shape, &qwen.rope, qwen.generation);
    let three = generation == Generation::Three;
    let own = json!({
        "architectures": [generation.class()],
        "attention_bias": three.then_some(qwen.o_bias),
        "head_dim": three.then_some(shape.head_dim),
        "hidden_act": "silu",
        "max_window_layers": shape.num_hidden_layers,
        "model_type": generation.name(),
        "rope_scaling": rope_scaling::write(rope, shape.head_dim),
        "rope_theta": config::shortest(rope.theta),
        "use_sliding_window": false,
    });
    config::write(shape, model, own)
}
