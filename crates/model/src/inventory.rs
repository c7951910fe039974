//! Every tensor of a model, and how each dialect spells it.
//!
//! The canonical form is the published Hugging Face one. Every stored tensor is mapped, ignored by name, or an error;
//! nothing is skipped with a warning.

use serde::{Deserialize, Serialize};

use crate::Expr;

/// All tensors of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// The canonical tensors.
    pub tensors: Vec<TensorSpec>,
    /// Stored tensors that carry nothing the architecture needs.
    pub ignored: Vec<IgnoredTensor>,
    /// What GGUF makes of the canonical tensors, in the order in which it is written.
    pub gguf: Vec<GgufTensor>,
}

/// One canonical tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// The published name.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// What it is for.
    pub role: Role,
    /// The layer it belongs to.
    pub layer: Option<u32>,
    /// Whether a checkpoint must have it.
    pub presence: Presence,
    /// Which of its dimensions is heads, one after the other; some checkpoints store that one in two.
    pub heads: Option<Heads>,
    /// How an adapter changes it; `None` where none can.
    pub adapter: Option<AdapterFacts>,
    /// How dialects make it, the first whose tensors are all stored wins.
    pub forms: Vec<Form>,
}

/// A dimension of heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heads {
    /// Which dimension.
    pub axis: usize,
    /// How many heads share it.
    pub count: u64,
}

/// What a tensor is for; quantizers choose by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Role {
    Embedding,
    Head,
    Norm,
    Bias,
    AttentionQuery,
    AttentionKey,
    AttentionValue,
    AttentionOutput,
    GluGate,
    GluUp,
    GluGateUp,
    GluDown,
    /// A router of experts; llama.cpp computes it in `f32`.
    Router,
    ExpertsGate,
    ExpertsUp,
    ExpertsGateUp,
    ExpertsDown,
    MambaIn,
    MambaOut,
    /// A convolution, or a vector of a state space: small, and always `f32` in a GGUF.
    StateSpace,
    /// RoPE frequency divisors.
    Frequencies,
}

impl Role {
    /// Whether the tensor is a matrix that may be quantized; everything else stays `f32` in a GGUF.
    pub fn is_matrix(self) -> bool {
        !matches!(self, Role::Norm | Role::Bias | Role::Router | Role::StateSpace | Role::Frequencies)
    }
}

/// Whether a checkpoint must have a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Its absence is an error.
    Required,
    /// The architecture computes without it.
    Optional,
    /// Where it is absent, this tensor stands in.
    TiedTo(String),
}

/// How LoRA changes a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterFacts {
    /// The module path that adapters name.
    pub module: String,
    /// The dimension that `A` contracts.
    pub input_axis: usize,
    /// The dimension that `B` makes.
    pub output_axis: usize,
    /// The dimension of experts, each with its own `A` and `B`.
    pub expert_axis: Option<usize>,
    /// Where transformers has the tensor as a parameter and not as a linear's weight: the parameter's path, which PEFT's
    /// `target_parameters` name. Parameters of one module come in the inventory in the module's own order.
    pub parameter: Option<String>,
}

/// One way to make a canonical tensor from stored ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Form {
    /// The dialect whose tensors the expression reads.
    pub dialect: Dialect,
    /// Over that dialect's stored tensors.
    pub expr: Expr,
}

/// How a model is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// As on the hub.
    Published,
    /// As transformers 5 saves it.
    Transformers5,
    /// As mlx-lm saves it.
    Mlx,
    /// Tensors and metadata of a GGUF.
    Gguf,
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Dialect::Published => "published",
            Dialect::Transformers5 => "transformers 5",
            Dialect::Mlx => "mlx-lm",
            Dialect::Gguf => "GGUF",
        })
    }
}

/// A stored tensor that is known and not needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IgnoredTensor {
    /// The stored name.
    pub name: String,
    /// Why nothing is lost.
    pub reason: String,
    /// The stored tensor that it repeats: nothing is lost where the two have the same bytes, and only then.
    pub copy_of: Option<String>,
}

/// One tensor of the GGUF that this model becomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GgufTensor {
    /// The GGUF name.
    pub name: String,
    /// Dimensions, outermost first (the reverse of GGUF's `ne`).
    pub shape: Vec<u64>,
    /// What it is for.
    pub role: Role,
    /// The layer it belongs to.
    pub layer: Option<u32>,
    /// Over canonical tensors.
    pub expr: Expr,
}

impl Inventory {
    /// The canonical tensor of that name.
    pub fn get(&self, name: &str) -> Option<&TensorSpec> {
        self.tensors.iter().find(|t| t.name == name)
    }

    /// The tensor that an adapter's module changes.
    pub fn by_module(&self, module: &str) -> Option<&TensorSpec> {
        self.tensors.iter().find(|t| t.adapter.as_ref().is_some_and(|a| a.module == module))
    }
}

impl TensorSpec {
    /// The form to read in a container: the first of `dialects` whose tensors are all `stored`.
    pub fn form<'a>(&'a self, gguf: bool, stored: &dyn Fn(&str) -> bool) -> Option<&'a Form> {
        let fits = |form: &&Form| {
            (form.dialect == Dialect::Gguf) == gguf && form.expr.tensors().iter().all(|name| stored(name))
        };
        self.forms.iter().find(fits)
    }
}
