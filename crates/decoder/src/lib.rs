//! The network of a decoder-only language model, forward and backward, over a frozen base that stays where it lies.
//!
//! A [`Network`] is put together from an [`Architecture`](model::Architecture) and a provider of [`Weights`]. Sublayers
//! are written once, each with an explicit backward pass, over a [`Backend`]: [`Fast`] computes on the CPU with the
//! base's rows decoded as they are needed; [`Reference`] does the same with candle tensors on any device, and is what
//! the fast path is held against; [`plan`] walks the same code over shapes and counts bytes and operations.
//!
//! What is trained are [`Adapters`]; [`Network::gradients`] gives their gradient sums for a [`Batch`], and whoever
//! trains does the rest. Random numbers are counter-based and sums have a fixed order: results depend neither on the
//! number of threads nor on the file format that holds the weights.

#![warn(missing_docs)]

mod adapters;
mod attention;
mod backend;
mod batch;
mod error;
mod experts;
pub mod fast;
pub mod from_view;
mod glu;
mod lora;
mod mamba;
pub mod mapped;
mod matmul;
mod matrix;
mod network;
mod norm;
mod pass;
pub mod plan;
mod random;
pub mod reference;
mod rope;
mod routing;
pub mod rows;
mod simd;
mod stacked;
mod state_space;
mod sublayer;
#[cfg(test)]
mod tests;
mod weights;

pub use adapters::{Adapter, Adapters};
pub use backend::{Attended, AttentionShape, Backend, FrozenLinear, HeadWeights, NormWeights, Side, Sink, Turn};
pub use batch::{Batch, Sample, Target};
pub use error::{DecoderError, Result};
pub use fast::Fast;
pub use mapped::{MappedMatrix, MatrixError};
pub use matrix::Matrix;
pub use network::{LossSum, Network, Step};
pub use random::{Dropout, Mask};
pub use reference::Reference;
pub use routing::{Group, Routing};
pub use simd::Isa;
pub use state_space::{ConvWeights, ScanShape, ScanWeights};
pub use weights::{Weights, check_shape};
