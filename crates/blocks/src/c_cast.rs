//! C's conversions as an x86-64 compiler translates them, where the C standard leaves them open.

/// `(int8_t) x`: truncated to a 32-bit integer, of which the low byte stays.
///
/// NaN and what exceeds 32 bits become `0x8000_0000` (`cvttss2si`), whose low byte is 0. Quantizing meets them in blocks
/// of denormals, where the reciprocal of the scale is infinite.
#[inline(always)]
pub(crate) fn to_int8(x: f32) -> i8 {
    // Below the bound Rust's cast agrees in the low byte: it turns NaN into 0 and -∞ into `i32::MIN`.
    let wide = if x < 2_147_483_648.0 { x as i32 } else { 0 };
    wide as i8
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
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e9, -3e9] {
            assert_eq!(to_int8(x), 0, "{x}");
        }
    }
}
