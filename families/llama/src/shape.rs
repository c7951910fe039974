//! What a Llama is, whoever wrote it down.

use model::architecture::Rope;
use model::description::Assumed;
use model::inventory::{Dialect, IgnoredTensor};
use serde_json::Value;

/// The numbers of one model.
pub struct Shape {
    pub vocab_size: u64,
    pub hidden_size: u64,
    pub intermediate_size: u64,
    pub num_hidden_layers: u64,
    pub num_attention_heads: u64,
    pub num_key_value_heads: u64,
    pub head_dim: u64,
    pub max_position_embeddings: u64,
    pub rms_norm_eps: f32,
    pub rope: Rope,
    /// Whether the embedding serves as head.
    pub tied: bool,
    /// Biases of the query, key and value projections.
    pub qkv_bias: bool,
    /// The bias of the output projection.
    pub o_bias: bool,
    /// Biases of gate, up and down.
    pub mlp_bias: bool,
}

/// A shape with what reading it brought to light.
pub struct Seen {
    pub shape: Shape,
    pub dialect: Dialect,
    /// The published configuration.
    pub config: Value,
    pub ignored: Vec<IgnoredTensor>,
    pub assumed: Vec<Assumed>,
    pub notes: Vec<String>,
}
