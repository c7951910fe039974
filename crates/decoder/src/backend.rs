//! What the network is computed with.
//!
//! Every sublayer is written once over [`Backend`]: a closed set of operations, each with its derivative. There are
//! three: [`crate::reference`] (candle tensors, any device and float type), [`crate::fast`] (fused loops on the CPU)
//! and [`crate::plan`] (shapes alone, which counts memory and work).
//!
//! In the equations a token's features are a row, as in the papers: `x` is `(tokens, features)`.

use std::ops::Range;

use model::architecture::Activation;

use crate::batch::{Batch, Target};
use crate::error::Result;
use crate::mapped::MappedMatrix;
use crate::matrix::Matrix;
use crate::random::Mask;
use crate::routing::Routing;
use crate::state_space::{ConvWeights, ScanShape, ScanWeights};

/// `y = x · Wᵀ` with W, `(out_features, in_features)`, that is never trained.
pub trait FrozenLinear<B: Backend> {
    /// `y = x · Wᵀ + side.input · side.factorᵀ`, where the side's factor is LoRA's B, `(out_features, rank)`.
    ///
    /// # Errors
    /// Where the matrix cannot be read.
    fn forward(&self, backend: &B, x: &B::Tensor, side: Option<Side<'_, B>>) -> Result<B::Tensor>;

    /// `dx = onto + dy · W + side.input · side.factor`, where the side's factor is LoRA's A, `(rank, in_features)`.
    ///
    /// # Errors
    /// Where the matrix cannot be read.
    fn backward(
        &self,
        backend: &B,
        dy: &B::Tensor,
        side: Option<Side<'_, B>>,
        onto: Option<B::Tensor>,
    ) -> Result<B::Tensor>;
}

/// What an adapter adds to a frozen product.
pub struct Side<'a, B: Backend> {
    /// A or B.
    pub factor: &'a B::Matrix,
    /// `(tokens, rank)`, already scaled.
    pub input: &'a B::Tensor,
}

/// A norm's weights.
#[derive(Debug)]
pub struct NormWeights<V> {
    /// Offset included: `(features)`, or as many values as a token has, a group of `features` after the other.
    pub weight: V,
    /// Values that are normed together: all of a token, a head, or a group.
    pub features: usize,
    /// Added to the mean square.
    pub eps: f32,
}

/// The numbers of an attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Features of a head.
    pub head_dim: usize,
    /// The multiplier of the scores.
    pub scale: f32,
    /// Keys that a query sees, itself included.
    pub window: Option<usize>,
    /// `cap(x) = c · tanh(x / c)`
    pub soft_cap: Option<f32>,
}

impl AttentionShape {
    /// Keys that the query at `position` sees.
    pub fn visible(&self, position: usize) -> Range<usize> {
        let first = self.window.map_or(0, |window| (position + 1).saturating_sub(window));
        first..position + 1
    }
}

/// What attention saw and gave.
pub struct Attended<'a, T> {
    /// Queries, `(tokens, heads · head_dim)`.
    pub q: &'a T,
    /// Keys, `(tokens, kv_heads · head_dim)`.
    pub k: &'a T,
    /// Values, `(tokens, kv_heads · head_dim)`.
    pub v: &'a T,
    /// The result, `(tokens, heads · head_dim)`.
    pub out: &'a T,
    /// The logarithm of each query's sum of exponentials, `(tokens, heads)`.
    pub log_sums: &'a T,
}

/// `logits = cap(logit_scale · x · Wᵀ)`
#[derive(Debug)]
pub struct HeadWeights<L> {
    /// `(vocab_size, hidden_size)`
    pub weight: L,
    /// The multiplier.
    pub logit_scale: f32,
    /// `cap(x) = c · tanh(x / c)`
    pub soft_cap: Option<f32>,
}

/// Which way a rotation turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// By each position's angles.
    Forward,
    /// Back, which is the derivative.
    Back,
}

/// Takes logits of a run of tokens: the first token, and `(tokens, vocab_size)` values.
pub type Sink<'a> = dyn FnMut(usize, &[f32]) -> std::io::Result<()> + 'a;

/// The operations.
///
/// # Errors
/// Methods fail where a frozen matrix cannot be read or a device refuses; shapes are the caller's promise.
#[allow(clippy::missing_errors_doc)]
pub trait Backend: Sized {
    /// Activations, `(tokens, features)`.
    type Tensor;
    /// A trained matrix or its gradient.
    type Matrix;
    /// A frozen vector.
    type Vector;
    /// A frozen matrix.
    type Linear: FrozenLinear<Self>;
    /// Sines and cosines of a batch's positions.
    type Rotation;
    /// What a scan keeps for its derivative.
    type States;

