//! A tiny model whose weights are computed from their names, here and in `tests/data/make_golden.py` alike.

use model::Architecture;
use model::StoredType;
use model::architecture::*;
use std::sync::Arc;

use crate::error::Result;
use crate::mapped::{MappedMatrix, Segment};
use crate::rows::StoredRows;
use crate::weights::Weights;
use crate::{Adapter, Adapters, Matrix};
use model::row_map::Rows;

/// `amplitude · u`, u uniform in [-1, 1), by name and index.
pub(super) fn values(name: &str, len: usize, amplitude: f32) -> Vec<f32> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let unit = |i: usize| {
        let mut x = seed.wrapping_add((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|i| unit(i) * amplitude).collect()
}

/// Weights by name: matrices as rows of `stored_type`, in two segments, so that a matrix is more than one source.
pub(super) struct Synthetic {
    pub(super) stored_type: StoredType,
}

impl Weights for Synthetic {
    fn matrix(&self, name: &str, [rows, columns]: [usize; 2]) -> Result<MappedMatrix> {
        let values = values(name, rows * columns, 2.0 / (columns as f32).sqrt());
        let mut bytes = vec![0; self.stored_type.row_bytes(values.len() as u64).unwrap() as usize];
        blocks::encode_rows(self.stored_type, &values, &mut bytes).unwrap();
        let place = 0..bytes.len();
        let source = Arc::new(StoredRows::new(Arc::new(bytes), place, self.stored_type, columns, Vec::new())?);
        let half = rows as u64 / 2;
        let rest = (half as u32..rows as u32).collect();
        let rows = [Rows::Range { first: 0, count: half }, Rows::List(rest)];
        let segments = rows.map(|rows| Segment { source: source.clone(), rows });
        Ok(MappedMatrix::new(columns, segments.into())?)
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        // Steps of a state space are short, so that states live on for more than a chunk.
        let around = match name {
            _ if name.ends_with("norm.weight") => 1.0,
            _ if name.ends_with("dt_bias") => -3.0,
            _ => 0.0,
        };
        Ok(values(name, len, 0.5).into_iter().map(|v| v + around).collect())
    }
}

fn linear(module: String, in_features: u64, out_features: u64, bias: bool) -> Linear {
    Linear { module, in_features, out_features, bias }
}

fn norm(weight: String) -> Norm {
    Norm { weight, eps: 1e-5, weight_offset: 0.0 }
}

fn attention(prefix: &str, hidden: u64, rope: Option<Rope>, bias: bool) -> Attention {
    let (num_heads, num_kv_heads, head_dim) = (4, 2, 16);
    let of = |name: &str, inputs, outputs| linear(format!("{prefix}.self_attn.{name}"), inputs, outputs, bias);
    Attention {
        q: of("q_proj", hidden, num_heads * head_dim),
        k: of("k_proj", hidden, num_kv_heads * head_dim),
        v: of("v_proj", hidden, num_kv_heads * head_dim),
        o: linear(format!("{prefix}.self_attn.o_proj"), num_heads * head_dim, hidden, false),
        num_heads,
        num_kv_heads,
        head_dim,
        scale: 0.25,
        rope,
        window: None,
        soft_cap: None,
        q_norm: None,
        k_norm: None,
    }
}

fn sublayer(norm_name: String, branches: Vec<Branch>) -> Sublayer {
    Sublayer { input_norm: norm(norm_name), branches, output_norm: None, residual_scale: 1.0 }
}

/// A Llama: tied, with factors on its rotation.
pub(super) fn llama(factors: &[f32]) -> Architecture {
    let (hidden, ffn) = (64, 96);
    let rope = Rope { theta: 10000.0, factors: factors.to_vec(), attention_factor: 1.0 };
    let layer = |i: usize| {
        let prefix = format!("model.layers.{i}");
        let of = |name: &str, inputs, outputs| linear(format!("{prefix}.mlp.{name}"), inputs, outputs, false);
        let input = GluInput::Separate { gate: of("gate_proj", hidden, ffn), up: of("up_proj", hidden, ffn) };
        let glu = Glu { input, down: of("down_proj", ffn, hidden), activation: Activation::Silu };
        let attention = Branch::Attention(attention(&prefix, hidden, Some(rope.clone()), false));
        let sublayers = vec![
            sublayer(format!("{prefix}.input_layernorm.weight"), vec![attention]),
            sublayer(format!("{prefix}.post_attention_layernorm.weight"), vec![Branch::Glu(glu)]),
        ];
        Layer { sublayers }
    };
    Architecture {
        vocab_size: 128,
        hidden_size: hidden,
        max_position_embeddings: 512,
        embedding: Embedding { weight: "model.embed_tokens.weight".into(), scale: 1.0 },
        layers: (0..3).map(layer).collect(),
        final_norm: norm("model.norm.weight".into()),
        head: Head { weight: "model.embed_tokens.weight".into(), logit_scale: 1.0, soft_cap: None },
    }
}

/// Everything that an architecture can say and Llama doesn't.
pub(super) fn everything() -> Architecture {
    let mut architecture = llama(&[]);
    architecture.embedding.scale = 3.0;
    architecture.head = Head { weight: "lm_head.weight".into(), logit_scale: 0.7, soft_cap: Some(3.0) };
    architecture.final_norm.weight_offset = 0.25;
    let [first, second, third] = architecture.layers.as_mut_slice() else { unreachable!() };
    let Branch::Attention(a) = &mut first.sublayers[0].branches[0] else { unreachable!() };
    (a.window, a.soft_cap) = (Some(9), Some(1.5));
    (a.q.bias, a.k.bias, a.v.bias, a.o.bias) = (true, true, true, true);
    first.sublayers[0].output_norm = Some(norm("model.layers.0.post_mixer_norm.weight".into()));
    first.sublayers[0].residual_scale = 0.4;
    let Branch::Attention(a) = &mut second.sublayers[0].branches[0] else { unreachable!() };
    a.q_norm = Some(norm("model.layers.1.self_attn.q_norm.weight".into()));
    a.k_norm = Some(norm("model.layers.1.self_attn.k_norm.weight".into()));
    a.rope.as_mut().unwrap().theta = 500.0;
    let Branch::Glu(glu) = &mut second.sublayers[1].branches[0] else { unreachable!() };
    let gate_up = linear("model.layers.1.mlp.gate_up_proj".into(), 64, 192, true);
    (glu.input, glu.activation) = (GluInput::Fused { gate_up }, Activation::GeluTanh);
    let glu = third.sublayers.remove(1).branches.remove(0);
    third.sublayers[0].branches.push(glu);
    third.sublayers[0].residual_scale = 0.5;
    let Branch::Attention(a) = &mut third.sublayers[0].branches[0] else { unreachable!() };
    a.rope = None;
    architecture
}

/// A state space, mixtures beside shared units, sandwich norms whose weights are differences from one, and scales
/// everywhere: what a Granite and a Gemma say.
pub(super) fn hybrid() -> Architecture {
    let mut architecture = llama(&[]);
    architecture.embedding.scale = 2.0;
    architecture.head.logit_scale = 0.5;
    architecture.head.soft_cap = Some(5.0);
    for (i, layer) in architecture.layers.iter_mut().enumerate() {
        let prefix = format!("model.layers.{i}");
        let Branch::Attention(a) = &mut layer.sublayers[0].branches[0] else { unreachable!() };
        (a.window, a.soft_cap) = if i == 1 { (Some(20), Some(2.0)) } else { (None, None) };
        a.rope = a.rope.take().filter(|_| i != 2);
        if i == 0 {
            layer.sublayers[0].branches = vec![Branch::Mamba2(mamba2(&prefix))];
        }
        layer.sublayers[1].branches.insert(0, Branch::Experts(experts(&prefix, 5, 2 + i as u64 % 2)));
        for (sublayer, name) in layer.sublayers.iter_mut().zip(["attention", "feedforward"]) {
            sublayer.residual_scale = 0.6;
            let weight = format!("{prefix}.post_{name}_sandwich.weight");
            sublayer.output_norm = Some(Norm { weight_offset: 1.0, ..norm(weight) });
        }
    }
    architecture
}

/// Wider inside than a task of sums of outer products.
fn experts(prefix: &str, num_experts: u64, experts_per_token: u64) -> Experts {
    let stacked = |name: &str, in_features, out_features| StackedLinear {
        module: format!("{prefix}.experts.{name}"),
        num_experts,
        in_features,
        out_features,
    };
    Experts {
        router: linear(format!("{prefix}.router.layer"), 64, num_experts, false),
        experts_per_token,
        gate_up: stacked("input_linear", 64, 256),
        down: stacked("output_linear", 128, 64),
        activation: Activation::Silu,
    }
}

/// Five heads a group, so that they are more than one task; and a state that fills no vector.
fn mamba2(prefix: &str) -> Mamba2 {
    let (num_heads, head_dim, state_size, num_groups, kernel_size) = (10, 16, 12, 2, 4);
    let inner = num_heads * head_dim;
    let of = |name: &str| format!("{prefix}.mamba.{name}");
    Mamba2 {
        in_proj: linear(of("in_proj"), 64, 2 * inner + 2 * num_groups * state_size + num_heads, true),
        conv_weight: of("conv1d.weight"),
        conv_bias: Some(of("conv1d.bias")),
        kernel_size,
        a_log: of("A_log"),
        d: of("D"),
        dt_bias: of("dt_bias"),
        time_step_min: Some(0.01),
        time_step_max: Some(0.3),
        num_heads,
        head_dim,
        state_size,
        num_groups,
        norm: norm(of("norm.weight")),
        out_proj: linear(of("out_proj"), inner, 64, false),
    }
}

/// Adapters on everything that can have one, with values in both A and B.
pub(super) fn adapters(architecture: &Architecture, rank: usize) -> Adapters {
    let of = |module: &Module<'_>| {
        let factor = |part, rows, columns| {
            let values = values(&format!("{}.{part}", module.path), rows * columns, 0.3);
            Matrix::new(rows, columns, values).unwrap()
        };
        let (experts, inputs) = (module.experts.unwrap_or(1) as usize, module.in_features as usize);
        Adapter {
            module: module.path.to_owned(),
            a: factor("lora_A", experts * rank, inputs),
            b: factor("lora_B", experts * module.out_features as usize, rank),
            scale: 0.5,
            experts,
        }
    };
    Adapters::new(architecture, architecture.modules().iter().map(of).collect()).unwrap()
}

/// Token ids below `vocab_size`.
pub(super) fn tokens(name: &str, len: usize, vocab_size: u32) -> Vec<u32> {
    let of = |u: f32| (((u + 1.0) / 2.0 * vocab_size as f32) as u32).min(vocab_size - 1);
    values(name, len, 1.0).into_iter().map(of).collect()
}
