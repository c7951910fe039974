//! C's conversions as an x86-64 compiler translates them, where the C standard leaves them open.

/// `(int8_t) x`: truncated to a 32-bit integer, of which the low byte stays; for |x| < 2²² and for NaN and infinities.
///
/// Those become `0x8000_0000` (`cvttss2si`), whose low byte is 0. Quantizing meets them in blocks of denormals, where the
/// reciprocal of the scale is infinite, and no other value beyond 256. A cast with `as` would not be vectorized: the low
/// bits of 1.5 · 2²³ + n are those of n.
#[inline(always)]
pub(crate) fn to_int8(x: f32) -> i8 {
    const BOUND: f32 = 4_194_304.0;
    const SHIFT: f32 = 12_582_912.0;
    let small = if x.abs() < BOUND { x } else { 0.0 };
    (small.trunc() + SHIFT).to_bits() as i8
}

/// `d ? 1/d : 0`, the factor that takes a value to its quantized integer.
#[inline(always)]
pub(crate) fn reciprocal_or_zero(d: f32) -> f32 {
    if d != 0.0 { 1.0 / d } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncates_and_wraps() {
        let cases = [(15.9, 15), (-0.9, 0), (-128.5, -128), (128.0, -128), (300.0, 44)];
        for (x, expected) in cases {
            assert_eq!(to_int8(x), expected, "{x}");
        }
        for eighths in -(1 << 13)..1 << 13 {
            let x = eighths as f32 / 8.0;
            assert_eq!(to_int8(x), x as i32 as i8, "{x}");
        }
        for x in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(to_int8(x), 0, "{x}");
        }
    }
}
