//! What a family says about attention and feed-forward networks.

use model::architecture::{Activation, Rope};

use crate::shape::Shape;

/// The numbers of an attention.
#[derive(Debug, Clone)]
pub struct AttentionPart {
    /// Query heads.
    pub num_heads: u64,
    /// Key and value heads.
    pub num_kv_heads: u64,
    /// Features of a head.
    pub head_dim: u64,
    /// The multiplier of the scores.
    pub scale: f32,
    /// `None` for layers without positions.
    pub rope: Option<Rope>,
    /// Whether llama.cpp interleaves the halves of each head of this architecture.
    pub interleaved: bool,
    /// Keys that a query sees, itself included.
    pub window: Option<u64>,
    /// `cap(x) = c · tanh(x / c)` on the scores.
    pub soft_cap: Option<f32>,
    /// Biases of query, key and value projections.
    pub qkv_bias: bool,
    /// The bias of the output projection.
    pub o_bias: bool,
    /// Norms per head of queries and keys.
    pub head_norms: bool,
}

impl AttentionPart {
    /// The usual: RoPE over the whole head, scores divided by √head_dim, no biases, nothing capped, every key seen.
    pub fn usual(shape: &Shape, rope: &Rope) -> Self {
        Self {
            num_heads: shape.num_attention_heads,
            num_kv_heads: shape.num_key_value_heads,
            head_dim: shape.head_dim,
            scale: (shape.head_dim as f64).powf(-0.5) as f32,
            rope: Some(rope.clone()),
            interleaved: false,
            window: None,
            soft_cap: None,
            qkv_bias: false,
            o_bias: false,
            head_norms: false,
        }
    }
}

/// The numbers of a dense gated linear unit.
#[derive(Debug, Clone)]
pub struct GluPart {
    /// Features between the two products.
    pub intermediate_size: u64,
    /// The gate's non-linearity.
    pub activation: Activation,
    /// Biases of all its linears.
    pub bias: bool,
}

/// The numbers of a mixture of experts.
#[derive(Debug, Clone)]
pub struct ExpertsPart {
    /// Experts.
    pub num_experts: u64,
    /// How many a token goes through.
    pub experts_per_token: u64,
    /// Features between the two products of each.
    pub intermediate_size: u64,
    /// The gates' non-linearity.
    pub activation: Activation,
}

/// The numbers of a Mamba-2 mixer.
#[derive(Debug, Clone)]
pub struct Mamba2Part {
    /// Heads of the state.
    pub num_heads: u64,
    /// Features of a head.
    pub head_dim: u64,
    /// Columns of a head's state.
    pub state_size: u64,
    /// Groups of heads that share `B` and `C`.
    pub num_groups: u64,
    /// Tokens that the convolution sees.
    pub kernel_size: u64,
    /// Whether the convolution has a bias.
    pub conv_bias: bool,
    /// Whether the projections have biases.
    pub proj_bias: bool,
    /// Bounds of the time step.
    pub time_step: (Option<f32>, Option<f32>),
}
