//! What is known about a LoRA adapter without its weights.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ModelDescription;
use crate::description::Container;

/// An adapter's headers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterDescription {
    /// A PEFT directory, or a GGUF as llama.cpp's `--lora` takes it.
    pub container: Container,
    /// What it changes, by module path.
    pub modules: BTreeMap<String, AdaptedModule>,
    /// Whether a change of an embedding that is the head too is one of both; else the two are no longer one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_tie: bool,
    /// The model that it was made for: enough to convert the adapter alone.
    pub base: Option<ModelDescription>,
}

/// `W ← W + scale · B·A` with A `(rank, in_features)`, B `(out_features, rank)`, for each expert where there are several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptedModule {
    /// Rows of A.
    pub rank: u64,
    /// Linears with factors of their own; 1 for most.
    pub experts: u64,
    /// Columns of A.
    pub in_features: u64,
    /// Rows of B.
    pub out_features: u64,
    /// The multiplier: alpha / rank, or alpha / √rank.
    pub scale: f32,
    /// Whether each row of the sum is given a length of its own, <https://arxiv.org/abs/2402.09353>.
    pub dora: bool,
}
