//! Rotary position embedding, <https://arxiv.org/abs/2104.09864>: `(a, b) → (a·cos - b·sin, b·cos + a·sin)` for the pairs
//! `(i, i + head_dim/2)` of every head.

use super::Fast;
use super::activations::Activations;
use crate::backend::Turn;
use crate::matrix::Matrix;
use crate::simd;

/// Cosines and sines, `head_dim/2` features for each token.
#[derive(Debug)]
pub struct Rotation {
    cos: Activations,
    sin: Activations,
}

impl Rotation {
    pub(super) fn new(fast: &Fast, cos: &Matrix, sin: &Matrix) -> Self {
        let turned = |table: &Matrix| {
            let mut x = fast.zeros(table.columns(), table.rows());
            for (token, row) in table.values().chunks_exact(table.columns()).enumerate() {
                for (feature, value) in row.iter().enumerate() {
                    let at = x.position(feature, token);
                    x.values_mut()[at] = *value;
                }
            }
            x
        };
        Self { cos: turned(cos), sin: turned(sin) }
    }
}

impl Fast {
    pub(super) fn rotate_heads(&self, mut x: Activations, rotation: &Rotation, turn: Turn) -> Activations {
        let sign = if turn == Turn::Forward { 1.0 } else { -1.0 };
        self.tiles(&mut x, |t, x| {
            let (cos, sin) = (rotation.cos.tile(t), rotation.sin.tile(t));
            let half = cos.len();
            simd::run(|| {
                for head in x.chunks_exact_mut(2 * half) {
                    let (a, b) = head.split_at_mut(half);
                    for i in 0..half {
                        let (before, s) = ((a[i], b[i]), sin[i] * sign);
                        a[i] = before.0 * cos[i] - before.1 * s;
                        b[i] = before.1 * cos[i] + before.0 * s;
                    }
                }
            });
        });
        x
    }
}
