//! What a Llama computes.

use model::Architecture;
use model::architecture::{
    Activation, Attention, Branch, Embedding, Glu, GluInput, Head, Layer, Linear, Norm, Sublayer,
};

use crate::shape::Shape;

pub fn architecture(shape: &Shape) -> Architecture {
    let embedding = "model.embed_tokens.weight".to_owned();
    let head = if shape.tied { embedding.clone() } else { "lm_head.weight".into() };
    Architecture {
        vocab_size: shape.vocab_size,
        hidden_size: shape.hidden_size,
        max_position_embeddings: shape.max_position_embeddings,
        embedding: Embedding { weight: embedding, scale: 1.0 },
        layers: (0..shape.num_hidden_layers).map(|i| layer(shape, i)).collect(),
        final_norm: norm(shape, "model.norm"),
        head: Head { weight: head, logit_scale: 1.0, soft_cap: None },
    }
}

fn norm(shape: &Shape, module: &str) -> Norm {
    Norm { weight: format!("{module}.weight"), eps: shape.rms_norm_eps, weight_offset: 0.0 }
}

fn layer(shape: &Shape, i: u64) -> Layer {
    let at = format!("model.layers.{i}");
    let sublayer = |name: &str, branch| Sublayer {
        input_norm: norm(shape, &format!("{at}.{name}")),
        branches: vec![branch],
        output_norm: None,
        residual_scale: 1.0,
    };
    Layer {
        sublayers: vec![
            sublayer("input_layernorm", Branch::Attention(attention(shape, &at))),
            sublayer("post_attention_layernorm", Branch::Glu(glu(shape, &at))),
        ],
    }
}

fn attention(shape: &Shape, at: &str) -> Attention {
    let linear = |name: &str, in_features, out_features, bias| Linear {
        module: format!("{at}.self_attn.{name}"),
        in_features,
        out_features,
        bias,
    };
    let (queries, keys) = (shape.num_attention_heads * shape.head_dim, shape.num_key_value_heads * shape.head_dim);
    Attention {
        q: linear("q_proj", shape.hidden_size, queries, shape.qkv_bias),
        k: linear("k_proj", shape.hidden_size, keys, shape.qkv_bias),
        v: linear("v_proj", shape.hidden_size, keys, shape.qkv_bias),
        o: linear("o_proj", queries, shape.hidden_size, shape.o_bias),
        num_heads: shape.num_attention_heads,
        num_kv_heads: shape.num_key_value_heads,
        head_dim: shape.head_dim,
        scale: (shape.head_dim as f64).powf(-0.5) as f32,
        rope: Some(shape.rope.clone()),
        window: None,
        soft_cap: None,
        q_norm: None,
        k_norm: None,
    }
}

fn glu(shape: &Shape, at: &str) -> Glu {
    let linear = |name: &str, in_features, out_features| Linear {
        module: format!("{at}.mlp.{name}"),
        in_features,
        out_features,
        bias: shape.mlp_bias,
    };
    let (hidden, intermediate) = (shape.hidden_size, shape.intermediate_size);
    Glu {
        input: GluInput::Separate {
            gate: linear("gate_proj", hidden, intermediate),
            up: linear("up_proj", hidden, intermediate),
        },
        down: linear("down_proj", intermediate, hidden),
        activation: Activation::Silu,
    }
}
