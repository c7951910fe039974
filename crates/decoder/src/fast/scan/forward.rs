//! The scan itself.

use std::ops::Range;

use super::chunk::{Chunk, Steps, product, product_turned, scale_tokens};
use super::{HEADS, Part, kept_states, padded_state, parts, state_len};
use crate::fast::activations::Activations;
use crate::fast::buffer::Buffer;
use crate::fast::pool::{Shared, with_scratch};
use crate::fast::target::Target;
use crate::fast::{Fast, TILE};
use crate::matmul::Store;
use crate::simd::{self, exp};
use crate::state_space::{ScanShape, ScanWeights};

/// Values of scratch that a task takes, in the order of [`Scan`].
pub(crate) fn scratch(shape: &ScanShape) -> [usize; 8] {
    let (state, head) = (shape.state_size * TILE, shape.head_dim * TILE);
    [state, state, padded_state(shape) * TILE, TILE * TILE, TILE * TILE, head, head, HEADS * state_len(shape)]
}

impl Fast {
    /// `y`, and the states between chunks.
    pub(in crate::fast) fn scanned(
        &self,
        shape: &ScanShape,
        weights: &ScanWeights<Vec<f32>>,
        segments: &[Range<usize>],
        [xbc, dt]: [&Activations; 2],
    ) -> (Activations, Buffer) {
        let mut y = self.zeros(shape.inner(), xbc.tokens());
        let mut states = self.arena.take(kept_states(shape, segments));
        let (to_y, to_states) = (Target::new(&mut y), Shared::new(&mut states));
        let work = |task: usize| {
            let part = Part::of(shape, segments, task);
            with_scratch(scratch(shape), |parts| {
                let mut scan = Scan::new(&part, weights, parts);
                for index in 0..part.chunks() {
                    let chunk = Chunk::new(part.chunk(index));
                    scan.begin(xbc, &chunk);
                    for head in part.heads.clone() {
                        if let Some(at) = part.state_before(index, head) {
                            // SAFETY: each task has heads and a sequence of its own.
                            unsafe { to_states.slice(at, state_len(shape)) }.copy_from_slice(scan.state(head));
                        }
                        let y = scan.head(head, [xbc, dt], &chunk, index + 1 < part.chunks());
                        // SAFETY: as above.
                        unsafe { to_y.write_rows(part.x_rows(head), chunk.tokens.clone(), y, TILE) };
                    }
                }
            });
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(()) = self.pool.each(segments.len() * parts(shape), work);
        (y, states)
    }
}

/// Room for a chunk. Rows are features, or tokens that are seen; columns are tokens, in `turned` features.
struct Scan<'a> {
    part: &'a Part<'a>,
    weights: &'a ScanWeights<Vec<f32>>,
    b: &'a mut [f32],
    c: &'a mut [f32],
    b_turned: &'a mut [f32],
    /// `B_j·C_t`
    scores: &'a mut [f32],
    /// What `x_j` counts for `y_t`.
    mixing: &'a mut [f32],
    x: &'a mut [f32],
    y: &'a mut [f32],
    states: &'a mut [f32],
}

impl<'a> Scan<'a> {
    fn new(part: &'a Part<'a>, weights: &'a ScanWeights<Vec<f32>>, parts: [&'a mut [f32]; 8]) -> Self {
        let [b, c, b_turned, scores, mixing, x, y, states] = parts;
        states.fill(0.0);
        Self { part, weights, b, c, b_turned, scores, mixing, x, y, states }
    }

    fn state_range(&self, head: usize) -> Range<usize> {
        let start = (head - self.part.heads.start) * state_len(self.part.shape);
        start..start + state_len(self.part.shape)
    }

    fn state(&self, head: usize) -> &[f32] {
        &self.states[self.state_range(head)]
    }

    /// Reads what the heads share.
    fn begin(&mut self, xbc: &Activations, chunk: &Chunk) {
        let (state_size, w) = (self.part.shape.state_size, chunk.width);
        chunk.rows(xbc, self.part.b_rows(), self.b);
        chunk.rows(xbc, self.part.c_rows(), self.c);
        chunk.turned(xbc, self.part.b_rows(), self.b_turned, padded_state(self.part.shape));
        product_turned(
            (chunk.len(), w, state_size),
            (self.b, TILE),
            (self.c, TILE),
            (self.scores, TILE),
            Store::Replace,
        );
    }

    /// A head's result for the chunk; its state moves on if it is wanted.
    fn head(&mut self, head: usize, [xbc, dt]: [&Activations; 2], chunk: &Chunk, move_on: bool) -> &[f32] {
        let (shape, w, range) = (self.part.shape, chunk.width, self.state_range(head));
        let (head_dim, columns) = (shape.head_dim, padded_state(shape));
        let steps = Steps::new(shape, self.weights, head, dt, chunk);
        chunk.rows(xbc, self.part.x_rows(head), self.x);
        let state = &mut self.states[range];
        product((head_dim, w, shape.state_size), (state, columns), (self.c, TILE), (self.y, TILE), Store::Replace);
        simd::run(|| {
            scale_tokens(self.y, &steps.since_start());
            mix(self.scores, self.mixing, &steps, chunk);
        });
        product((head_dim, w, chunk.len()), (self.x, TILE), (self.mixing, TILE), (self.y, TILE), Store::Add);
        let skip = self.weights.d[head];
        simd::run(|| self.y.iter_mut().zip(&*self.x).for_each(|(y, x)| *y += skip * x));
        if move_on {
            simd::run(|| {
                state.iter_mut().for_each(|value| *value *= steps.whole);
                let mut factors = steps.to_end();
                factors.iter_mut().zip(&steps.delta).for_each(|(factor, delta)| *factor *= delta);
                scale_tokens(self.x, &factors);
            });
            product(
                (head_dim, columns, chunk.len()),
                (self.x, TILE),
                (self.b_turned, columns),
                (state, columns),
                Store::Add,
            );
        }
        self.y
    }
}

/// `e^{s_t - s_j}·(B_j·C_t)·Δ_j` for `j ≤ t`, 0 for later `j`.
#[inline(always)]
fn mix(scores: &[f32], mixing: &mut [f32], steps: &Steps, chunk: &Chunk) {
    for (j, (scores, mixing)) in
        scores.chunks_exact(TILE).zip(mixing.chunks_exact_mut(TILE)).take(chunk.len()).enumerate()
    {
        for t in 0..TILE {
            mixing[t] = exp(steps.sums[t] - steps.sums[j]) * scores[t] * steps.delta[j];
        }
        mixing[..j].fill(0.0);
    }
}
