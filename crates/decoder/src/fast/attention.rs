//! Causal attention by blocks of 64 queries, <https://arxiv.org/abs/2205.14135>.
//!
//! A task is one head of one segment. Scores lie with keys as rows and queries side by side, so that a softmax is
//! vector arithmetic down the keys; they exist for one block of queries at a time. With `p` the weights, `D = Σ dout·out`:
//! `dv = pᵀ·dout`, `ds = p ⊙ (dout·vᵀ - D)`, `dq = scale · ds·k`, `dk = scale · dsᵀ·q`.

use std::ops::Range;

use super::activations::{Activations, width_of};
use super::pool::{Shared, with_scratch};
use super::{Fast, TILE};
use crate::backend::{Attended, AttentionShape};
use crate::matmul::{self, Into, Left, Rows, RowsMut};
use crate::simd::{self, exp, tanh};

impl Fast {
    /// The result, and each query's logarithm of its sum of exponentials.
    pub(super) fn attend(
        &self,
        shape: &AttentionShape,
        segments: &[Range<usize>],
        [q, k, v]: [&Activations; 3],
    ) -> (Activations, Activations) {
        let mut out = self.zeros(q.features(), q.tokens());
        let mut log_sums = self.zeros(shape.heads, q.tokens());
        let (to_out, to_sums) = (Target::new(&mut out), Target::new(&mut log_sums));
        let work = |task: usize| {
            let head = Head::of(shape, segments, task);
            let (keys, d) = (head.tokens.len(), head.padded);
            with_scratch([keys * d, keys * d, d * TILE, keys * TILE, d * TILE], |[ks, vs, qs, scores, result]| {
                k.copy_transposed(head.kv_rows(), head.tokens.clone(), ks, d);
                v.copy_transposed(head.kv_rows(), head.tokens.clone(), vs, d);
                for block in head.blocks() {
                    let seen = block.seen.clone();
                    let (w, visible) = (block.width, &mut scores[..seen.len() * block.width]);
                    q.copy_rows(head.q_rows(), block.tokens(), qs, w);
                    block.clear_rest(qs);
                    head.times(&ks[seen.start * d..], qs, visible, &block);
                    let sums = simd::run(|| softmax(shape, &block, visible));
                    let dims = (shape.head_dim, w, seen.len());
                    let (a, b) = (Rows { data: &vs[seen.start * d..], stride: d }, Rows { data: visible, stride: w });
                    matmul::product(dims, Left::Transposed, a, b, RowsMut { data: result, stride: w }, Into::Replace);
                    simd::run(|| {
                        for row in result.chunks_exact_mut(w).take(shape.head_dim) {
                            (0..w).for_each(|i| row[i] *= sums.inverse[i]);
                        }
                    });
                    // SAFETY: each task has a head and tokens of its own.
                    unsafe {
                        to_out.write_rows(head.q_rows(), block.tokens(), result, w);
                        to_sums.write_rows(head.index..head.index + 1, block.tokens(), &sums.log, w);
                    }
                }
            });
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(()) = self.pool.each(segments.len() * shape.heads, work);
        (out, log_sums)
    }

    /// `dq`, `dk`, `dv`
    pub(super) fn attend_backward(
        &self,
        shape: &AttentionShape,
        segments: &[Range<usize>],
        saw: &Attended<'_, Activations>,
        dout: &Activations,
    ) -> [Activations; 3] {
        let (features, tokens) = (dout.features(), dout.tokens());
        let mut dq = self.zeros(features, tokens);
        // Every query head has keys and values of its own at first; a group's are then added in order.
        let (mut dk, mut dv) = (self.zeros(features, tokens), self.zeros(features, tokens));
        let (to_dq, to_dk, to_dv) = (Target::new(&mut dq), Target::new(&mut dk), Target::new(&mut dv));
        let work = |task: usize| {
            let head = Head::of(shape, segments, task);
            let (keys, d) = (head.tokens.len(), head.padded);
            with_scratch(backward_scratch(keys, d), |[ks, vs, dks, dvs, qs, douts, outs, qt, doutt, scores, ds]| {
                saw.k.copy_transposed(head.kv_rows(), head.tokens.clone(), ks, d);
                saw.v.copy_transposed(head.kv_rows(), head.tokens.clone(), vs, d);
                dks.fill(0.0);
                dvs.fill(0.0);
                for block in head.blocks() {
                    let (w, seen) = (block.width, block.seen.clone());
                    for (from, rows, turned) in [(saw.q, &mut *qs, &mut *qt), (dout, &mut *douts, &mut *doutt)] {
                        from.copy_rows(head.q_rows(), block.tokens(), rows, w);
                        block.clear_rest(rows);
                        turned.fill(0.0);
                        from.copy_transposed(head.q_rows(), block.tokens(), turned, d);
                    }
                    saw.out.copy_rows(head.q_rows(), block.tokens(), outs, w);
                    block.clear_rest(outs);
                    let mut log = [0.0; TILE];
                    saw.log_sums.copy_rows(head.index..head.index + 1, block.tokens(), &mut log, w);
                    let (scores, ds) = (&mut scores[..seen.len() * w], &mut ds[..seen.len() * w]);
                    head.times(&ks[seen.start * d..], qs, scores, &block);
                    head.times(&vs[seen.start * d..], douts, ds, &block);
                    simd::run(|| {
                        let along = row_products(douts, outs, w, shape.head_dim);
                        score_derivatives(shape, &block, scores, ds, &log, &along);
                    });
                    let add = |left: &[f32], right: &[f32], sums: &mut [f32]| {
                        let (a, b) = (Rows { data: left, stride: w }, Rows { data: right, stride: d });
                        let c = RowsMut { data: &mut sums[seen.start * d..], stride: d };
                        matmul::product((seen.len(), d, w), Left::Plain, a, b, c, Into::Add);
                    };
                    add(scores, doutt, dvs);
                    add(ds, qt, dks);
                    let (a, b) = (Rows { data: &ks[seen.start * d..], stride: d }, Rows { data: ds, stride: w });
                    let (dims, c) = ((shape.head_dim, w, seen.len()), RowsMut { data: outs, stride: w });
                    matmul::product(dims, Left::Transposed, a, b, c, Into::Replace);
                    // SAFETY: each task has a head and tokens of its own.
                    unsafe { to_dq.write_rows(head.q_rows(), block.tokens(), outs, w) };
                }
                // SAFETY: as above.
                unsafe {
                    to_dk.write_transposed(head.q_rows(), head.tokens.clone(), dks, d);
                    to_dv.write_transposed(head.q_rows(), head.tokens.clone(), dvs, d);
                }
            });
            Ok::<(), std::convert::Infallible>(())
        };
        let Ok(()) = self.pool.each(segments.len() * shape.heads, work);
        [dq, self.sum_groups(shape, dk), self.sum_groups(shape, dv)]
    }

    /// Adds up what the query heads of a group say about the keys or values that they share.
    fn sum_groups(&self, shape: &AttentionShape, by_head: Activations) -> Activations {
        let group = shape.heads / shape.kv_heads;
        if group == 1 {
            return by_head;
        }
        let mut sums = self.take(shape.kv_heads * shape.head_dim, by_head.tokens());
        self.tiles(&mut sums, |t, sums| {
            let head = shape.head_dim * by_head.width(t);
            let groups = by_head.tile(t).chunks_exact(group * head);
            simd::run(|| {
                for (sum, heads) in sums.chunks_exact_mut(head).zip(groups) {
                    sum.copy_from_slice(&heads[..head]);
                    for other in heads[head..].chunks_exact(head) {
                        sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other);
                    }
                }
            });
        });
        sums
    }
}

