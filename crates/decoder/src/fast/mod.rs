//! The CPU's path: fused, multi-threaded loops over f32.
//!
//! Work is divided by outputs and sums run in a fixed order, so results are the same to the bit whatever the number of
//! threads, and a token's values are the same whatever else is in the batch.

mod activations;
mod attention;
mod buffer;
mod conv;
mod cross_entropy;
mod elementwise;
mod experts;
mod linear;
mod mixture;
mod norm;
mod pool;
mod project;
mod rate;
mod rotate;
mod scan;
mod target;
mod tokens;

use std::ops::Range;
use std::sync::Arc;

use model::architecture::Activation;

use crate::backend::{Attended, AttentionShape, Backend, FrozenLinear, HeadWeights, NormWeights, Side, Sink, Turn};
use crate::batch::{Batch, Target};
use crate::error::Result;
use crate::mapped::MappedMatrix;
use crate::matrix::Matrix;
use crate::random::Mask;
use crate::routing::Routing;
use crate::state_space::{ConvWeights, ScanShape, ScanWeights};

pub use activations::Activations;
pub(crate) use activations::{TILE, padded_len};
pub(crate) use attention::{backward_scratch, padded_head};
use buffer::Arena;
pub use buffer::Buffer;
pub(crate) use cross_entropy::chunk_tokens;
pub(crate) use experts::{backward_scratch as experts_back_scratch, forward_scratch as experts_scratch};
pub use linear::Mapped;
pub(crate) use linear::{SUMMED_ROWS, backward_chunk, forward_panel};
use pool::Pool;
pub use rotate::Rotation;
pub(crate) use scan::{
    backward_scratch as scan_back_scratch, forward_scratch as scan_scratch, kept_states, parts as scan_parts,
};

/// The fast path.
#[derive(Debug)]
pub struct Fast {
    pool: Pool,
    arena: Arc<Arena>,
}

impl Fast {
    /// A backend with `threads` threads, at least one.
    ///
    /// # Errors
    /// Where the system has no threads to give.
    pub fn new(threads: usize) -> Result<Self> {
        Ok(Self { pool: Pool::new(threads)?, arena: Arc::default() })
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Bytes of all activations taken for batches of the last one's size; they are recycled, so this is their peak.
    pub fn buffer_bytes(&self) -> u64 {
        self.arena.bytes()
    }

    /// Activations that hold whatever was there before.
    fn take(&self, features: usize, tokens: usize) -> Activations {
        Activations::new(features, tokens, self.arena.take(padded_len(features, tokens)))
    }

    /// Activations that are zero.
    fn zeros(&self, features: usize, tokens: usize) -> Activations {
        Activations::new(features, tokens, self.arena.take_zeroed(padded_len(features, tokens)))
    }

    /// Fills activations tile by tile: `fill` gets the tile's index and its `features × width` values.
    fn tiles(&self, x: &mut Activations, fill: impl Fn(usize, &mut [f32]) + Sync + Send) {
        let len = TILE * x.features().max(1);
        self.pool.chunks(x.values_mut(), len, fill);
    }
}

impl FrozenLinear<Fast> for Mapped {
    fn forward(&self, fast: &Fast, x: &Activations, side: Option<Side<'_, Fast>>) -> Result<Activations> {
        let y = fast.take(self.matrix().rows(), x.tokens());
        self.multiply(fast, x, side, y)
    }

    fn backward(
        &self,
        fast: &Fast,
        dy: &Activations,
        side: Option<Side<'_, Fast>>,
        onto: Option<Activations>,
    ) -> Result<Activations> {
        self.multiply_back(fast, dy, side, onto)
    }
}

impl Backend for Fast {
    type Tensor = Activations;
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type Linear = Mapped;
    type Rotation = Rotation;
    type States = Buffer;

    fn begin(&self, batch: &Batch) {
        self.arena.begin((batch.tokens(), batch.targets().len()));
    }

