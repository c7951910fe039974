//! What can go wrong between a model's description and its numbers.

use std::ops::Range;

use crate::mapped::MatrixError;

/// A result of this crate.
pub type Result<T, E = DecoderError> = std::result::Result<T, E>;

/// Why the network could not be built or run.
#[derive(Debug, thiserror::Error)]
pub enum DecoderError {
    /// A layer kind that nobody here computes.
    #[error(
        "layer {layer} has a `{kind}`, which this decoder does not compute (hint: it computes `attention`, `glu`, `experts` and `mamba2`)"
    )]
    Unsupported {
        /// The layer's index.
        layer: usize,
        /// The branch's kind.
        kind: String,
    },
    /// Numbers of an architecture that contradict each other.
    #[error("`{module}` has {what} = {got}, expected {expected}")]
    Inconsistent {
        /// Where.
        module: String,
        /// Which number.
        what: &'static str,
        /// What it is.
        got: u64,
        /// What the rest of the architecture asks for.
        expected: String,
    },
    /// A tensor that the provider of weights could not give.
    #[error("cannot read tensor `{name}`")]
    Weight {
        /// The canonical name.
        name: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A tensor of another shape than the architecture says.
    #[error("tensor `{name}` has shape {got:?}, expected {expected:?}")]
    Shape {
        /// The canonical name.
        name: String,
        /// The shape found.
        got: Vec<usize>,
        /// The shape asked for.
        expected: Vec<usize>,
    },
    /// Rows of a frozen matrix that could not be decoded.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    /// An adapter for a module that the network lacks or that cannot have one.
    #[error("no linear is named `{module}`; this model has {}", crate::adapters::kinds(.known))]
    UnknownModule {
        /// What was asked for.
        module: String,
        /// Every module that may be adapted.
        known: Vec<String>,
    },
    /// An adapter that is no sum of the base and something beside it.
    #[error("`{module}` gives each row of the sum a length of its own (DoRA), which is computed merged only")]
    Dora {
        /// The module.
        module: String,
    },
    /// A token that the vocabulary lacks.
    #[error("token {token} at position {position} is outside the vocabulary of {vocab_size}")]
    UnknownToken {
        /// The id.
        token: u32,
        /// Its index in the batch.
        position: usize,
        /// The vocabulary's size.
        vocab_size: usize,
    },
    /// Tokens and weights that differ in number.
    #[error("sample {sample} has {tokens} tokens and {weights} weights")]
    Lengths {
        /// The sample's id.
        sample: u64,
        /// Its tokens.
        tokens: usize,
        /// Its weights.
        weights: usize,
    },
    /// A sample without tokens.
    #[error("sample {sample} has no tokens")]
    EmptySample {
        /// The sample's id.
        sample: u64,
    },
    /// A batch of which nothing is to be learned.
    #[error("none of the batch's {tokens} tokens is to be learned (hint: look at the mask, and at truncation)")]
    NothingLearned {
        /// Tokens of the batch.
        tokens: usize,
    },
    /// A loss that is no number.
    #[error("the loss is {loss}: the weights, the adapter or the learning rate made the network's values overflow")]
    NonFiniteLoss {
        /// What was computed.
        loss: f64,
    },
    /// Someone who was given logits refused them.
    #[error("cannot take the logits of tokens {tokens:?}")]
    Sink {
        /// Which tokens.
        tokens: Range<usize>,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The system has no threads to give.
    #[error("cannot start threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// An operation of the reference path.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
