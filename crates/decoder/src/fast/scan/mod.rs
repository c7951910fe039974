//! The scan of Mamba-2 by chunks of 64 tokens, <https://arxiv.org/abs/2405.21060> (section 6).
//!
//! Within a chunk, with `s` the running sum of `Δ·A` and `S` the state before it,
//! `y_t = e^{s_t}·S·C_t + Σ_{j ≤ t} e^{s_t - s_j}·(B_j·C_t)·Δ_j·x_j + D·x_t`, and the next chunk begins with
//! `e^{s_last}·S + Σ_j e^{s_last - s_j}·Δ_j·x_j·B_jᵀ`: matrix products, for which tokens lie side by side. Only states
//! between chunks are kept. Chunks begin with their sequence, so nothing depends on the rest of the batch.
//!
//! A task is some heads of one group in one sequence: they share `B_j·C_t`.

mod backward;
mod chunk;
mod forward;

use std::ops::Range;

use super::TILE;
use crate::matmul;
use crate::state_space::ScanShape;

pub(crate) use backward::scratch as backward_scratch;
pub(crate) use forward::scratch as forward_scratch;

/// Heads of a task, at most. Part of the result: what they say about B and C is summed task by task.
const HEADS: usize = 4;

/// One value a token of a chunk.
type PerToken = [f32; TILE];

/// Columns of a state as they are held: rounded up to vectors.
pub(crate) fn padded_state(shape: &ScanShape) -> usize {
    shape.state_size.next_multiple_of(matmul::COLUMN_MULTIPLE)
}

/// Values of a head's state.
pub(crate) fn state_len(shape: &ScanShape) -> usize {
    shape.head_dim * padded_state(shape)
}

/// Values of all states that lie between two chunks.
pub(crate) fn kept_states(shape: &ScanShape, segments: &[Range<usize>]) -> usize {
    segments.iter().map(|segment| borders(segment) * shape.heads * state_len(shape)).sum()
}

/// Tasks of a sequence.
pub(crate) fn parts(shape: &ScanShape) -> usize {
    shape.groups * parts_of_group(shape)
}

fn parts_of_group(shape: &ScanShape) -> usize {
    (shape.heads / shape.groups).div_ceil(HEADS)
}

/// Places between two chunks of a sequence.
fn borders(segment: &Range<usize>) -> usize {
    segment.len().div_ceil(TILE).saturating_sub(1)
}

/// Some heads of one group in one sequence.
struct Part<'a> {
    shape: &'a ScanShape,
    /// Among the parts of its sequence.
    index: usize,
    group: usize,
    heads: Range<usize>,
    tokens: Range<usize>,
    /// Where the states of its sequence begin.
    states: usize,
}

impl<'a> Part<'a> {
    fn of(shape: &'a ScanShape, segments: &[Range<usize>], task: usize) -> Self {
        let (segment, index) = (task / parts(shape), task % parts(shape));
        let (group, part) = (index / parts_of_group(shape), index % parts_of_group(shape));
        let (in_group, first) = (shape.heads / shape.groups, group * (shape.heads / shape.groups));
        let heads = first + part * HEADS..first + in_group.min((part + 1) * HEADS);
        let states = kept_states(shape, &segments[..segment]);
        Self { shape, index, group, heads, tokens: segments[segment].clone(), states }
    }

    fn chunks(&self) -> usize {
        borders(&self.tokens) + 1
    }

    /// The tokens of a chunk.
    fn chunk(&self, chunk: usize) -> Range<usize> {
        let start = self.tokens.start + chunk * TILE;
        start..self.tokens.end.min(start + TILE)
    }

    /// Where the state of `head` before a chunk lies among all that are kept; before the first it is zero.
    fn state_before(&self, chunk: usize, head: usize) -> Option<usize> {
        let border = chunk.checked_sub(1)?;
        Some(self.states + (border * self.shape.heads + head) * state_len(self.shape))
    }

    fn x_rows(&self, head: usize) -> Range<usize> {
        head * self.shape.head_dim..(head + 1) * self.shape.head_dim
    }

    fn b_rows(&self) -> Range<usize> {
        let start = self.shape.inner() + self.group * self.shape.state_size;
        start..start + self.shape.state_size
    }

    fn c_rows(&self) -> Range<usize> {
        let b = self.b_rows();
        let further = self.shape.groups * self.shape.state_size;
        b.start + further..b.end + further
    }
}
