//! A causal convolution along tokens, one filter a channel, then SiLU.
//!
//! Every token sums its filter in the same order. Near an end of its sequence the terms that lie outside are left out,
//! so nothing of a neighbour in the batch comes in, not even as a zero.

use std::ops::Range;

use super::activations::Activations;
use super::elementwise::silu;
use super::{Fast, TILE};
use crate::simd;
use crate::state_space::ConvWeights;

/// Tokens before, or after, each token that belong to its sequence and that the filter reaches.
struct Reach {
    of_tokens: Vec<usize>,
    most: usize,
}

impl Reach {
    fn before(segments: &[Range<usize>], conv: &ConvWeights<Vec<f32>>) -> Self {
        let most = conv.kernel_size - 1;
        Self { of_tokens: segments.iter().flat_map(|s| (0..s.len()).map(move |i| i.min(most))).collect(), most }
    }

    fn after(segments: &[Range<usize>], conv: &ConvWeights<Vec<f32>>) -> Self {
        let most = conv.kernel_size - 1;
        Self { of_tokens: segments.iter().flat_map(|s| (0..s.len()).rev().map(move |i| i.min(most))).collect(), most }
    }

    /// Tokens of tile `t` that reach less far than the filter: (place in the tile, reach).
    fn short(&self, t: usize) -> Vec<(usize, usize)> {
        let own = self.of_tokens.iter().copied().skip(t * TILE).take(TILE).enumerate();
        own.filter(|(_, reach)| *reach < self.most).collect()
    }
}

impl Fast {
    /// `silu(conv(x))`
    pub(super) fn convolved(
        &self,
        x: &Activations,
        conv: &ConvWeights<Vec<f32>>,
        segments: &[Range<usize>],
    ) -> Activations {
        let mut y = self.take(x.features(), x.tokens());
        let reach = Reach::before(segments, conv);
        self.tiles(&mut y, |t, y| {
            let (short, width) = (reach.short(t), x.width(t));
            simd::run(|| {
                for (channel, row) in y.chunks_exact_mut(width).enumerate() {
                    filter(x, conv, (t, channel), &short, row);
                    row.iter_mut().for_each(|value| *value = silu(*value).0);
                }
            });
        });
        y
    }

    /// The derivative of [`Fast::convolved`] at `x`.
    pub(super) fn convolved_backward(
        &self,
        x: &Activations,
        conv: &ConvWeights<Vec<f32>>,
        segments: &[Range<usize>],
        mut dy: Activations,
    ) -> Activations {
        let (before, after) = (Reach::before(segments, conv), Reach::after(segments, conv));
        self.tiles(&mut dy, |t, dy| {
            let (short, width) = (before.short(t), x.width(t));
            simd::run(|| {
                let mut value = [0.0; TILE];
                for (channel, dy) in dy.chunks_exact_mut(width).enumerate() {
                    filter(x, conv, (t, channel), &short, &mut value[..width]);
                    dy.iter_mut().zip(&value).for_each(|(dy, value)| *dy *= silu(*value).1);
                }
            });
        });
        let mut dx = self.take(x.features(), x.tokens());
        self.tiles(&mut dx, |t, dx| {
            let (short, width) = (after.short(t), x.width(t));
            simd::run(|| {
                for (channel, dx) in dx.chunks_exact_mut(width).enumerate() {
                    filter_back(&dy, conv, (t, channel), &short, dx);
                }
            });
        });
        dx
    }
}

/// The filter's sums for one channel of tile `t`.
#[inline(always)]
fn filter(
    x: &Activations,
    conv: &ConvWeights<Vec<f32>>,
    (t, channel): (usize, usize),
    short: &[(usize, usize)],
    sums: &mut [f32],
) {
    let (width, past) = (sums.len(), conv.kernel_size - 1);
    let weights = &conv.weight[channel * conv.kernel_size..][..conv.kernel_size];
    let bias = conv.bias.as_ref().map_or(0.0, |bias| bias[channel]);
    let mut seen = [0.0; 2 * TILE];
    if t > 0 {
        let end = x.position(channel, t * TILE - 1) + 1;
        seen[..past].copy_from_slice(&x.values()[end - past..end]);
    }
    seen[past..past + width].copy_from_slice(&x.tile(t)[channel * width..][..width]);
    sums.fill(bias);
    for (k, weight) in weights.iter().enumerate() {
        (0..width).for_each(|i| sums[i] += weight * seen[i + k]);
    }
    for (i, reach) in short {
        sums[*i] = (past - reach..=past).fold(bias, |sum, k| sum + weights[k] * seen[i + k]);
    }
}

/// The derivative by one channel of tile `t` of the filter's input, given that by its sums.
#[inline(always)]
fn filter_back(
    dsums: &Activations,
    conv: &ConvWeights<Vec<f32>>,
    (t, channel): (usize, usize),
    short: &[(usize, usize)],
    dx: &mut [f32],
) {
    let (width, future) = (dx.len(), conv.kernel_size - 1);
    let weights = &conv.weight[channel * conv.kernel_size..][..conv.kernel_size];
    let mut seen = [0.0; 2 * TILE];
    seen[..width].copy_from_slice(&dsums.tile(t)[channel * width..][..width]);
    if t + 1 < dsums.tiles() {
        let (start, count) = (dsums.position(channel, (t + 1) * TILE), future.min(dsums.width(t + 1)));
        seen[width..width + count].copy_from_slice(&dsums.values()[start..start + count]);
    }
    dx.fill(0.0);
    for (ahead, weight) in weights.iter().rev().enumerate() {
        (0..width).for_each(|i| dx[i] += weight * seen[i + ahead]);
    }
    for (i, reach) in short {
        dx[*i] = (0..=*reach).fold(0.0, |sum, ahead| sum + weights[future - ahead] * seen[i + ahead]);
    }
}