    fn linear(&self, matrix: MappedMatrix) -> Result<Mapped> {
        Ok(Mapped::new(matrix))
    }

    fn vector(&self, values: Vec<f32>) -> Result<Vec<f32>> {
        Ok(values)
    }

    fn rotation(&self, cos: Matrix, sin: Matrix) -> Result<Rotation> {
        Ok(Rotation::new(self, &cos, &sin))
    }

    fn embed(&self, table: &Mapped, ids: &[u32], scale: f32) -> Result<Activations> {
        self.embed_tokens(table, ids, scale)
    }

    fn add(&self, onto: Activations, x: &Activations, scale: f32) -> Result<Activations> {
        Ok(self.add_scaled(onto, x, scale))
    }

    fn scale(&self, x: &Activations, scale: f32) -> Result<Activations> {
        Ok(self.scaled(x, scale))
    }

    fn add_bias(&self, x: Activations, bias: &Vec<f32>) -> Result<Activations> {
        Ok(self.biased(x, bias))
    }

    fn dropout(&self, x: &Activations, mask: &Mask) -> Result<Activations> {
        Ok(self.masked(x, mask))
    }

    fn project(&self, x: &Activations, a: &Matrix, scale: f32) -> Result<Activations> {
        Ok(self.project_tokens(x, a, scale))
    }

    fn project_back(&self, y: &Activations, b: &Matrix, scale: f32) -> Result<Activations> {
        Ok(self.project_tokens_back(y, b, scale))
    }

    fn sum_outer(&self, y: &Activations, x: &Activations) -> Result<Matrix> {
        Ok(self.sum_outer_products(y, x))
    }

    fn norm(&self, x: &Activations, norm: &NormWeights<Vec<f32>>) -> Result<Activations> {
        Ok(self.rms_norm(x, norm))
    }

    fn norm_backward(&self, x: &Activations, norm: &NormWeights<Vec<f32>>, dy: Activations) -> Result<Activations> {
        Ok(self.rms_norm_backward(x, norm, dy))
    }

    fn rotate(&self, x: Activations, rotation: &Rotation, turn: Turn) -> Result<Activations> {
        Ok(self.rotate_heads(x, rotation, turn))
    }

    fn attention(
        &self,
        shape: &AttentionShape,
        segments: &[Range<usize>],
        [q, k, v]: [&Activations; 3],
    ) -> Result<(Activations, Activations)> {
        Ok(self.attend(shape, segments, [q, k, v]))
    }

    fn attention_backward(
        &self,
        shape: &AttentionShape,
        segments: &[Range<usize>],
        saw: Attended<'_, Activations>,
        dout: &Activations,
    ) -> Result<[Activations; 3]> {
        Ok(self.attend_backward(shape, segments, &saw, dout))
    }

    fn glu(&self, gate: &Activations, up: &Activations, activation: Activation) -> Result<Activations> {
        Ok(self.gated(gate, up, activation))
    }

    fn glu_backward(
        &self,
        gate: Activations,
        up: Activations,
        activation: Activation,
        dy: &Activations,
    ) -> Result<(Activations, Activations)> {
        Ok(self.gated_backward(gate, up, activation, dy))
    }

    fn split(&self, x: Activations, at: usize) -> Result<(Activations, Activations)> {
        Ok(self.split_features(&x, at))
    }

    fn concat(&self, a: Activations, b: Activations) -> Result<Activations> {
        Ok(self.concat_features(&a, &b))
    }

    fn select(&self, x: &Activations, tokens: &[usize]) -> Result<Activations> {
        Ok(self.select_tokens(x, tokens))
    }

    fn scatter(&self, x: &Activations, tokens: &[usize], total: usize) -> Result<Activations> {
        Ok(self.scatter_tokens(x, tokens, total))
    }

    fn choose(&self, logits: &Activations, count: usize) -> Result<Vec<u32>> {
        Ok(self.choose_experts(logits, count))
    }

