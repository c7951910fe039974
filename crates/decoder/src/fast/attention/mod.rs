//! Causal attention by blocks of 64 queries, <https://arxiv.org/abs/2205.14135>.
//!
//! A task is one head of one segment. Scores lie with keys as rows and queries side by side, so that a softmax is
//! vector arithmetic down the keys; they exist for one block of queries at a time. With `p` the weights, `D = Σ dout·out`:
//! `dv = pᵀ·dout`, `ds = p ⊙ (dout·vᵀ - D)`, `dq = scale · ds·k`, `dk = scale · dsᵀ·q`.

mod backward;
mod forward;

use std::ops::Range;

use super::TILE;
use super::activations::width_of;
use crate::backend::AttentionShape;
use crate::matmul::{self, Left, Rows, RowsMut, Store};
use crate::simd::tanh;

pub(crate) use backward::scratch as backward_scratch;

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
        matmul::product(dims, Left::Plain, a, b, RowsMut { data: result, stride: block.width }, Store::Replace);
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

/// `cap(scale · score)`
#[inline(always)]
fn scaled(score: f32, scale: f32, soft_cap: Option<f32>) -> f32 {
    match soft_cap {
        Some(cap) => cap * tanh(score * scale / cap),
        None => score * scale,
    }
}