    /// A pass over `batch` begins: what was kept for batches of another size may go.
    fn begin(&self, _batch: &Batch) {}
    /// Takes a frozen matrix.
    fn linear(&self, matrix: MappedMatrix) -> Result<Self::Linear>;
    /// Takes a frozen vector.
    fn vector(&self, values: Vec<f32>) -> Result<Self::Vector>;
    /// Takes `(tokens, head_dim / 2)` cosines and sines.
    fn rotation(&self, cos: Matrix, sin: Matrix) -> Result<Self::Rotation>;

    /// `scale · W[ids]`
    fn embed(&self, table: &Self::Linear, ids: &[u32], scale: f32) -> Result<Self::Tensor>;
    /// `onto + scale · x`
    fn add(&self, onto: Self::Tensor, x: &Self::Tensor, scale: f32) -> Result<Self::Tensor>;
    /// `scale · x`
    fn scale(&self, x: &Self::Tensor, scale: f32) -> Result<Self::Tensor>;
    /// `x + bias` for every token.
    fn add_bias(&self, x: Self::Tensor, bias: &Self::Vector) -> Result<Self::Tensor>;
    /// `mask ⊙ x`
    fn dropout(&self, x: &Self::Tensor, mask: &Mask) -> Result<Self::Tensor>;

    /// `scale · x · Aᵀ` with A, `(rank, features)`.
    fn project(&self, x: &Self::Tensor, a: &Self::Matrix, scale: f32) -> Result<Self::Tensor>;
    /// `scale · y · B` with B, `(features, rank)`.
    fn project_back(&self, y: &Self::Tensor, b: &Self::Matrix, scale: f32) -> Result<Self::Tensor>;
    /// `Σ_tokens yᵀ · x`, `(features of y, features of x)`.
    fn sum_outer(&self, y: &Self::Tensor, x: &Self::Tensor) -> Result<Self::Matrix>;

    /// `x / sqrt(mean(x²) + eps) ⊙ weight` for every group of `norm.features`.
    fn norm(&self, x: &Self::Tensor, norm: &NormWeights<Self::Vector>) -> Result<Self::Tensor>;
    /// The derivative of [`Backend::norm`] at `x`.
    fn norm_backward(
        &self,
        x: &Self::Tensor,
        norm: &NormWeights<Self::Vector>,
        dy: Self::Tensor,
    ) -> Result<Self::Tensor>;

    /// Rotates pairs `(i, i + head_dim/2)` of every head.
    fn rotate(&self, x: Self::Tensor, rotation: &Self::Rotation, turn: Turn) -> Result<Self::Tensor>;
    /// `softmax(cap(scale · q·kᵀ) + mask) · v` within each segment; also gives [`Attended::log_sums`].
    fn attention(
        &self,
        shape: &AttentionShape,
        segments: &[Range<usize>],
        qkv: [&Self::Tensor; 3],
    ) -> Result<(Self::Tensor, Self::Tensor)>;
    /// The derivative of [`Backend::attention`]: `dq`, `dk`, `dv`.
    fn attention_backward(
        &self,
        shape: &AttentionShape,
        segments: &[Range<usize>],
        saw: Attended<'_, Self::Tensor>,
        dout: &Self::Tensor,
    ) -> Result<[Self::Tensor; 3]>;

    /// `act(gate) ⊙ up`
    fn glu(&self, gate: &Self::Tensor, up: &Self::Tensor, activation: Activation) -> Result<Self::Tensor>;
    /// The derivative of [`Backend::glu`]: `dgate`, `dup`.
    fn glu_backward(
        &self,
        gate: Self::Tensor,
        up: Self::Tensor,
        activation: Activation,
        dy: &Self::Tensor,
    ) -> Result<(Self::Tensor, Self::Tensor)>;
    /// The first `at` features, and the rest.
    fn split(&self, x: Self::Tensor, at: usize) -> Result<(Self::Tensor, Self::Tensor)>;
    /// Features of `a`, then those of `b`.
    fn concat(&self, a: Self::Tensor, b: Self::Tensor) -> Result<Self::Tensor>;

    /// Some tokens of `x`, in order.
    fn select(&self, x: &Self::Tensor, tokens: &[usize]) -> Result<Self::Tensor>;
    /// Puts tokens back among `total`; the others are zero.
    fn scatter(&self, x: &Self::Tensor, tokens: &[usize], total: usize) -> Result<Self::Tensor>;

