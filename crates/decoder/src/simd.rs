//! Instruction sets, chosen at run time.
//!
//! Element-wise loops are plain Rust: [`Isa::run`] compiles the same closure once for each set, and the compiler
//! vectorizes it with wider registers. Rust never contracts a product and a sum, so these loops give the same bits on
//! every set. Only the matrix product uses intrinsics ([`crate::matmul`]).

use std::sync::OnceLock;

/// An instruction set that this CPU has. Only [`Isa::available`] makes one, so holding one is the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(pub(crate) Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// What this CPU has, the best last.
    pub fn available() -> Vec<Isa> {
        let mut sets = vec![Isa(Set::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 {
                sets.push(Isa(Set::Avx2));
            }
            let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
            if avx2 && avx512 && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512dq") {
                sets.push(Isa(Set::Avx512));
            }
        }
        sets
    }

    /// The best set of this CPU.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Isa::available().pop().unwrap_or(Isa(Set::Portable)))
    }

    /// The name for logs and lineage.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
        }
    }

    /// Runs `body` compiled for this set.
    #[inline(always)]
    pub(crate) fn run<R>(self, body: impl FnOnce() -> R) -> R {
        match self.0 {
            Set::Portable => body(),
            // SAFETY: an `Isa` exists only where this CPU has its instructions.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { with_avx2(body) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { with_avx512(body) },
        }
    }
}

/// Runs `body` compiled for the best set of this CPU.
#[inline(always)]
pub(crate) fn run<R>(body: impl FnOnce() -> R) -> R {
    Isa::best().run(body)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<R>(body: impl FnOnce() -> R) -> R {
    body()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
fn with_avx512<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// `eˣ` to 2 ulp for `x` in [-87, 88]; 0 below, so that a score of -∞ has no weight.
///
/// `eˣ = 2ⁿ · eʳ` with `n = round(x / ln 2)` and a polynomial for `eʳ`, |r| ≤ ln 2 / 2 (Cephes' coefficients).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 · 2²³ rounds to the nearest integer, and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let power = p * (r * r) + r + 1.0;
    let two_to_n = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.0 { 0.0 } else { power * two_to_n }
}

/// `1 / (1 + e⁻ˣ)`
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `tanh(x) = 1 - 2 / (e²ˣ + 1)`, and near zero its series, for there the difference has lost the digits that a large cap
/// multiplies: to 1e-6 of the value.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    const NEAR: f32 = 0.25;
    let square = x * x;
    let series =
        x * (1.0 + square * (-1.0 / 3.0 + square * (2.0 / 15.0 + square * (-17.0 / 315.0 + square * (62.0 / 2835.0)))));
    let far = 1.0 - 2.0 / (exp((2.0 * x).min(40.0)) + 1.0);
    if x.abs() < NEAR { series } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_to_a_few_ulp_and_zero_far_below() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let want = f64::from(x).exp();
            let got = f64::from(exp(x));
            assert!((got - want).abs() <= 2.5e-7 * want, "exp({x}) = {got}, expected {want}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_and_sigmoid_keep_their_limits() {
        for i in -600..600 {
            let x = i as f32 / 10.0;
            let (got, want) = (f64::from(tanh(x)), f64::from(x).tanh());
            assert!((got - want).abs() < 2e-7, "tanh({x})");
            let small = x / 256.0;
            let (got, want) = (f64::from(tanh(small)), f64::from(small).tanh());
            assert!((got - want).abs() <= 1e-6 * want.abs(), "tanh({small})");
            let want = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(sigmoid(x)) - want).abs() < 2e-7, "sigmoid({x})");
        }
    }

    #[test]
    fn sets_give_the_same_bits() {
        let input: Vec<f32> = (0..1000).map(|i| (i as f32 - 500.0) * 0.07).collect();
        let of = |isa: Isa| isa.run(|| input.iter().map(|x| exp(*x)).collect::<Vec<f32>>());
        let sets = Isa::available();
        assert!(sets.iter().all(|isa| of(*isa) == of(sets[0])));
    }
}
