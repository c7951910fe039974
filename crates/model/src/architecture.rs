//! What the network computes, as data.
//!
//! A family turns `config.json` or a GGUF's metadata into this; the decoder computes it without asking for a family's
//! name. Every tensor is named by its canonical (published Hugging Face) name. The JSON form is strict: a field or
//! variant that one side does not know is an error, for a multiplier that is dropped in silence gives another model.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// A decoder-only language model.
///
/// `h = embedding.scale · E[ids]`, then each sublayer adds to `h`, then
/// `logits = cap(head.logit_scale · norm(h) · Wᵀ)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Rows of the embedding.
    pub vocab_size: u64,
    /// Width of the residual stream.
    pub hidden_size: u64,
    /// The longest position that the model was trained for.
    pub max_position_embeddings: u64,
    /// The token embedding.
    pub embedding: Embedding,
    /// Layers, first to last.
    pub layers: Vec<Layer>,
    /// The norm before the head.
    pub final_norm: Norm,
    /// The language-model head.
    pub head: Head,
}

/// `h = scale · weight[ids]`, weight `(vocab_size, hidden_size)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// The tensor.
    pub weight: String,
    /// The multiplier; 1 for most.
    pub scale: f32,
}

/// One layer: its sublayers in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Usually two: a mixer over time, then a feed-forward network.
    pub sublayers: Vec<Sublayer>,
}

/// `h ← h + residual_scale · output_norm(Σ branch(input_norm(h)))`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sublayer {
    /// The norm before the branches.
    pub input_norm: Norm,
    /// What is computed; several branches see the same input and are summed.
    pub branches: Vec<Branch>,
    /// The norm after the branches, for families that have one.
    pub output_norm: Option<Norm>,
    /// The multiplier of the sum; 1 for most.
    pub residual_scale: f32,
}

/// What a sublayer computes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Branch {
    /// Causal self-attention.
    Attention(Attention),
    /// A gated linear unit.
    Glu(Glu),
    /// A mixture of gated linear units.
    Experts(Experts),
    /// A selective state space.
    Mamba2(Mamba2),
    /// A layer kind that this vocabulary lacks. It can be checked, fused and converted, not trained.
    Other(OtherBranch),
}

/// A layer kind by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherBranch {
    /// What a trainer must know, e.g. `rwkv7`.
    pub kind: String,
    /// Its linears, which adapters may name.
    pub linears: Vec<Linear>,
}

/// `y = x · weightᵀ + bias`, weight `(out_features, in_features)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// The module path, as adapters name it: `model.layers.0.self_attn.q_proj`.
    pub module: String,
    /// Columns of the weight.
    pub in_features: u64,
    /// Rows of the weight.
    pub out_features: u64,
    /// Whether there is a `module.bias`.
    pub bias: bool,
}

impl Linear {
    /// The weight's tensor name.
    pub fn weight(&self) -> String {
        format!("{}.weight", self.module)
    }

    /// The bias's tensor name, where there is one.
    pub fn bias_name(&self) -> Option<String> {
        self.bias.then(|| format!("{}.bias", self.module))
    }
}

/// RMSNorm: `y = x / sqrt(mean(x²) + eps) · (weight + weight_offset)`, <https://arxiv.org/abs/1910.07467>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Norm {
    /// The tensor, `(features)`.
    pub weight: String,
    /// Added to the mean square.
    pub eps: f32,
    /// 0 for most, 1 where the stored weight is a difference from one (Gemma).
    pub weight_offset: f32,
}

/// Grouped-query causal self-attention: `softmax(cap(scale · q·kᵀ) + mask) · v`, then `o`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Query projection, `num_heads · head_dim` outputs.
    pub q: Linear,
    /// Key projection, `num_kv_heads · head_dim` outputs.
    pub k: Linear,
    /// Value projection, `num_kv_heads · head_dim` outputs.
    pub v: Linear,
    /// Output projection.
    pub o: Linear,
    /// Query heads.
    pub num_heads: u64,
    /// Key and value heads; divides `num_heads`.
    pub num_kv_heads: u64,
    /// Features of a head.
    pub head_dim: u64,
    /// The multiplier of the scores; `head_dim^-1/2` for most.
    pub scale: f32,
    /// Rotary embedding; `None` for layers without positions.
    pub rope: Option<Rope>,
    /// Keys that a query sees, itself included; `None` for all before it.
    pub window: Option<u64>,
    /// `cap(x) = c · tanh(x / c)` on the scores.
    pub soft_cap: Option<f32>,
    /// Per-head norm of queries before RoPE.
    pub q_norm: Option<Norm>,
    /// Per-head norm of keys before RoPE.
    pub k_norm: Option<Norm>,
}