/// Values of scratch that the backward pass of a segment takes: k, v, dk, dv; then blocks of q, dout, out as rows and
/// q, dout token by token; then scores and their derivatives.
pub(crate) fn backward_scratch(keys: usize, padded: usize) -> [usize; 11] {
    let (all, block, scores) = (keys * padded, padded * TILE, keys * TILE);
    [all, all, all, all, block, block, block, block, block, scores, scores]
}

/// A head's features, rounded up to vectors.
pub(crate) fn padded_head(head_dim: usize) -> usize {
    head_dim.next_multiple_of(matmul::COLUMN_MULTIPLE)
}

/// One head of one segment.
struct Head<'a> {
    shape: &'a AttentionShape,
    index: usize,
    tokens: Range<usize>,
    padded: usize,
}

impl<'a> Head<'a> {
    fn of(shape: &'a AttentionShape, segments: &[Range<usize>], task: usize) -> Self {
        let tokens = segments[task / shape.heads].clone();
        Self { shape, index: task % shape.heads, tokens, padded: padded_head(shape.head_dim) }
    }

    /// The head's features among the queries'.
    fn q_rows(&self) -> Range<usize> {
        self.index * self.shape.head_dim..(self.index + 1) * self.shape.head_dim
    }

    /// The features of the keys and values that it shares with its group.
    fn kv_rows(&self) -> Range<usize> {
        let shared = self.index / (self.shape.heads / self.shape.kv_heads);
        shared * self.shape.head_dim..(shared + 1) * self.shape.head_dim
    }

