//! The scan's derivatives, from the last chunk to the first; what happens within a chunk is computed again.
//!
//! With `M` the mixing of a chunk, `K = (x·dyᵀ) ⊙ M` and `dS` the derivative by the state behind it:
//! `dx_j = Σ_t M_jt·dy_t + u_j·dS·B_j + D·dy_j`, `dB_j = Σ_t dG_jt·C_t + u_j·dSᵀ·x_j`,
//! `dC_t = Σ_j dG_jt·B_j + e^{s_t}·Sᵀ·dy_t`, `dS ← e^{s_last}·dS + Σ_t e^{s_t}·dy_t·C_tᵀ`, with `u_j = e^{s_last - s_j}·Δ_j`;
//! and `Δ` through `s`, the running sum, and directly.

use std::ops::Range;

use super::chunk::{Chunk, Steps, product, product_turned, scale_tokens};
use super::{HEADS, Part, PerToken, padded_state, parts, parts_of_group, state_len};
use crate::fast::activations::Activations;
use crate::fast::buffer::Buffer;
use crate::fast::pool::with_scratch;
use crate::fast::target::Target;
use crate::fast::{Fast, TILE};
use crate::matmul::Store;
use crate::simd::{self, exp};
use crate::state_space::{ScanShape, ScanWeights};

/// Values of scratch that a task takes, in the order of [`Gradients`].
pub(crate) fn scratch(shape: &ScanShape) -> [usize; 16] {
    let (state, head, scores) = (shape.state_size * TILE, shape.head_dim * TILE, TILE * TILE);
    let (turned, states) = (padded_state(shape) * TILE, HEADS * state_len(shape));
    [state, state, turned, scores, scores, scores, scores, head, head, head, head, state, turned, state, states, TILE]
}

impl Fast {
    /// The derivatives by x, B and C together, and by `dt`.
    pub(in crate::fast) fn scanned_backward(
        &self,
        shape: &ScanShape,
        weights: &ScanWeights<Vec<f32>>,
        segments: &[Range<usize>],
        [xbc, dt]: [&Activations; 2],
        states: &Buffer,
        dy: &Activations,
    ) -> [Activations; 2] {
        let tokens = xbc.tokens();
        let (mut dxbc, mut ddt) = (self.zeros(shape.channels(), tokens), self.zeros(shape.heads, tokens));
        // What each task says about the B and C that a group's heads share.
        let mut shared = self.zeros(2 * shape.state_size * parts(shape), tokens);
        let targets = [Target::new(&mut dxbc), Target::new(&mut ddt), Target::new(&mut shared)];
        let work = |task: usize| {
            let part = Part::of(shape, segments, task);
            with_scratch(scratch(shape), |parts| {
                let mut gradients = Gradients::new(&part, weights, parts);
                for index in (0..part.chunks()).rev() {
                    let chunk = Chunk::new(part.chunk(index));
                    gradients.begin(xbc, &chunk);
                    for head in part.heads.clone() {
                        let before = part.state_before(index, head).map(|at| &states[at..at + state_len(shape)]);
                        let last = index + 1 == part.chunks();
                        gradients.head(head, [xbc, dt, dy], &chunk, before, last);
                        // SAFETY: each task has heads and a sequence of its own.
                        unsafe { gradients.write_head(&targets, head, &chunk) };
                    }
                    // SAFETY: as above; a task's part of a sequence is its own.
                    unsafe { gradients.write_shared(&targets[2], &chunk) };
                }
            });
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(()) = self.pool.each(segments.len() * parts(shape), work);
        self.sum_shared(shape, &shared, &mut dxbc);
        [dxbc, ddt]
    }

    /// Adds up what the tasks of each group say about B and C, in order.
    fn sum_shared(&self, shape: &ScanShape, shared: &Activations, dxbc: &mut Activations) {
        let (inner, of_group) = (shape.inner(), parts_of_group(shape));
        self.tiles(dxbc, |t, dxbc| {
            let (width, shared) = (shared.width(t), shared.tile(t));
            let state = shape.state_size * width;
            let sums = dxbc[inner * width..].chunks_exact_mut(state).enumerate();
            simd::run(|| {
                for (i, sum) in sums {
                    // All B come before all C; of a part its C comes behind its B.
                    let (is_c, group) = (i / shape.groups, i % shape.groups);
                    for part in group * of_group..(group + 1) * of_group {
                        let from = &shared[(2 * part + is_c) * state..][..state];
                        sum.iter_mut().zip(from).for_each(|(sum, value)| *sum += value);
                    }
                }
            });
        });
    }
}

/// Room for a chunk, as in the forward pass; `d` before a name is the derivative by it.
struct Gradients<'a> {
    part: &'a Part<'a>,
    weights: &'a ScanWeights<Vec<f32>>,
    b: &'a mut [f32],
    c: &'a mut [f32],
    c_turned: &'a mut [f32],
    /// `B_j·C_t`, rows are `j`.
    scores: &'a mut [f32],
    /// The same, rows are `t`.
    scores_turned: &'a mut [f32],
    dscores: &'a mut [f32],
    mixing_turned: &'a mut [f32],
    x: &'a mut [f32],
    dy: &'a mut [f32],
    dx: &'a mut [f32],
    /// `dS·B_j`
    from_state: &'a mut [f32],
    /// `Sᵀ·dy_t`
    to_state: &'a mut [f32],
    db_turned: &'a mut [f32],
    dc: &'a mut [f32],
    dstates: &'a mut [f32],
    ddt: &'a mut [f32],
}