/// Rotary position embedding over halves: dimension `i` pairs with `i + head_dim/2`,
/// angle `position · theta^(-2i/head_dim) / factors[i]`, <https://arxiv.org/abs/2104.09864>.
///
/// Scaling rules of configurations (llama3, linear, longrope, …) are only ways to write `factors`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// The base.
    pub theta: f32,
    /// `head_dim/2` divisors of the frequencies; empty where all are 1.
    pub factors: Vec<f32>,
    /// The multiplier of sines and cosines; 1 for most.
    pub attention_factor: f32,
}

/// `y = down(act(gate(x)) ⊙ up(x))`, <https://arxiv.org/abs/2002.05202>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Glu {
    /// How gate and up are stored.
    pub input: GluInput,
    /// Back to the residual stream.
    pub down: Linear,
    /// The gate's non-linearity.
    pub activation: Activation,
}

/// The first product of a gated linear unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum GluInput {
    /// Two matrices.
    Separate {
        /// Goes through the activation.
        gate: Linear,
        /// Multiplies the activated gate.
        up: Linear,
    },
    /// One matrix: the gate's rows, then up's.
    Fused {
        /// `2 · intermediate_size` outputs.
        gate_up: Linear,
    },
}

/// A sparse mixture of gated linear units, <https://arxiv.org/abs/1701.06538>: with `l = router(x)` and `T` the
/// `experts_per_token` greatest of `l`, `y = Σ_{e ∈ T} softmax(l[T])_e · down_e(act(gate_e(x)) ⊙ up_e(x))`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experts {
    /// One output an expert.
    pub router: Linear,
    /// How many experts a token goes through.
    pub experts_per_token: u64,
    /// Each expert's gate rows, then its up rows.
    pub gate_up: StackedLinear,
    /// Back to the residual stream.
    pub down: StackedLinear,
    /// The gate's non-linearity.
    pub activation: Activation,
}

/// One linear an expert, without bias; the weights of all lie in one tensor `(num_experts, out_features, in_features)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StackedLinear {
    /// The module path; the tensor is its `weight`.
    pub module: String,
    /// How many linears there are.
    pub num_experts: u64,
    /// Columns of each.
    pub in_features: u64,
    /// Rows of each.
    pub out_features: u64,
}

impl StackedLinear {
    /// The weight's tensor name.
    pub fn weight(&self) -> String {
        format!("{}.weight", self.module)
    }
}

/// What one adapter can change: a linear, or those of all experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module<'a> {
    /// The module path.
    pub path: &'a str,
    /// Linears with factors of their own; `None` where it is one linear and no mixture's.
    pub experts: Option<u64>,
    /// Columns of each.
    pub in_features: u64,
    /// Rows of each.
    pub out_features: u64,
}

/// Mamba-2, <https://arxiv.org/abs/2405.21060>. `in_proj(x)` is split into `z`, `xBC` and `dt`; then
/// `xBC ← silu(conv1d(xBC))`, causal and by channel, is split into `x`, `B` and `C`; `Δ = clamp(softplus(dt + dt_bias))`;
/// per head `S_t = exp(Δ_t·A)·S_{t-1} + Δ_t·x_t·B_tᵀ` with `A = -exp(A_log)` and `y_t = S_t·C_t + D·x_t`; and the result
/// is `out_proj(norm(y ⊙ silu(z)))`. The state begins at zero in every sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mamba2 {
    /// `2 · inner + 2 · num_groups · state_size + num_heads` outputs, with `inner = num_heads · head_dim`.
    pub in_proj: Linear,
    /// The convolution's tensor, `(inner + 2 · num_groups · state_size, 1, kernel_size)`.
    pub conv_weight: String,
    /// Its bias, one value a channel.
    pub conv_bias: Option<String>,
    /// Tokens that the convolution sees, the present one included.
    pub kernel_size: u64,
    /// `(num_heads)`
    pub a_log: String,
    /// `(num_heads)`
    pub d: String,
    /// `(num_heads)`
    pub dt_bias: String,
    /// Bounds of `Δ`; `None` for no bound.
    pub time_step_min: Option<f32>,
    /// See [`Mamba2::time_step_min`].
    pub time_step_max: Option<f32>,
    /// Heads of the state.
    pub num_heads: u64,
    /// Features of a head.
    pub head_dim: u64,
    /// Columns of a head's state.
    pub state_size: u64,
    /// Groups of heads that share `B` and `C`; divides `num_heads`.
    pub num_groups: u64,
    /// The norm of the gated result, `(inner)` weights: each group of heads by itself.
    pub norm: Norm,
    /// Back to the residual stream.
    pub out_proj: Linear,
}

