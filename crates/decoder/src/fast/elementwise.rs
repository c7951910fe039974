//! What works value by value: sums, gates, masks, and moving features.

use model::architecture::Activation;

use super::Fast;
use super::TILE;
use super::activations::Activations;
use crate::random::{self, Mask};
use crate::simd::{self, sigmoid, tanh};

impl Fast {
    /// `onto + scale · x`
    pub(super) fn add_scaled(&self, mut onto: Activations, x: &Activations, scale: f32) -> Activations {
        self.tiles(&mut onto, |t, onto| {
            let x = x.tile(t);
            simd::run(|| onto.iter_mut().zip(x).for_each(|(y, x)| *y += scale * x));
        });
        onto
    }

    /// `scale · x`
    pub(super) fn scaled(&self, x: &Activations, scale: f32) -> Activations {
        let mut y = self.take(x.features(), x.tokens());
        self.tiles(&mut y, |t, y| {
            let x = x.tile(t);
            simd::run(|| y.iter_mut().zip(x).for_each(|(y, x)| *y = scale * x));
        });
        y
    }

    /// `x + bias`
    pub(super) fn biased(&self, mut x: Activations, bias: &[f32]) -> Activations {
        self.tiles(&mut x, |_, x| {
            let width = x.len() / bias.len();
            for (row, bias) in x.chunks_exact_mut(width).zip(bias) {
                simd::run(|| row.iter_mut().for_each(|value| *value += bias));
            }
        });
        x
    }

    /// `mask ⊙ x`
    pub(super) fn masked(&self, x: &Activations, mask: &Mask) -> Activations {
        let mut y = self.take(x.features(), x.tokens());
        self.tiles(&mut y, |t, y| {
            let (x, width) = (x.tile(t), x.width(t));
            let mut keys = [(0, 0); TILE];
            let own = &mask.keys[t * TILE..mask.keys.len().min((t + 1) * TILE)];
            keys[..own.len()].copy_from_slice(own);
            simd::run(|| {
                for (feature, (x, y)) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).enumerate() {
                    for i in 0..width {
                        let survives = random::bits(keys[i], feature as u32) >= mask.threshold;
                        y[i] = if survives { x[i] * mask.scale } else { 0.0 };
                    }
                }
            });
        });
        y
    }

    /// `act(gate) ⊙ up`
    pub(super) fn gated(&self, gate: &Activations, up: &Activations, activation: Activation) -> Activations {
        let mut y = self.take(gate.features(), gate.tokens());
        self.tiles(&mut y, |t, y| {
            let (gate, up) = (gate.tile(t), up.tile(t));
            simd::run(|| match activation {
                Activation::Silu => (0..y.len()).for_each(|i| y[i] = silu(gate[i]).0 * up[i]),
                Activation::GeluTanh => (0..y.len()).for_each(|i| y[i] = gelu_tanh(gate[i]).0 * up[i]),
            });
        });
        y
    }

    /// `dgate = dy ⊙ up ⊙ act'(gate)` and `dup = dy ⊙ act(gate)`, in the memory of gate and up.
    pub(super) fn gated_backward(
        &self,
        mut gate: Activations,
        mut up: Activations,
        activation: Activation,
        dy: &Activations,
    ) -> (Activations, Activations) {
        let len = TILE * gate.features().max(1);
        self.pool.chunk_pairs((gate.values_mut(), up.values_mut()), len, |t, gate, up| {
            let dy = dy.tile(t);
            simd::run(|| match activation {
                Activation::Silu => gate_derivatives(gate, up, dy, silu),
                Activation::GeluTanh => gate_derivatives(gate, up, dy, gelu_tanh),
            });
        });
        (gate, up)
    }

    /// The first `at` features, and the rest.
    pub(super) fn split_features(&self, x: &Activations, at: usize) -> (Activations, Activations) {
        let (mut first, mut rest) = (self.take(at, x.tokens()), self.take(x.features() - at, x.tokens()));
        self.tiles(&mut first, |t, first| first.copy_from_slice(&x.tile(t)[..first.len()]));
        self.tiles(&mut rest, |t, rest| rest.copy_from_slice(&x.tile(t)[at * x.width(t)..]));
        (first, rest)
    }

    /// Features of `a`, then those of `b`.
    pub(super) fn concat_features(&self, a: &Activations, b: &Activations) -> Activations {
        let mut y = self.take(a.features() + b.features(), a.tokens());
        self.tiles(&mut y, |t, y| {
            let (first, rest) = y.split_at_mut(a.tile(t).len());
            first.copy_from_slice(a.tile(t));
            rest.copy_from_slice(b.tile(t));
        });
        y
    }
}

#[inline(always)]
fn gate_derivatives(gate: &mut [f32], up: &mut [f32], dy: &[f32], act: impl Fn(f32) -> (f32, f32)) {
    for ((gate, up), dy) in gate.iter_mut().zip(up).zip(dy) {
        let (value, slope) = act(*gate);
        *gate = dy * *up * slope;
        *up = dy * value;
    }
}

/// `x · σ(x)` and its derivative `σ(x) · (1 + x · (1 - σ(x)))`.
#[inline(always)]
pub(super) fn silu(x: f32) -> (f32, f32) {
    let s = sigmoid(x);
    (x * s, s * (1.0 + x * (1.0 - s)))
}

/// `x/2 · (1 + tanh(u))` with `u = √(2/π) · (x + 0.044715·x³)`, and its derivative.
#[inline(always)]
fn gelu_tanh(x: f32) -> (f32, f32) {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    const CUBIC: f32 = 0.044_715;
    let t = tanh(SQRT_2_OVER_PI * (x + CUBIC * x * x * x));
    let slope = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
    (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope)
}