/// Derivatives by a chunk's running sums, and by its steps where they stand for themselves.
struct StepGradients {
    sums: PerToken,
    delta: PerToken,
}

impl<'a> Gradients<'a> {
    fn new(part: &'a Part<'a>, weights: &'a ScanWeights<Vec<f32>>, parts: [&'a mut [f32]; 16]) -> Self {
        let [b, c, c_turned, scores, scores_turned, dscores, mixing_turned, rest @ ..] = parts;
        let [x, dy, dx, from_state, to_state, db_turned, dc, dstates, ddt] = rest;
        dstates.fill(0.0);
        Self {
            part,
            weights,
            b,
            c,
            c_turned,
            scores,
            scores_turned,
            dscores,
            mixing_turned,
            x,
            dy,
            dx,
            from_state,
            to_state,
            db_turned,
            dc,
            dstates,
            ddt,
        }
    }

    /// Reads what the heads share.
    fn begin(&mut self, xbc: &Activations, chunk: &Chunk) {
        let (state_size, w) = (self.part.shape.state_size, chunk.width);
        chunk.rows(xbc, self.part.b_rows(), self.b);
        chunk.rows(xbc, self.part.c_rows(), self.c);
        chunk.turned(xbc, self.part.c_rows(), self.c_turned, padded_state(self.part.shape));
        let dims = (chunk.len(), w, state_size);
        product_turned(dims, (self.b, TILE), (self.c, TILE), (self.scores, TILE), Store::Replace);
        product_turned(dims, (self.c, TILE), (self.b, TILE), (self.scores_turned, TILE), Store::Replace);
        self.db_turned.fill(0.0);
        self.dc.fill(0.0);
    }

    /// Computes a head's `dx` and `ddt`, adds its share of `dB` and `dC`, and moves its `dS` before the chunk.
    fn head(
        &mut self,
        head: usize,
        [xbc, dt, dy]: [&Activations; 3],
        chunk: &Chunk,
        before: Option<&[f32]>,
        last: bool,
    ) {
        let (shape, w, len) = (self.part.shape, chunk.width, chunk.len());
        let (head_dim, columns, state_size) = (shape.head_dim, padded_state(shape), shape.state_size);
        let start = (head - self.part.heads.start) * state_len(shape);
        let steps = Steps::new(shape, self.weights, head, dt, chunk);
        chunk.rows(xbc, self.part.x_rows(head), self.x);
        chunk.rows(dy, self.part.x_rows(head), self.dy);
        let mut to = self.within_chunk(&steps, chunk);
        let dstate = &mut self.dstates[start..start + state_len(shape)];
        let skip = self.weights.d[head];
        simd::run(|| self.dx.iter_mut().zip(&*self.dy).for_each(|(dx, dy)| *dx += skip * dy));

        if !last {
            // The state behind the chunk.
            product(
                (head_dim, w, state_size),
                (dstate, columns),
                (self.b, TILE),
                (self.from_state, TILE),
                Store::Replace,
            );
            simd::run(|| to.state_behind(&steps, chunk, self.x, self.dx, self.from_state));
            let dims = (len, columns, head_dim);
            product_turned(dims, (self.x, TILE), (dstate, columns), (self.db_turned, columns), Store::Add);
        }
        if let Some(state) = before {
            // The state before it.
            product_turned(
                (state_size, w, head_dim),
                (state, columns),
                (self.dy, TILE),
                (self.to_state, TILE),
                Store::Replace,
            );
            simd::run(|| {
                let since_start = steps.since_start();
                to.state_before(&since_start, self.c, self.to_state, self.dc);
                to.sums[len - 1] += steps.whole * dot(state, dstate, columns);
                dstate.iter_mut().for_each(|value| *value *= steps.whole);
                scale_tokens(self.dy, &since_start);
            });
            let dims = (head_dim, columns, len);
            product(dims, (self.dy, TILE), (self.c_turned, columns), (dstate, columns), Store::Add);
        }
        let mut along = 0.0;
        for j in (0..len).rev() {
            along += to.sums[j];
            self.ddt[j] = (to.delta[j] + self.weights.a[head] * along) * steps.slope[j];
        }
    }

    /// What tokens of a chunk say to each other: all of `dx`, but for the state and the skip.
    fn within_chunk(&mut self, steps: &Steps, chunk: &Chunk) -> StepGradients {
        let (shape, w, len) = (self.part.shape, chunk.width, chunk.len());
        let (head_dim, columns, state_size) = (shape.head_dim, padded_state(shape), shape.state_size);
        product_turned((len, w, head_dim), (self.x, TILE), (self.dy, TILE), (self.dscores, TILE), Store::Replace);
        let to = simd::run(|| {
            mix_turned(self.scores_turned, self.mixing_turned, steps, chunk);
            score_derivatives(self.scores, self.dscores, steps, chunk)
        });
        product((head_dim, w, len), (self.dy, TILE), (self.mixing_turned, TILE), (self.dx, TILE), Store::Replace);
        product((state_size, w, len), (self.b, TILE), (self.dscores, TILE), (self.dc, TILE), Store::Add);
        product(
            (len, columns, len),
            (self.dscores, TILE),
            (self.c_turned, columns),
            (self.db_turned, columns),
            Store::Add,
        );
        to
    }

    /// Writes a head's `dx` and `ddt`.
    ///
    /// # Safety
    /// Nobody else writes this head's features of these tokens.
    unsafe fn write_head(&self, [dxbc, ddt, _]: &[Target<'_>; 3], head: usize, chunk: &Chunk) {
        // SAFETY: passed on to the caller.
        unsafe {
            dxbc.write_rows(self.part.x_rows(head), chunk.tokens.clone(), self.dx, TILE);
            ddt.write_rows(head..head + 1, chunk.tokens.clone(), self.ddt, TILE);
        }
    }

    /// Writes the part's share of `dB` and `dC`.
    ///
    /// # Safety
    /// Nobody else writes this part's features of these tokens.
    unsafe fn write_shared(&self, shared: &Target<'_>, chunk: &Chunk) {
        let state_size = self.part.shape.state_size;
        let b = 2 * self.part.index * state_size;
        // SAFETY: passed on to the caller.
        unsafe {
            let tokens = chunk.tokens.clone();
            shared.write_transposed(b..b + state_size, tokens.clone(), self.db_turned, padded_state(self.part.shape));
            shared.write_rows(b + state_size..b + 2 * state_size, tokens, self.dc, TILE);
        }
    }
}

