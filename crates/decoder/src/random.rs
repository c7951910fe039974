//! Random numbers by counter: a value depends on seed, step, sample, module and element alone, so it is the same
//! whatever the batch looks like, however many threads run, and however often it is asked for.

use crate::matrix::Matrix;

/// One round of SplitMix64's output function, <https://doi.org/10.1145/2714064.2660195>.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A key made of counters, in order.
pub(crate) fn key(counters: &[u64]) -> u64 {
    counters.iter().fold(0x9E37_79B9_7F4A_7C15, |key, counter| mix(key.wrapping_add(mix(*counter))))
}

/// 32 random bits for `feature` of the token whose key is given; cheap on vectors of tokens.
#[inline(always)]
pub(crate) fn bits(key: (u32, u32), feature: u32) -> u32 {
    let mut x = key.0 ^ feature.wrapping_mul(0x9E37_79B9);
    x = (x ^ (x >> 16)).wrapping_mul(0x85EB_CA6B).wrapping_add(key.1);
    x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
    x ^ (x >> 16)
}

/// `rows × columns` values, uniform in ±`bound`.
pub(crate) fn uniform(rows: usize, columns: usize, bound: f32, counters: &[u64]) -> Matrix {
    let base = key(counters);
    let mut matrix = Matrix::zeros(rows, columns);
    for (i, value) in matrix.values_mut().iter_mut().enumerate() {
        // 24 bits fill an f32's mantissa; half a step keeps the mean at zero.
        let unit = ((mix(base.wrapping_add(i as u64)) >> 40) as f32 + 0.5) / (1 << 24) as f32;
        *value = bound * (2.0 * unit - 1.0);
    }
    matrix
}

/// What a step drops.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// The share of an adapter's inputs that are dropped, in `[0, 1)`.
    pub probability: f32,
    /// The run's seed.
    pub seed: u64,
    /// The optimizer step.
    pub step: u64,
}

/// One module's mask over the batch: an input survives and is divided by `1 - probability`, or is 0.
#[derive(Debug, Clone)]
pub struct Mask {
    /// Random bits at or above this survive.
    pub(crate) threshold: u32,
    /// `1 / (1 - probability)`
    pub(crate) scale: f32,
    /// One key a token.
    pub(crate) keys: Vec<(u32, u32)>,
}

impl Dropout {
    /// The mask of module number `module` for tokens given as (sample, position in it).
    pub(crate) fn mask(&self, module: u64, tokens: impl Iterator<Item = (u64, u64)>) -> Mask {
        let base = key(&[self.seed, self.step, module]);
        let split = |key: u64| ((key >> 32) as u32, key as u32);
        Mask {
            threshold: (f64::from(self.probability) * f64::from(u32::MAX)) as u32,
            scale: 1.0 / (1.0 - self.probability),
            keys: tokens.map(|(sample, position)| split(key(&[base, sample, position]))).collect(),
        }
    }
}

impl Mask {
    /// The factor of `feature` of `token`: 0, or more than 1.
    pub(crate) fn factor(&self, token: usize, feature: usize) -> f32 {
        if bits(self.keys[token], feature as u32) >= self.threshold { self.scale } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_fills_its_range_evenly() {
        let m = uniform(100, 100, 0.5, &[1, 2]);
        let mean = m.values().iter().sum::<f32>() / 1e4;
        let variance = m.values().iter().map(|x| x * x).sum::<f32>() / 1e4;
        assert!(mean.abs() < 0.01 && (variance - 0.25 / 3.0).abs() < 0.003, "{mean} {variance}");
        assert!(m.values().iter().all(|x| x.abs() < 0.5));
        assert_ne!(m, uniform(100, 100, 0.5, &[1, 3]));
    }

    #[test]
    fn a_mask_depends_on_sample_and_position_not_on_the_batch() {
        let dropout = Dropout { probability: 0.1, seed: 7, step: 3 };
        let alone = dropout.mask(5, (0..50).map(|p| (9, p)));
        let packed = dropout.mask(5, (0..30).map(|p| (4, p)).chain((0..50).map(|p| (9, p))));
        let mut dropped = 0;
        for token in 0..50 {
            for feature in 0..200 {
                assert_eq!(alone.factor(token, feature), packed.factor(token + 30, feature));
                dropped += usize::from(alone.factor(token, feature) == 0.0);
            }
        }
        assert!((800..1200).contains(&dropped), "{dropped} of 10000 dropped");
        let other = dropout.mask(6, (0..50).map(|p| (9, p)));
        assert!((0..200).any(|f| alone.factor(0, f) != other.factor(0, f)));
    }
}
