//! What families of transformers have in common, so that a family is left with what is its own.
//!
//! A [`Builder`] puts a model together layer by layer: each call gives what is computed *and* every tensor of it, with
//! its name in every dialect, so the two cannot diverge. A [`Shape`] holds the numbers that every transformer has and
//! reads them from `config.json` ([`config`]) or from a GGUF's metadata ([`keys`]).

#![deny(missing_docs)]

mod builder;
pub mod config;
mod experts;
pub mod keys;
mod mamba;
mod parts;
mod place;
pub mod quantization;
pub mod rope_scaling;
mod shape;
mod tensors;

pub use builder::{Builder, LayerBuilder};
pub use parts::{AttentionPart, ExpertsPart, GluPart, Mamba2Part};
pub use place::Place;
pub use quantization::Quantization;
pub use shape::{Shape, divided};