impl StepGradients {
    /// Adds what the state behind the chunk says to `dx`, and multiplies `x` by what it counts for that state.
    #[inline(always)]
    fn state_behind(&mut self, steps: &Steps, chunk: &Chunk, x: &mut [f32], dx: &mut [f32], from_state: &[f32]) {
        let (mut along, to_end, mut counts) = ([0.0; TILE], steps.to_end(), [0.0; TILE]);
        (0..TILE).for_each(|j| counts[j] = to_end[j] * steps.delta[j]);
        let rows = x.chunks_exact_mut(TILE).zip(dx.chunks_exact_mut(TILE)).zip(from_state.chunks_exact(TILE));
        for ((x, dx), from_state) in rows {
            for j in 0..TILE {
                along[j] += x[j] * from_state[j];
                dx[j] += counts[j] * from_state[j];
                x[j] *= counts[j];
            }
        }
        let mut sum = 0.0;
        for j in 0..chunk.len() {
            self.delta[j] += to_end[j] * along[j];
            self.sums[j] -= counts[j] * along[j];
            sum += counts[j] * along[j];
        }
        self.sums[chunk.len() - 1] += sum;
    }

    /// Adds what the state before the chunk says to `dC`.
    #[inline(always)]
    fn state_before(&mut self, since_start: &PerToken, c: &[f32], to_state: &[f32], dc: &mut [f32]) {
        let mut along = [0.0; TILE];
        for ((c, to_state), dc) in c.chunks_exact(TILE).zip(to_state.chunks_exact(TILE)).zip(dc.chunks_exact_mut(TILE))
        {
            for t in 0..TILE {
                let value = since_start[t] * to_state[t];
                along[t] += c[t] * value;
                dc[t] += value;
            }
        }
        (0..TILE).for_each(|t| self.sums[t] += along[t]);
    }
}

