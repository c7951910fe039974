//! What a Qwen is, whoever wrote it down.

use model::architecture::{Activation, Rope};
use model::description::{GgufHeader, LostFact, VocabularyKeys};
use model::inventory::IgnoredTensor;
use model::{Architecture, Inventory};
use model_api::FamilyError;
use serde_json::json;
use transformer::{AttentionPart, Builder, GluPart, Shape, rope_scaling};

/// Which Qwen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// 2 and 2.5.
    Two,
    /// 3.
    Three,
}

impl Generation {
    /// By `model_type` or a GGUF's architecture, which are spelled alike.
    pub fn named(name: &str) -> Result<Self, FamilyError> {
        match name {
            "qwen2" => Ok(Generation::Two),
            "qwen3" => Ok(Generation::Three),
            other => Err(FamilyError::BadKey {
                key: "model_type".into(),
                got: format!("`{other}`"),
                expected: "`qwen2` or `qwen3`".into(),
            }),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Generation::Two => "qwen2",
            Generation::Three => "qwen3",
        }
    }

    /// transformers' class.
    pub fn class(self) -> &'static str {
        match self {
            Generation::Two => "Qwen2ForCausalLM",
            Generation::Three => "Qwen3ForCausalLM",
        }
    }
}

/// The numbers of one Qwen.
pub struct Qwen {
    pub generation: Generation,
    pub shape: Shape,
    pub rope: Rope,
    /// Biases of the query, key and value projections: always in 2 and 2.5.
    pub qkv_bias: bool,
    /// The bias of the output projection.
    pub o_bias: bool,
    /// Keys that a query sees, layer by layer.
    pub windows: Vec<Option<u64>>,
}

impl Qwen {
    /// What it computes and every tensor of it.
    pub fn build(&self, ignored: Vec<IgnoredTensor>) -> (Architecture, Inventory) {
        let usual = AttentionPart::usual(&self.shape, &self.rope);
        let head_norms = self.generation == Generation::Three;
        let attention = AttentionPart { qkv_bias: self.qkv_bias, o_bias: self.o_bias, head_norms, ..usual };
        let intermediate_size = self.shape.intermediate_size;
        let glu = GluPart { intermediate_size, activation: Activation::Silu, bias: false };
        let mut model = Builder::new(&self.shape, None);
        for window in &self.windows {
            model.layer().pre_norm(&AttentionPart { window: *window, ..attention.clone() }, &glu, 1.0);
        }
        model.finish(ignored)
    }

    /// The keys that llama.cpp's converter writes.
    pub fn gguf(&self) -> GgufHeader {
        self.shape.gguf_header(self.generation.name(), Some(&self.rope), VocabularyKeys::Plain, [])
    }

    /// What llama.cpp's graph has no key for: a query sees every key, and frequencies are not divided.
    pub fn lost(&self) -> Vec<LostFact> {
        let window = self.windows.iter().flatten().min().map(|window| LostFact {
            fact: "sliding_window".into(),
            value: json!(window),
            assumed: json!(null),
            bound: Some(format!("past {window} tokens")),
        });
        let factors = (!self.rope.factors.is_empty()).then(|| LostFact {
            fact: "rope_scaling".into(),
            value: rope_scaling::write(&self.rope, self.shape.head_dim),
            assumed: json!(null),
            bound: None,
        });
        window.into_iter().chain(factors).collect()
    }
}
