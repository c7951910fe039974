//! The derivatives of attention; weights are computed again.

use std::ops::Range;

use super::{Block, Head, scaled};
use crate::backend::{Attended, AttentionShape};
use crate::fast::activations::Activations;
use crate::fast::pool::with_scratch;
use crate::fast::target::Target;
use crate::fast::{Fast, TILE};
use crate::matmul::{self, Left, Rows, RowsMut, Store};
use crate::simd::{self, exp};

impl Fast {
    /// `dq`, `dk`, `dv`
    pub(in crate::fast) fn attend_backward(
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
            with_scratch(scratch(head.tokens.len(), head.padded), |parts| {
                let mut gradients = HeadGradients::new(&head, saw, parts);
                for block in head.blocks() {
                    let dq = gradients.add_block(saw, dout, &block);
                    // SAFETY: each task has a head and tokens of its own.
                    unsafe { to_dq.write_rows(head.q_rows(), block.tokens(), dq, block.width) };
                }
                // SAFETY: as above.
                unsafe {
                    to_dk.write_transposed(head.q_rows(), head.tokens.clone(), gradients.dk, head.padded);
                    to_dv.write_transposed(head.q_rows(), head.tokens.clone(), gradients.dv, head.padded);
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

/// Values of scratch that a segment takes, in the order of [`HeadGradients`].
pub(crate) fn scratch(keys: usize, padded: usize) -> [usize; 11] {
    let (all, block, scores) = (keys * padded, padded * TILE, keys * TILE);
    [all, all, all, all, block, block, block, block, block, scores, scores]
}

/// One head's keys, values and their derivatives, token by token; and room for a block of queries.
struct HeadGradients<'a> {
    head: &'a Head<'a>,
    k: &'a mut [f32],
    v: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    /// Feature by feature.
    q: &'a mut [f32],
    dout: &'a mut [f32],
    /// The result first, then `dq`.
    out: &'a mut [f32],
    /// Token by token.
    q_turned: &'a mut [f32],
    dout_turned: &'a mut [f32],
    scores: &'a mut [f32],
    ds: &'a mut [f32],
}

impl<'a> HeadGradients<'a> {
    fn new(head: &'a Head<'a>, saw: &Attended<'_, Activations>, parts: [&'a mut [f32]; 11]) -> Self {
        let [k, v, dk, dv, q, dout, out, q_turned, dout_turned, scores, ds] = parts;
        saw.k.copy_transposed(head.kv_rows(), head.tokens.clone(), k, head.padded);
        saw.v.copy_transposed(head.kv_rows(), head.tokens.clone(), v, head.padded);
        dk.fill(0.0);
        dv.fill(0.0);
        Self { head, k, v, dk, dv, q, dout, out, q_turned, dout_turned, scores, ds }
    }

    /// Adds a block's share of `dk` and `dv`; its `dq`, feature by feature.
    fn add_block(&mut self, saw: &Attended<'_, Activations>, dout: &Activations, block: &Block) -> &[f32] {
        let (head, shape) = (self.head, self.head.shape);
        let (d, w, seen) = (head.padded, block.width, block.seen.clone());
        copy_block(saw.q, head, block, self.q, self.q_turned);
        copy_block(dout, head, block, self.dout, self.dout_turned);
        saw.out.copy_rows(head.q_rows(), block.tokens(), self.out, w);
        block.clear_rest(self.out);
        let mut log = [0.0; TILE];
        saw.log_sums.copy_rows(head.index..head.index + 1, block.tokens(), &mut log, w);

        let (scores, ds) = (&mut self.scores[..seen.len() * w], &mut self.ds[..seen.len() * w]);
        head.times(&self.k[seen.start * d..], self.q, scores, block);
        head.times(&self.v[seen.start * d..], self.dout, ds, block);
        simd::run(|| {
            let along = row_products(self.dout, self.out, w, shape.head_dim);
            score_derivatives(shape, block, scores, ds, &log, &along);
        });

        let add = |left: &[f32], right: &[f32], sums: &mut [f32]| {
            let (a, b) = (Rows { data: left, stride: w }, Rows { data: right, stride: d });
            let c = RowsMut { data: &mut sums[seen.start * d..], stride: d };
            matmul::product((seen.len(), d, w), Left::Plain, a, b, c, Store::Add);
        };
        add(scores, self.dout_turned, self.dv);
        add(ds, self.q_turned, self.dk);
        let (a, b) = (Rows { data: &self.k[seen.start * d..], stride: d }, Rows { data: ds, stride: w });
        let (dims, c) = ((shape.head_dim, w, seen.len()), RowsMut { data: self.out, stride: w });
        matmul::product(dims, Left::Transposed, a, b, c, Store::Replace);
        self.out
    }
}

/// Copies a block of queries, feature by feature and token by token.
fn copy_block(from: &Activations, head: &Head<'_>, block: &Block, rows: &mut [f32], turned: &mut [f32]) {
    from.copy_rows(head.q_rows(), block.tokens(), rows, block.width);
    block.clear_rest(rows);
    turned.fill(0.0);
    from.copy_transposed(head.q_rows(), block.tokens(), turned, head.padded);
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