/// `e^{s_t - s_j}·(B_j·C_t)·Δ_j` for `j ≤ t`, 0 for later `j`; rows are `t`.
#[inline(always)]
fn mix_turned(scores: &[f32], mixing: &mut [f32], steps: &Steps, chunk: &Chunk) {
    for (t, (scores, mixing)) in
        scores.chunks_exact(TILE).zip(mixing.chunks_exact_mut(TILE)).take(chunk.len()).enumerate()
    {
        for j in 0..TILE {
            mixing[j] = exp(steps.sums[t] - steps.sums[j]) * scores[j] * steps.delta[j];
        }
        mixing[t + 1..].fill(0.0);
    }
}

/// Overwrites `x_j·dy_t`, the derivative by the mixing, with that by `B_j·C_t`.
#[inline(always)]
fn score_derivatives(scores: &[f32], dscores: &mut [f32], steps: &Steps, chunk: &Chunk) -> StepGradients {
    let mut to = StepGradients { sums: [0.0; TILE], delta: [0.0; TILE] };
    for (j, (scores, dscores)) in
        scores.chunks_exact(TILE).zip(dscores.chunks_exact_mut(TILE)).take(chunk.len()).enumerate()
    {
        let (delta, mut decay) = (steps.delta[j], [0.0; TILE]);
        (j..TILE).for_each(|t| decay[t] = exp(steps.sums[t] - steps.sums[j]));
        let mut row = 0.0;
        for t in 0..chunk.width {
            let by_delta = dscores[t] * decay[t] * scores[t];
            row += by_delta;
            to.sums[t] += by_delta * delta;
            dscores[t] *= decay[t] * delta;
        }
        to.delta[j] += row;
        to.sums[j] -= row * delta;
    }
    to
}

/// `Σ a ⊙ b`, rows first.
#[inline(always)]
fn dot(a: &[f32], b: &[f32], columns: usize) -> f32 {
    let rows = a.chunks_exact(columns).zip(b.chunks_exact(columns));
    rows.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>()).sum()
}
