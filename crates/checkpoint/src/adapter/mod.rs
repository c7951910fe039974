//! A LoRA adapter as PEFT stores it: `adapter_config.json` beside `adapter_model.safetensors`.
//!
//! `W' = W + scale · B·A` with `A` (r, in), `B` (out, r) and `scale = lora_alpha / r`, or `lora_alpha / √r` with rsLoRA
//! (Hu et al., <https://arxiv.org/abs/2106.09685>; Kalajdzievski, <https://arxiv.org/abs/2312.03732>).

mod config;
mod error;
mod matrix;
mod read;
mod write;

use std::collections::BTreeMap;

pub use config::AdapterConfig;
pub use error::{Error, Problem};
pub use matrix::Matrix;

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

/// What an adapter adds to one linear.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraModule {
    /// (r, in).
    pub a: Matrix,
    /// (out, r).
    pub b: Matrix,
    /// Multiplies `B·A`.
    pub scale: f32,
}

/// What a module of the model makes of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleShape {
    /// Values in.
    pub in_features: u64,
    /// Values out.
    pub out_features: u64,
}

impl Adapter {
    /// Checks every module against those that the model has; all problems at once.
    pub fn check_modules(&self, known: &BTreeMap<String, ModuleShape>) -> Vec<Problem> {
        let check = |(module, lora): (&String, &LoraModule)| {
            let Some(shape) = known.get(module) else {
                let known = known.keys().filter(|name| last_part(name) == last_part(module)).take(3);
                return Some(Problem::UnknownModule { module: module.clone(), similar: known.cloned().collect() });
            };
            let got = ModuleShape { in_features: lora.a.columns as u64, out_features: lora.b.rows as u64 };
            (got != *shape).then(|| Problem::ModuleShape { module: module.clone(), got, expected: *shape })
        };
        self.modules.iter().filter_map(check).collect()
    }
}

fn last_part(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}
