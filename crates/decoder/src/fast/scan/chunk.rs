//! What a chunk's products are made of.

use std::ops::Range;

use super::PerToken;
use crate::fast::TILE;
use crate::fast::activations::{Activations, width_of};
use crate::matmul::{self, Left, Rows, RowsMut, Store};
use crate::simd::{exp, sigmoid};
use crate::state_space::{ScanShape, ScanWeights};

/// Tokens of a chunk.
pub(super) struct Chunk {
    pub(super) tokens: Range<usize>,
    /// Their number, rounded up to vectors.
    pub(super) width: usize,
}

impl Chunk {
    pub(super) fn new(tokens: Range<usize>) -> Self {
        let width = width_of(tokens.len());
        Self { tokens, width }
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Copies features as rows of [`TILE`] values; what is beyond the last token is zero.
    pub(super) fn rows(&self, from: &Activations, features: Range<usize>, into: &mut [f32]) {
        from.copy_rows(features, self.tokens.clone(), into, TILE);
        if self.len() < TILE {
            into.chunks_exact_mut(TILE).for_each(|row| row[self.len()..].fill(0.0));
        }
    }

    /// Copies features token by token, in rows of `stride` values.
    pub(super) fn turned(&self, from: &Activations, features: Range<usize>, into: &mut [f32], stride: usize) {
        into.fill(0.0);
        from.copy_transposed(features, self.tokens.clone(), into, stride);
    }
}

/// A head's steps in a chunk.
pub(super) struct Steps {
    /// `Δ`; 0 beyond the last token.
    pub(super) delta: PerToken,
    /// `dΔ/ddt`
    pub(super) slope: PerToken,
    /// The running sum of `Δ·A`; the last one's beyond the last token.
    pub(super) sums: PerToken,
    /// `e^{s_last}`
    pub(super) whole: f32,
}

impl Steps {
    pub(super) fn new(
        shape: &ScanShape,
        weights: &ScanWeights<Vec<f32>>,
        head: usize,
        dt: &Activations,
        chunk: &Chunk,
    ) -> Self {
        let mut raw = [0.0; TILE];
        dt.copy_rows(head..head + 1, chunk.tokens.clone(), &mut raw, TILE);
        let (mut delta, mut slope, mut sums, mut sum) = ([0.0; TILE], [0.0; TILE], [0.0; TILE], 0.0);
        for (i, raw) in raw.iter().enumerate().take(chunk.len()) {
            (delta[i], slope[i]) = step(raw + weights.dt_bias[head], shape.time_step);
            sum += delta[i] * weights.a[head];
            sums[i] = sum;
        }
        sums[chunk.len()..].fill(sum);
        Self { delta, slope, sums, whole: exp(sum) }
    }

    /// `e^{s_t}`
    #[inline(always)]
    pub(super) fn since_start(&self) -> PerToken {
        self.sums.map(exp)
    }

    /// `e^{s_last - s_j}`
    #[inline(always)]
    pub(super) fn to_end(&self) -> PerToken {
        let last = self.sums[TILE - 1];
        self.sums.map(|sum| exp(last - sum))
    }
}

/// `clamp(softplus(x))` and its derivative.
fn step(x: f32, (least, greatest): (f32, f32)) -> (f32, f32) {
    // Beyond 20 an f32 holds no difference between the two.
    let softplus = if x > 20.0 { x } else { x.exp().ln_1p() };
    if softplus < least {
        (least, 0.0)
    } else if softplus > greatest {
        (greatest, 0.0)
    } else {
        (softplus, sigmoid(x))
    }
}

/// Multiplies every row by one factor a token.
#[inline(always)]
pub(super) fn scale_tokens(rows: &mut [f32], factors: &PerToken) {
    for row in rows.chunks_exact_mut(TILE) {
        row.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
    }
}

/// An operand, and the distance of its rows.
pub(super) type Operand<'a> = (&'a [f32], usize);

/// A result, and the distance of its rows.
pub(super) type Output<'a> = (&'a mut [f32], usize);

/// `C (m × n) = A·B`, or added to it.
pub(super) fn product(dims: (usize, usize, usize), a: Operand<'_>, b: Operand<'_>, c: Output<'_>, store: Store) {
    let (rows, c) = (|(data, stride)| Rows { data, stride }, RowsMut { data: c.0, stride: c.1 });
    matmul::product(dims, Left::Plain, rows(a), rows(b), c, store);
}

/// `C (m × n) = Aᵀ·B`, or added to it.
pub(super) fn product_turned(dims: (usize, usize, usize), a: Operand<'_>, b: Operand<'_>, c: Output<'_>, store: Store) {
    let (rows, c) = (|(data, stride)| Rows { data, stride }, RowsMut { data: c.0, stride: c.1 });
    matmul::product(dims, Left::Transposed, rows(a), rows(b), c, store);
}

#[cfg(test)]
mod tests {
    use super::step;

    #[test]
    fn steps_are_softplus_within_bounds() {
        for x in [-30.0f32, -3.0, 0.0, 0.5, 19.0, 25.0] {
            let (value, slope) = step(x, (0.0, f32::INFINITY));
            let exact = f64::from(x).exp().ln_1p();
            assert!((f64::from(value) - exact).abs() <= 1e-6 * exact, "softplus({x}) = {value}");
            assert!((f64::from(slope) - 1.0 / (1.0 + (-f64::from(x)).exp())).abs() < 1e-6);
        }
        assert_eq!(step(-3.0, (0.1, 2.0)), (0.1, 0.0));
        assert_eq!(step(3.0, (0.1, 2.0)), (2.0, 0.0));
    }
}