/// A gate's non-linearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715·x³)))`.
    GeluTanh,
}

/// `logits = cap(logit_scale · x · weightᵀ)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The tensor: the embedding's where the two are tied.
    pub weight: String,
    /// The multiplier; 1 for most.
    pub logit_scale: f32,
    /// `cap(x) = c · tanh(x / c)` on the logits.
    pub soft_cap: Option<f32>,
}

impl Architecture {
    /// Whether head and embedding share their matrix.
    pub fn is_tied(&self) -> bool {
        self.head.weight == self.embedding.weight
    }

    /// Every linear of the layers (not the head), in the order in which they are computed.
    pub fn linears(&self) -> Vec<&Linear> {
        let sublayers = self.layers.iter().flat_map(|layer| &layer.sublayers);
        sublayers.flat_map(|sublayer| &sublayer.branches).flat_map(Branch::linears).collect()
    }

    /// Every linear of the layers that there is one of for each expert.
    pub fn stacked(&self) -> Vec<&StackedLinear> {
        let sublayers = self.layers.iter().flat_map(|layer| &layer.sublayers);
        sublayers.flat_map(|sublayer| &sublayer.branches).flat_map(Branch::stacked).collect()
    }

    /// Everything of the layers that an adapter can change, in the order in which it is computed.
    pub fn modules(&self) -> Vec<Module<'_>> {
        let sublayers = self.layers.iter().flat_map(|layer| &layer.sublayers);
        sublayers.flat_map(|sublayer| &sublayer.branches).flat_map(Branch::modules).collect()
    }

    /// The layer kinds that a trainer must know, by name.
    pub fn requires(&self) -> BTreeSet<&str> {
        let sublayers = self.layers.iter().flat_map(|layer| &layer.sublayers);
        sublayers.flat_map(|sublayer| &sublayer.branches).map(Branch::kind).collect()
    }
}

impl Branch {
    /// The branch's linears that there is one of for every expert.
    pub fn stacked(&self) -> Vec<&StackedLinear> {
        match self {
            Branch::Experts(experts) => vec![&experts.gate_up, &experts.down],
            _ => Vec::new(),
        }
    }

    /// What adapters can change of the branch, in the order in which it is computed.
    pub fn modules(&self) -> Vec<Module<'_>> {
        let linears = self.linears().into_iter().map(|l| Module {
            path: &l.module,
            experts: None,
            in_features: l.in_features,
            out_features: l.out_features,
        });
        let stacked = self.stacked().into_iter().map(|s| Module {
            path: &s.module,
            experts: Some(s.num_experts),
            in_features: s.in_features,
            out_features: s.out_features,
        });
        linears.chain(stacked).collect()
    }

    /// The layer kind's name.
    pub fn kind(&self) -> &str {
        match self {
            Branch::Attention(_) => "attention",
            Branch::Glu(_) => "glu",
            Branch::Experts(_) => "experts",
            Branch::Mamba2(_) => "mamba2",
            Branch::Other(other) => &other.kind,
        }
    }

    /// The branch's linears in the order in which they are computed; those of experts are [`Branch::stacked`].
    pub fn linears(&self) -> Vec<&Linear> {
        match self {
            Branch::Attention(a) => vec![&a.q, &a.k, &a.v, &a.o],
            Branch::Glu(glu) => match &glu.input {
                GluInput::Separate { gate, up } => vec![gate, up, &glu.down],
                GluInput::Fused { gate_up } => vec![gate_up, &glu.down],
            },
            Branch::Experts(experts) => vec![&experts.router],
            Branch::Mamba2(mamba) => vec![&mamba.in_proj, &mamba.out_proj],
            Branch::Other(other) => other.linears.iter().collect(),
        }
    }
}
