//! Llama models in files, for tests that have some at hand: a minimal family.

use std::path::Path;
use std::sync::Arc;

use checkpoint::{Checkpoint, ModelView};
use model::architecture::*;
use model::inventory::{Dialect, Form, Inventory, Presence, Role, TensorSpec};
use model::{Architecture, Expr};

use crate::Adapters;
use crate::from_view::ViewWeights;

/// The network of a directory's `config.json`; `factors` are its rotation's.
pub(super) fn architecture(dir: &Path, factors: Vec<f32>) -> Architecture {
    let text = std::fs::read_to_string(dir.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text).unwrap();
    let number = |key: &str| config[key].as_u64().unwrap();
    let (hidden, ffn, heads, kv_heads) = (
        number("hidden_size"),
        number("intermediate_size"),
        number("num_attention_heads"),
        number("num_key_value_heads"),
    );
    let head_dim = config["head_dim"].as_u64().unwrap_or(hidden / heads);
    let eps = config["rms_norm_eps"].as_f64().unwrap() as f32;
    let theta = config["rope_theta"].as_f64().unwrap() as f32;
    let layer = |i: u64| {
        let linear = |name: &str, in_features, out_features| Linear {
            module: format!("model.layers.{i}.{name}"),
            in_features,
            out_features,
            bias: false,
        };
        let norm = |name: &str| Norm { weight: format!("model.layers.{i}.{name}.weight"), eps, weight_offset: 0.0 };
        let sublayer = |name: &str, branch| Sublayer {
            input_norm: norm(name),
            branches: vec![branch],
            output_norm: None,
            residual_scale: 1.0,
        };
        let attention = Attention {
            q: linear("self_attn.q_proj", hidden, heads * head_dim),
            k: linear("self_attn.k_proj", hidden, kv_heads * head_dim),
            v: linear("self_attn.v_proj", hidden, kv_heads * head_dim),
            o: linear("self_attn.o_proj", heads * head_dim, hidden),
            num_heads: heads,
            num_kv_heads: kv_heads,
            head_dim,
            scale: (head_dim as f32).powf(-0.5),
            rope: Some(Rope { theta, factors: factors.clone(), attention_factor: 1.0 }),
            window: None,
            soft_cap: None,
            q_norm: None,
            k_norm: None,
        };
        let (gate, up) = (linear("mlp.gate_proj", hidden, ffn), linear("mlp.up_proj", hidden, ffn));
        let down = linear("mlp.down_proj", ffn, hidden);
        let glu = Glu { input: GluInput::Separate { gate, up }, down, activation: Activation::Silu };
        let mixer = sublayer("input_layernorm", Branch::Attention(attention));
        Layer { sublayers: vec![mixer, sublayer("post_attention_layernorm", Branch::Glu(glu))] }
    };
    let table = "model.embed_tokens.weight";
    Architecture {
        vocab_size: number("vocab_size"),
        hidden_size: hidden,
        max_position_embeddings: number("max_position_embeddings"),
        embedding: Embedding { weight: table.into(), scale: 1.0 },
        layers: (0..number("num_hidden_layers")).map(layer).collect(),
        final_norm: Norm { weight: "model.norm.weight".into(), eps, weight_offset: 0.0 },
        head: Head { weight: table.into(), logit_scale: 1.0, soft_cap: None },
    }
}

/// Weights of a directory or a GGUF.
pub(super) fn weights(path: &Path, architecture: &Architecture) -> ViewWeights {
    let view = ModelView::new(Checkpoint::open(path).unwrap(), inventory(architecture), None).unwrap();
    ViewWeights::new(Arc::new(view))
}

fn inventory(architecture: &Architecture) -> Inventory {
    let (vocab, hidden) = (architecture.vocab_size, architecture.hidden_size);
    let mut tensors = vec![
        tensor("model.embed_tokens.weight", vec![vocab, hidden], Expr::tensor("token_embd.weight")),
        tensor("model.norm.weight", vec![hidden], Expr::tensor("output_norm.weight")),
    ];
    for (i, layer) in architecture.layers.iter().enumerate() {
        for (sublayer, name) in layer.sublayers.iter().zip(["attn_norm", "ffn_norm"]) {
            let stored = Expr::tensor(format!("blk.{i}.{name}.weight"));
            tensors.push(tensor(&sublayer.input_norm.weight, vec![hidden], stored));
            for branch in &sublayer.branches {
                let names = match branch {
                    Branch::Attention(_) => ["attn_q", "attn_k", "attn_v", "attn_output"],
                    _ => ["ffn_gate", "ffn_up", "ffn_down", ""],
                };
                let head_dim = if let Branch::Attention(a) = branch { a.head_dim } else { 0 };
                for (linear, name) in branch.linears().into_iter().zip(names) {
                    let shape = vec![linear.out_features, linear.in_features];
                    let stored = Expr::tensor(format!("blk.{i}.{name}.weight"));
                    let turned = matches!(name, "attn_q" | "attn_k");
                    let stored = if turned { by_halves(stored, &shape, head_dim) } else { stored };
                    tensors.push(tensor(&linear.weight(), shape, stored));
                }
            }
        }
    }
    Inventory { tensors, ignored: Vec::new(), gguf: Vec::new() }
}

/// A GGUF's queries and keys pair neighbours; canonical ones pair halves.
fn by_halves(stored: Expr, shape: &[u64], head_dim: u64) -> Expr {
    let (heads, columns) = (shape[0] / head_dim, shape[1]);
    let cut = Expr::Reshape { of: Box::new(stored), shape: vec![heads, head_dim / 2, 2, columns] };
    let turned = Expr::Permute { of: Box::new(cut), axes: vec![0, 2, 1, 3] };
    Expr::Reshape { of: Box::new(turned), shape: shape.to_vec() }
}

fn tensor(name: &str, shape: Vec<u64>, gguf: Expr) -> TensorSpec {
    let forms = vec![
        Form { dialect: Dialect::Published, expr: Expr::tensor(name) },
        Form { dialect: Dialect::Gguf, expr: gguf },
    ];
    let (role, presence) = (Role::Embedding, Presence::Required);
    TensorSpec { name: name.into(), shape, role, layer: None, presence, heads: None, adapter: None, forms }
}

/// Fresh adapters on every linear.
pub(super) fn fresh_adapters(architecture: &Architecture, rank: usize) -> Adapters {
    let modules = architecture.linears().iter().map(|linear| linear.module.clone()).collect();
    Adapters::initialize(architecture, &modules, rank, 2.0, 0).unwrap()
}
