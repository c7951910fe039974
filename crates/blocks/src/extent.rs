//! What a quantizer asks about the values of a block as a whole.

/// The largest magnitude; NaN where a value is.
///
/// Magnitudes order as their bits do, and a maximum of integers can be vectorized.
#[inline(always)]
pub(crate) fn largest_magnitude<const LEN: usize>(values: &[f32; LEN]) -> f32 {
    f32::from_bits(values.iter().fold(0, |largest, value| value.abs().to_bits().max(largest)))
}

/// Whether no value is NaN or infinite. Comparisons alone pass over a NaN in silence.
#[inline(always)]
pub(crate) fn all_finite<const LEN: usize>(values: &[f32; LEN]) -> bool {
    values.iter().fold(true, |all, value| all & value.is_finite())
}
