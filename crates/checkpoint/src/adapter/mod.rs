//! A LoRA adapter as PEFT stores it: `adapter_config.json` beside `adapter_model.safetensors`.
//!
//! `W' = W + scale · B·A` with `A` (r, in), `B` (out, r) and `scale = lora_alpha / r`, or `lora_alpha / √r` with rsLoRA
//! (Hu et al., <https://arxiv.org/abs/2106.09685>; Kalajdzievski, <https://arxiv.org/abs/2312.03732>). DoRA keeps a length
//! of each row beside it: `W' = m ⊙ (W + scale · B·A) / ‖W + scale · B·A‖` (Liu et al., <https://arxiv.org/abs/2402.09353>).

mod config;
mod error;
mod halves;
mod lookup;
mod matrix;
mod parameters;
mod pattern;
mod read;
mod targeting;
mod write;

use std::collections::BTreeMap;
use std::fmt;

use model::adapter::AdaptedModule;

pub use config::AdapterConfig;
pub use error::{Error, Problem};
pub use matrix::Matrix;
pub use parameters::{WrappedParameter, by_expert};
pub use targeting::Targeting;

/// The configuration's file name.
pub const CONFIG_FILE: &str = "adapter_config.json";
/// The matrices' file name.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// An adapter in memory, in `f32`.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// What `adapter_config.json` says.
    pub config: AdapterConfig,
    /// By module path within the model, such as `model.layers.0.self_attn.q_proj`.
    pub modules: BTreeMap<String, LoraModule>,
}

/// What an adapter adds to one linear, or to the linears of all experts.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraModule {
    /// (experts · r, in): each expert's factor after the other.
    pub a: Matrix,
    /// (experts · out, r), likewise.
    pub b: Matrix,
    /// Multiplies `B·A`.
    pub scale: f32,
    /// Linears with factors of their own; 1 for most.
    pub experts: usize,
    /// DoRA's `m`: the length of each row of the merged weight, (experts · out).
    pub magnitude: Option<Vec<f32>>,
}

impl LoraModule {
    /// A LoRA of one linear.
    pub fn new(a: Matrix, b: Matrix, scale: f32) -> Self {
        Self { a, b, scale, experts: 1, magnitude: None }
    }

    /// Columns of an expert's B.
    pub fn rank(&self) -> usize {
        self.b.columns
    }

    /// What it was made for.
    pub fn shape(&self) -> ModuleShape {
        ModuleShape {
            experts: self.experts as u64,
            in_features: self.a.columns as u64,
            out_features: self.rows_of_expert() as u64,
        }
    }

    /// Rows of B that belong to one expert; all where there is only one.
    pub fn rows_of_expert(&self) -> usize {
        self.b.rows / self.experts.max(1)
    }

    /// Without its values.
    pub fn describe(&self) -> AdaptedModule {
        let ModuleShape { experts, in_features, out_features } = self.shape();
        let (rank, scale, dora) = (self.rank() as u64, self.scale, self.magnitude.is_some());
        AdaptedModule { rank, experts, in_features, out_features, scale, dora }
    }
}

/// What a module of the model makes of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleShape {
    /// Linears of this shape that the module has.
    pub experts: u64,
    /// Values in.
    pub in_features: u64,
    /// Values out.
    pub out_features: u64,
}

impl fmt::Display for ModuleShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { experts, in_features, out_features } = self;
        match experts {
            1 => write!(f, "{in_features} → {out_features}"),
            _ => write!(f, "{experts} experts of {in_features} → {out_features}"),
        }
    }
}

impl Adapter {
    /// Checks every module against those that the model has; all problems at once.
    pub fn check_modules(&self, known: &BTreeMap<String, ModuleShape>) -> Vec<Problem> {
        let check = |(module, lora): (&String, &LoraModule)| {
            let Some(shape) = known.get(module) else {
                let known = known.keys().filter(|name| last_part(name) == last_part(module)).take(3);
                return Some(Problem::UnknownModule { module: module.clone(), similar: known.cloned().collect() });
            };
            let got = lora.shape();
            (got != *shape).then(|| Problem::ModuleShape { module: module.clone(), got, expected: *shape })
        };
        self.modules.iter().filter_map(check).collect()
    }
}

fn last_part(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}
