//! What a Granite is, whoever wrote it down.

use model::architecture::Rope;
use model_api::FamilyError;
use transformer::{Mamba2Part, Shape};

/// Which of transformers' classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 3.x dense.
    Dense,
    /// 3.x with experts.
    Moe,
    /// 4.0, of whatever layers.
    MoeHybrid,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Dense, Kind::Moe, Kind::MoeHybrid];

    pub fn model_type(self) -> &'static str {
        match self {
            Kind::Dense => "granite",
            Kind::Moe => "granitemoe",
            Kind::MoeHybrid => "granitemoehybrid",
        }
    }

    pub fn class(self) -> &'static str {
        match self {
            Kind::Dense => "GraniteForCausalLM",
            Kind::Moe => "GraniteMoeForCausalLM",
            Kind::MoeHybrid => "GraniteMoeHybridForCausalLM",
        }
    }
}

/// How a layer looks back in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixer {
    Attention,
    Mamba,
}

/// The multipliers, as configurations write them.
#[derive(Debug, Clone, Copy)]
pub struct Multipliers {
    pub embedding: f32,
    pub attention: f32,
    pub residual: f32,
    /// Logits are divided by it.
    pub logits_scaling: f32,
}

/// A mixture of experts.
#[derive(Debug, Clone, Copy)]
pub struct Mixture {
    pub num_experts: u64,
    pub experts_per_token: u64,
}

impl Mixture {
    /// Refuses to choose more experts than there are, at which llama.cpp aborts; `key` is for the message.
    pub fn new(num_experts: u64, key: &str, experts_per_token: u64) -> Result<Self, FamilyError> {
        if experts_per_token > num_experts {
            let expected = format!("at most the {num_experts} experts that there are");
            return Err(FamilyError::BadKey { key: key.into(), got: experts_per_token.to_string(), expected });
        }
        Ok(Self { num_experts, experts_per_token })
    }
}

/// The numbers of one Granite.
pub struct Granite {
    pub kind: Kind,
    pub shape: Shape,
    pub rope: Rope,
    /// Whether attention rotates at all.
    pub has_positions: bool,
    pub multipliers: Multipliers,
    /// Of all projections of attention.
    pub attention_bias: bool,
    /// Of gate, up and down of a dense 3.x.
    pub mlp_bias: bool,
    pub mixture: Option<Mixture>,
    /// Features of the network that every token goes through, of 4.0.
    pub shared_intermediate_size: Option<u64>,
    /// Layer by layer.
    pub mixers: Vec<Mixer>,
    /// Of 4.0, which writes it even without Mamba layers.
    pub mamba: Option<Mamba2Part>,
}

impl Granite {
    pub fn is_hybrid(&self) -> bool {
        self.mixers.contains(&Mixer::Mamba)
    }

    /// The GGUF architecture whose graph computes it.
    pub fn gguf_architecture(&self) -> &'static str {
        match (self.is_hybrid(), &self.mixture) {
            (true, _) => "granitehybrid",
            (false, Some(_)) => "granitemoe",
            (false, None) => "granite",
        }
    }
}
