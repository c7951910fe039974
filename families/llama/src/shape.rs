//! What a Llama is, whoever wrote it down.

use model::architecture::{Activation, Rope};
use model::inventory::IgnoredTensor;
use model::{Architecture, Inventory};
use transformer::{AttentionPart, Builder, GluPart, Shape};

/// The numbers of one Llama.
pub struct Llama {
    pub shape: Shape,
    pub rope: Rope,
    /// Biases of the query, key and value projections.
    pub qkv_bias: bool,
    /// The bias of the output projection.
    pub o_bias: bool,
    /// Biases of gate, up and down.
    pub mlp_bias: bool,
}

impl Llama {
    /// What it computes and every tensor of it.
    pub fn build(&self, ignored: Vec<IgnoredTensor>) -> (Architecture, Inventory) {
        let usual = AttentionPart::usual(&self.shape, &self.rope);
        let attention = AttentionPart { interleaved: true, qkv_bias: self.qkv_bias, o_bias: self.o_bias, ..usual };
        let Shape { intermediate_size, num_hidden_layers, .. } = self.shape;
        let glu = GluPart { intermediate_size, activation: Activation::Silu, bias: self.mlp_bias };
        let mut model = Builder::new(&self.shape, Some(&self.rope));
        for _ in 0..num_hidden_layers {
            model.layer().pre_norm(&attention, &glu, 1.0);
        }
        model.finish(ignored)
    }
}