    /// The segment's queries, 64 at a time.
    fn blocks(&self) -> impl Iterator<Item = Block> + use<> {
        let (segment, shape) = (self.tokens.clone(), *self.shape);
        (0..segment.len()).step_by(TILE).map(move |first| {
            let count = TILE.min(segment.len() - first);
            let seen = shape.visible(first).start..first + count;
            Block { segment: segment.start, first, count, width: width_of(segment.len() - first), seen }
        })
    }

    /// Every seen key, or value, times every query of the block.
    fn times(&self, rows: &[f32], columns: &[f32], result: &mut [f32], block: &Block) {
        let (a, b) = (Rows { data: rows, stride: self.padded }, Rows { data: columns, stride: block.width });
        let dims = (block.seen.len(), block.width, self.shape.head_dim);
        matmul::product(dims, Left::Plain, a, b, RowsMut { data: result, stride: block.width }, Into::Replace);
    }
}

/// Some queries of a segment, and the keys that at least one of them sees.
struct Block {
    segment: usize,
    first: usize,
    count: usize,
    /// `count`, rounded up to vectors.
    width: usize,
    seen: Range<usize>,
}

impl Block {
    /// The queries among the batch's tokens.
    fn tokens(&self) -> Range<usize> {
        self.segment + self.first..self.segment + self.first + self.count
    }

    /// Zeroes what is beyond the last query.
    fn clear_rest(&self, rows: &mut [f32]) {
        if self.count < self.width {
            rows.chunks_exact_mut(self.width).for_each(|row| row[self.count..].fill(0.0));
        }
    }

    /// Hides from each query what it does not see: later keys, and those before its window.
    #[inline(always)]
    fn mask(&self, shape: &AttentionShape, scores: &mut [f32], hidden: f32) {
        for (key, row) in self.seen.clone().zip(scores.chunks_exact_mut(self.width)) {
            let later = key.saturating_sub(self.first).min(self.count);
            row[..later].fill(hidden);
            if let Some(window) = shape.window {
                let gone = (key + window).saturating_sub(self.first).min(self.count);
                row[gone..self.count].fill(hidden);
            }
        }
    }
}

/// Of each query of a block: `1 / Σ exp`, and `log Σ exp` of its scores.
struct Sums {
    inverse: [f32; TILE],
    log: [f32; TILE],
}

/// `cap(scale · score)`
#[inline(always)]
fn scaled(score: f32, scale: f32, soft_cap: Option<f32>) -> f32 {
    match soft_cap {
        Some(cap) => cap * tanh(score * scale / cap),
        None => score * scale,
    }
}