    fn expert_weights(&self, logits: &Activations, routing: &Routing) -> Result<Activations> {
        Ok(self.softmax_chosen(logits, routing))
    }

    fn expert_weights_backward(
        &self,
        weights: &Activations,
        routing: &Routing,
        dweights: &Activations,
    ) -> Result<Activations> {
        Ok(self.softmax_chosen_backward(weights, routing, dweights))
    }

    fn expert_products(
        &self,
        experts: &[Mapped],
        x: &Activations,
        side: Option<Side<'_, Self>>,
        routing: &Routing,
    ) -> Result<Activations> {
        self.multiply_by_experts(experts, x, side, routing)
    }

    fn expert_products_back(
        &self,
        experts: &[Mapped],
        dy: &Activations,
        side: Option<Side<'_, Self>>,
        routing: &Routing,
    ) -> Result<Activations> {
        self.multiply_back_by_experts(experts, dy, side, routing)
    }

    fn expert_project(&self, x: &Activations, a: &Matrix, scale: f32, routing: &Routing) -> Result<Activations> {
        Ok(self.project_by_experts(x, a, scale, routing))
    }

    fn expert_project_back(&self, y: &Activations, b: &Matrix, scale: f32, routing: &Routing) -> Result<Activations> {
        Ok(self.project_back_by_experts(y, b, scale, routing))
    }

    fn expert_sum_outer(&self, y: &Activations, x: &Activations, routing: &Routing) -> Result<Matrix> {
        Ok(self.sum_outer_by_experts(y, x, routing))
    }

    fn weigh(&self, x: Activations, weights: &Activations, routing: &Routing) -> Result<Activations> {
        Ok(self.weighed(x, weights, routing))
    }

    fn weigh_backward(
        &self,
        x: &Activations,
        weights: &Activations,
        routing: &Routing,
        dy: Activations,
    ) -> Result<(Activations, Activations)> {
        Ok(self.weighed_backward(x, weights, routing, dy))
    }

    fn combine(&self, x: &Activations, routing: &Routing) -> Result<Activations> {
        Ok(self.combine_slots(x, routing))
    }

    fn convolve(
        &self,
        x: &Activations,
        conv: &ConvWeights<Vec<f32>>,
        segments: &[Range<usize>],
    ) -> Result<Activations> {
        Ok(self.convolved(x, conv, segments))
    }

    fn convolve_backward(
        &self,
        x: &Activations,
        conv: &ConvWeights<Vec<f32>>,
        segments: &[Range<usize>],
        dy: Activations,
    ) -> Result<Activations> {
        Ok(self.convolved_backward(x, conv, segments, dy))
    }

    fn scan(
        &self,
        shape: &ScanShape,
        weights: &ScanWeights<Vec<f32>>,
        segments: &[Range<usize>],
        xbc_dt: [&Activations; 2],
    ) -> Result<(Activations, Buffer)> {
        Ok(self.scanned(shape, weights, segments, xbc_dt))
    }

    fn scan_backward(
        &self,
        shape: &ScanShape,
        weights: &ScanWeights<Vec<f32>>,
        segments: &[Range<usize>],
        xbc_dt: [&Activations; 2],
        states: Buffer,
        dy: &Activations,
    ) -> Result<[Activations; 2]> {
        Ok(self.scanned_backward(shape, weights, segments, xbc_dt, &states, dy))
    }

    fn cross_entropy(
        &self,
        head: &HeadWeights<Mapped>,
        x: Activations,
        targets: &[Target],
        want_gradient: bool,
    ) -> Result<(f64, Option<Activations>)> {
        self.head_loss(head, &x, targets, want_gradient)
    }

    fn logits(&self, head: &HeadWeights<Mapped>, x: &Activations, sink: &mut Sink<'_>) -> Result<()> {
        self.head_logits(head, x, sink)
    }
}
