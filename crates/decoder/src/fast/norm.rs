//! RMSNorm, <https://arxiv.org/abs/1910.07467>, on vectors of tokens.
//!
//! With `r = 1 / sqrt(mean(x²) + eps)`: `y = r · x ⊙ w`, and `dx = r · (dy ⊙ w) - x · r³ · mean(x ⊙ dy ⊙ w)`.

use super::activations::Activations;
use super::{Fast, TILE};
use crate::backend::NormWeights;
use crate::simd;

/// Features whose squares are summed before they join the total: shorter sums round less.
const BLOCK: usize = 64;

impl Fast {
    pub(super) fn rms_norm(&self, x: &Activations, norm: &NormWeights<Vec<f32>>) -> Activations {
        let mut y = self.take(x.features(), x.tokens());
        self.tiles(&mut y, |t, y| {
            let width = x.width(t);
            let group = norm.features * width;
            simd::run(|| {
                let weights = norm.weight.chunks_exact(norm.features).cycle();
                for ((x, y), weights) in x.tile(t).chunks_exact(group).zip(y.chunks_exact_mut(group)).zip(weights) {
                    let inverse = inverse_rms(x, width, norm.eps);
                    for ((x, y), w) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(weights) {
                        for i in 0..width {
                            y[i] = x[i] * inverse[i] * w;
                        }
                    }
                }
            });
        });
        y
    }

    pub(super) fn rms_norm_backward(
        &self,
        x: &Activations,
        norm: &NormWeights<Vec<f32>>,
        mut dy: Activations,
    ) -> Activations {
        self.tiles(&mut dy, |t, dy| {
            let width = x.width(t);
            let group = norm.features * width;
            simd::run(|| {
                let weights = norm.weight.chunks_exact(norm.features).cycle();
                for ((x, dy), weights) in x.tile(t).chunks_exact(group).zip(dy.chunks_exact_mut(group)).zip(weights) {
                    derivative(x, dy, width, (weights, norm.eps));
                }
            });
        });
        dy
    }
}

/// Overwrites `dy` with `dx`.
#[inline(always)]
fn derivative(x: &[f32], dy: &mut [f32], width: usize, (weights, eps): (&[f32], f32)) {
    let inverse = inverse_rms(x, width, eps);
    let mut along = [0.0; TILE];
    let blocks = x.chunks(BLOCK * width).zip(dy.chunks(BLOCK * width)).zip(weights.chunks(BLOCK));
    for ((x, dy), weight) in blocks {
        let mut sum = [0.0; TILE];
        for ((x, dy), w) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(weight) {
            for i in 0..width {
                sum[i] += x[i] * dy[i] * w;
            }
        }
        for i in 0..width {
            along[i] += sum[i];
        }
    }
    for i in 0..width {
        along[i] *= inverse[i] * inverse[i] * inverse[i] / weights.len() as f32;
    }
    for ((x, dy), w) in x.chunks_exact(width).zip(dy.chunks_exact_mut(width)).zip(weights) {
        for i in 0..width {
            dy[i] = inverse[i] * dy[i] * w - x[i] * along[i];
        }
    }
}

/// `1 / sqrt(mean(x²) + eps)` of each token; rows of `x` are features.
#[inline(always)]
fn inverse_rms(x: &[f32], width: usize, eps: f32) -> [f32; TILE] {
    let features = x.len() / width;
    let mut total = [0.0; TILE];
    for block in x.chunks(BLOCK * width) {
        let mut sum = [0.0; TILE];
        for x in block.chunks_exact(width) {
            for i in 0..width {
                sum[i] += x[i] * x[i];
            }
        }
        for i in 0..width {
            total[i] += sum[i];
        }
    }
    for value in &mut total[..width] {
        *value = 1.0 / (*value / features as f32 + eps).sqrt();
    }
    total
}