/// Overwrites scores, keys by queries, with exponentials that are not divided by their sum.
#[inline(always)]
fn softmax(shape: &AttentionShape, block: &Block, scores: &mut [f32]) -> Sums {
    let w = block.width;
    scores.iter_mut().for_each(|score| *score = scaled(*score, shape.scale, shape.soft_cap));
    block.mask(shape, scores, f32::NEG_INFINITY);
    let mut greatest = [f32::MIN; TILE];
    for row in scores.chunks_exact(w) {
        (0..w).for_each(|i| greatest[i] = greatest[i].max(row[i]));
    }
    let mut sums = [0.0f32; TILE];
    for row in scores.chunks_exact_mut(w) {
        for i in 0..w {
            row[i] = exp(row[i] - greatest[i]);
            sums[i] += row[i];
        }
    }
    let mut log = [0.0; TILE];
    (0..w).for_each(|i| log[i] = greatest[i] + sums[i].ln());
    Sums { inverse: sums.map(|sum| 1.0 / sum), log }
}

/// `Σ_features a ⊙ b` of each query.
#[inline(always)]
fn row_products(a: &[f32], b: &[f32], w: usize, head_dim: usize) -> [f32; TILE] {
    let mut sums = [0.0; TILE];
    for (a, b) in a.chunks_exact(w).zip(b.chunks_exact(w)).take(head_dim) {
        (0..w).for_each(|i| sums[i] += a[i] * b[i]);
    }
    sums
}

/// Overwrites scores with weights, and `dout·vᵀ` with the derivative by `q·kᵀ`.
#[inline(always)]
fn score_derivatives(
    shape: &AttentionShape,
    block: &Block,
    scores: &mut [f32],
    ds: &mut [f32],
    log: &[f32; TILE],
    along: &[f32; TILE],
) {
    let w = block.width;
    for (scores, ds) in scores.chunks_exact_mut(w).zip(ds.chunks_exact_mut(w)) {
        for i in 0..w {
            let score = scaled(scores[i], shape.scale, shape.soft_cap);
            let slope = shape.soft_cap.map_or(1.0, |cap| 1.0 - (score / cap) * (score / cap));
            scores[i] = exp(score - log[i]);
            ds[i] = scores[i] * (ds[i] - along[i]) * slope * shape.scale;
        }
    }
    block.mask(shape, scores, 0.0);
    block.mask(shape, ds, 0.0);
}

/// Activations that tasks write, each its own features of its own tokens.
struct Target<'a> {
    features: usize,
    tokens: usize,
    values: Shared<'a>,
}

impl<'a> Target<'a> {
    fn new(x: &'a mut Activations) -> Self {
        Self { features: x.features(), tokens: x.tokens(), values: Shared::new(x.values_mut()) }
    }

    /// A run of tokens of one feature, within a tile.
    ///
    /// # Safety
    /// Nobody else touches them while the slice lives.
    unsafe fn run(&self, feature: usize, token: usize, len: usize) -> &'a mut [f32] {
        let first = token / TILE * TILE;
        let start = first * self.features + feature * width_of(self.tokens - first) + token % TILE;
        // SAFETY: passed on to the caller.
        unsafe { self.values.slice(start, len) }
    }

    /// Writes rows of `stride` values, one a feature.
    ///
    /// # Safety
    /// Nobody else writes these features of these tokens.
    unsafe fn write_rows(&self, features: Range<usize>, tokens: Range<usize>, from: &[f32], stride: usize) {
        for (row, feature) in features.enumerate() {
            let mut column = row * stride;
            for (token, len) in Activations::runs(tokens.clone()) {
                // SAFETY: passed on to the caller.
                unsafe { self.run(feature, token, len) }.copy_from_slice(&from[column..column + len]);
                column += len;
            }
        }
    }

    /// Writes rows of `stride` values, one a token.
    ///
    /// # Safety
    /// As for [`Target::write_rows`].
    unsafe fn write_transposed(&self, features: Range<usize>, tokens: Range<usize>, from: &[f32], stride: usize) {
        let first = tokens.start;
        for (token, len) in Activations::runs(tokens) {
            for (column, feature) in features.clone().enumerate() {
                // SAFETY: passed on to the caller.
                let run = unsafe { self.run(feature, token, len) };
                for (i, value) in run.iter_mut().enumerate() {
                    *value = from[(token - first + i) * stride + column];
                }
            }
        }
    }
}
