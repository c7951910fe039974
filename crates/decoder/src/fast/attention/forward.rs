//! Weights and their sums of values.

use std::ops::Range;

use super::{Block, Head, scaled};
use crate::backend::AttentionShape;
use crate::fast::activations::Activations;
use crate::fast::pool::with_scratch;
use crate::fast::target::Target;
use crate::fast::{Fast, TILE};
use crate::matmul::{self, Left, Rows, RowsMut, Store};
use crate::simd::{self, exp};

impl Fast {
    /// The result, and each query's logarithm of its sum of exponentials.
    pub(in crate::fast) fn attend(
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
                    matmul::product(dims, Left::Transposed, a, b, RowsMut { data: result, stride: w }, Store::Replace);
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
}

/// Of each query of a block: `1 / Σ exp`, and `log Σ exp` of its scores.
struct Sums {
    inverse: [f32; TILE],
    log: [f32; TILE],
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
