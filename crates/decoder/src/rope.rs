//! Rotary position embedding, <https://arxiv.org/abs/2104.09864>: the angles; the turning is [`Backend::rotate`].
//!
//! `angle(position, i) = position / (theta^(2i/head_dim) · factors[i])`, in f32 as transformers computes it: at large
//! positions the rounding of an angle is larger than what follows from it.

use std::ops::Range;

use model::architecture::Rope;

use crate::backend::Backend;
use crate::error::Result;
use crate::matrix::Matrix;

/// The different rotations of a model: layers share them.
#[derive(Debug, Default)]
pub(crate) struct Ropes {
    ropes: Vec<(Rope, usize)>,
}

impl Ropes {
    /// The index of a rotation; layers of equal parameters get the same.
    pub(crate) fn index(&mut self, rope: &Rope, head_dim: usize) -> usize {
        let known = self.ropes.iter().position(|(other, dim)| other == rope && *dim == head_dim);
        known.unwrap_or_else(|| {
            self.ropes.push((rope.clone(), head_dim));
            self.ropes.len() - 1
        })
    }

    /// Sines and cosines for every token of these segments.
    pub(crate) fn rotations<B: Backend>(&self, backend: &B, segments: &[Range<usize>]) -> Result<Vec<B::Rotation>> {
        let of = |(rope, head_dim): &(Rope, usize)| {
            let (cos, sin) = tables(rope, *head_dim, segments);
            backend.rotation(cos, sin)
        };
        self.ropes.iter().map(of).collect()
    }
}

/// Radians per position for each pair.
fn frequencies(rope: &Rope, head_dim: usize) -> Vec<f32> {
    let frequency = |i: usize| {
        // A power correctly rounded, then a division, as f32 arithmetic would have it.
        let power = f64::from(rope.theta).powf((2 * i) as f64 / head_dim as f64) as f32;
        1.0 / power / rope.factors.get(i).copied().unwrap_or(1.0)
    };
    (0..head_dim / 2).map(frequency).collect()
}

/// Cosines and sines, `(tokens, head_dim / 2)`.
fn tables(rope: &Rope, head_dim: usize, segments: &[Range<usize>]) -> (Matrix, Matrix) {
    let frequencies = frequencies(rope, head_dim);
    let tokens = segments.iter().map(|range| range.end).max().unwrap_or(0);
    let (mut cos, mut sin) = (Matrix::zeros(tokens, head_dim / 2), Matrix::zeros(tokens, head_dim / 2));
    for (position, token) in segments.iter().flat_map(|range| range.clone().enumerate()) {
        let row = token * (head_dim / 2);
        for (i, frequency) in frequencies.iter().enumerate() {
            let (s, c) = (position as f32 * frequency).sin_cos();
            cos.values_mut()[row + i] = c * rope.attention_factor;
            sin.values_mut()[row + i] = s * rope.attention_factor;
        }
    }
    (cos, sin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_begin_anew_in_each_segment_and_layers_share() {
        let rope = Rope { theta: 10000.0, factors: vec![1.0, 4.0], attention_factor: 1.0 };
        let (cos, sin) = tables(&rope, 4, &[0..3, 3..5]);
        assert_eq!(cos.values()[..2], cos.values()[6..8]);
        assert!((sin.values()[2 * 2] - 2f32.sin()).abs() < 1e-7);
        assert!((sin.values()[2 * 2 + 1] - (2.0f32 / 100.0 / 4.0).sin()).abs() < 1e-7);
        let mut ropes = Ropes::default();
        assert_eq!((ropes.index(&rope, 4), ropes.index(&rope, 8), ropes.index(&rope.clone(), 4)), (0, 1, 0));
    }
}