    /// The `count` features with the greatest values of every token, the greatest first, ties to the lower index.
    fn choose(&self, logits: &Self::Tensor, count: usize) -> Result<Vec<u32>>;
    /// Softmax over the chosen logits, `(tokens, experts of a token)`.
    fn expert_weights(&self, logits: &Self::Tensor, routing: &Routing) -> Result<Self::Tensor>;
    /// The derivative of [`Backend::expert_weights`], which are given, by all logits.
    fn expert_weights_backward(
        &self,
        weights: &Self::Tensor,
        routing: &Routing,
        dweights: &Self::Tensor,
    ) -> Result<Self::Tensor>;
    /// `x · Wᵀ + side.input · side.factorᵀ` with the weight of each slot's expert, and its rows of the side's factor,
    /// which holds LoRA's B of every expert one after the other.
    fn expert_products(
        &self,
        experts: &[Self::Linear],
        x: &Self::Tensor,
        side: Option<Side<'_, Self>>,
        routing: &Routing,
    ) -> Result<Self::Tensor>;
    /// `dy · W + side.input · side.factor`, likewise, where the side's factor holds A of every expert.
    fn expert_products_back(
        &self,
        experts: &[Self::Linear],
        dy: &Self::Tensor,
        side: Option<Side<'_, Self>>,
        routing: &Routing,
    ) -> Result<Self::Tensor>;
    /// [`Backend::project`] with each slot's expert's A of all, `(experts · rank, features)`; finite where nobody has the
    /// slot.
    fn expert_project(&self, x: &Self::Tensor, a: &Self::Matrix, scale: f32, routing: &Routing)
    -> Result<Self::Tensor>;
    /// [`Backend::project_back`] with each slot's expert's B of all, `(experts · features, rank)`, likewise.
    fn expert_project_back(
        &self,
        y: &Self::Tensor,
        b: &Self::Matrix,
        scale: f32,
        routing: &Routing,
    ) -> Result<Self::Tensor>;
    /// [`Backend::sum_outer`] over each expert's slots, `(experts · features of y, features of x)`. In slots that nobody
    /// has, `x` or `y` is zero.
    fn expert_sum_outer(&self, y: &Self::Tensor, x: &Self::Tensor, routing: &Routing) -> Result<Self::Matrix>;
    /// Every slot times its weight.
    fn weigh(&self, x: Self::Tensor, weights: &Self::Tensor, routing: &Routing) -> Result<Self::Tensor>;
    /// The derivative of [`Backend::weigh`]: `dx`, `dweights`.
    fn weigh_backward(
        &self,
        x: &Self::Tensor,
        weights: &Self::Tensor,
        routing: &Routing,
        dy: Self::Tensor,
    ) -> Result<(Self::Tensor, Self::Tensor)>;
    /// The sum of every token's slots; its derivative selects tokens.
    fn combine(&self, x: &Self::Tensor, routing: &Routing) -> Result<Self::Tensor>;

    /// `silu(conv(x))` within each segment.
    fn convolve(
        &self,
        x: &Self::Tensor,
        conv: &ConvWeights<Self::Vector>,
        segments: &[Range<usize>],
    ) -> Result<Self::Tensor>;
    /// The derivative of [`Backend::convolve`] at `x`.
    fn convolve_backward(
        &self,
        x: &Self::Tensor,
        conv: &ConvWeights<Self::Vector>,
        segments: &[Range<usize>],
        dy: Self::Tensor,
    ) -> Result<Self::Tensor>;
    /// `S_t = exp(Δ_t·A)·S_{t-1} + Δ_t·x_t·B_tᵀ`, `y_t = S_t·C_t + D·x_t` for every head within each segment, with
    /// `Δ = clamp(softplus(dt + dt_bias))`; given x, B and C together, and `dt`.
    fn scan(
        &self,
        shape: &ScanShape,
        weights: &ScanWeights<Self::Vector>,
        segments: &[Range<usize>],
        xbc_dt: [&Self::Tensor; 2],
    ) -> Result<(Self::Tensor, Self::States)>;
    /// The derivative of [`Backend::scan`]: by x, B and C together, and by `dt`.
    fn scan_backward(
        &self,
        shape: &ScanShape,
        weights: &ScanWeights<Self::Vector>,
        segments: &[Range<usize>],
        xbc_dt: [&Self::Tensor; 2],
        states: Self::States,
        dy: &Self::Tensor,
    ) -> Result<[Self::Tensor; 2]>;

    /// `Σ weight · (log Σ exp(logits) - logits[target])` and its derivative by `x`; `x` has one token a target. The
    /// logits of all tokens at once never exist.
    fn cross_entropy(
        &self,
        head: &HeadWeights<Self::Linear>,
        x: Self::Tensor,
        targets: &[Target],
        want_gradient: bool,
    ) -> Result<(f64, Option<Self::Tensor>)>;
    /// Hands out logits run by run.
    fn logits(&self, head: &HeadWeights<Self::Linear>, x: &Self::Tensor, sink: &mut Sink<'_>) -> Result<()>;
}
