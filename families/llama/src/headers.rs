//! The headers of both containers that say a shape.

use model::ModelDescription;
use model::description::{GgufHeader, MetaValue, VocabularyKeys};
use serde_json::{Map, Value, json};

use crate::rope_scaling;
use crate::shape::Shape;

/// The keys that llama.cpp's converter writes for a Llama, and the attention factor, which it never meets.
pub fn gguf(shape: &Shape) -> GgufHeader {
    let u32 = |key: &str, value: u64| (format!("llama.{key}"), MetaValue::U32(value as u32));
    let f32 = |key: &str, value: f32| (format!("llama.{key}"), MetaValue::F32(value));
    let attention_factor = shape.rope.attention_factor;
    let scaled = (attention_factor != 1.0).then(|| f32("rope.scaling.attn_factor", attention_factor));
    GgufHeader {
        architecture: "llama".into(),
        vocabulary: VocabularyKeys::Llama,
        metadata: [
            u32("block_count", shape.num_hidden_layers),
            u32("context_length", shape.max_position_embeddings),
            u32("embedding_length", shape.hidden_size),
            u32("feed_forward_length", shape.intermediate_size),
            u32("attention.head_count", shape.num_attention_heads),
            u32("attention.head_count_kv", shape.num_key_value_heads),
            f32("rope.freq_base", shape.rope.theta),
            f32("attention.layer_norm_rms_epsilon", shape.rms_norm_eps),
            u32("attention.key_length", shape.head_dim),
            u32("attention.value_length", shape.head_dim),
            u32("vocab_size", shape.vocab_size),
            u32("rope.dimension_count", shape.head_dim),
        ]
        .into_iter()
        .chain(scaled)
        .collect(),
    }
}

/// The published configuration of a GGUF's shape, keys in alphabetical order as transformers saves them.
pub fn published_config(shape: &Shape, model: &ModelDescription) -> Value {
    let token = |role: &str| model.tokenizer.as_ref()?.get(role)?.as_u64();
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": shape.qkv_bias,
        "attention_dropout": 0.0,
        "bos_token_id": token("bos"),
        "eos_token_id": token("eos"),
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": shape.intermediate_size,
        "max_position_embeddings": shape.max_position_embeddings,
        "mlp_bias": shape.mlp_bias,
        "model_type": "llama",
        "num_attention_heads": shape.num_attention_heads,
        "num_hidden_layers": shape.num_hidden_layers,
        "num_key_value_heads": shape.num_key_value_heads,
        "pad_token_id": token("pad"),
        "rms_norm_eps": shortest(shape.rms_norm_eps),
        "rope_scaling": rope_scaling::write(&shape.rope, shape.head_dim),
        "rope_theta": shortest(shape.rope.theta),
        "tie_word_embeddings": shape.tied,
        "use_cache": true,
        "vocab_size": shape.vocab_size,
    });
    match config {
        Value::Object(keys) => Value::Object(keys.into_iter().filter(|(_, v)| !v.is_null()).collect::<Map<_, _>>()),
        other => other,
    }
}

/// The shortest decimal that is the same `f32`: 1e-05, not 9.99999974e-06.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
