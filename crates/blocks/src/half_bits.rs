//! The f16 that block types keep their scales in: conversion without a branch.
//!
//! The method is Marat Dukhan's (<https://github.com/Maratyszcza/FP16>), as in llama.cpp's `ggml-impl.h`: integer shifts
//! place the bits, one float operation rounds or rebiases them. The `half` crate gives the same numbers, but asks the
//! CPU for F16C at every call, which keeps a loop over blocks from being vectorized; here it is the tests' oracle.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A little-endian IEEE binary16 at any address.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub(crate) struct HalfBits([u8; 2]);

const SIGN: u32 = 0x8000_0000;
/// Powers of two, by their bits: exponent field `127 + n`.
const TWO_POW_112: f32 = f32::from_bits((127 + 112) << 23);
const TWO_POW_MINUS_110: f32 = f32::from_bits((127 - 110) << 23);
const TWO_POW_MINUS_112: f32 = f32::from_bits((127 - 112) << 23);

impl HalfBits {
    /// The exact value; a signalling NaN becomes quiet, as in hardware.
    #[inline(always)]
    pub(crate) fn to_f32(self) -> f32 {
        let bits = u32::from(u16::from_le_bytes(self.0)) << 16;
        let magnitude = bits << 1;
        // Exponent and mantissa moved into place; the product takes off the difference of the biases.
        let normal = f32::from_bits((magnitude >> 4) + (0xE0 << 23)) * TWO_POW_MINUS_112;
        // A subnormal's mantissa becomes that of 0.5 + mantissa · 2⁻²⁴.
        let subnormal = f32::from_bits((magnitude >> 17) | (126 << 23)) - 0.5;
        let value = if magnitude < 1 << 27 { subnormal } else { normal };
        f32::from_bits((bits & SIGN) | value.to_bits())
    }

    /// The nearest f16, ties to even. Every NaN becomes llama.cpp's one quiet NaN of that sign.
    #[inline(always)]
    pub(crate) fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let magnitude = bits << 1;
        // Two products, so that what exceeds f16 becomes infinite before it is brought to a quarter of 16 times itself.
        let scaled = (value.abs() * TWO_POW_112) * TWO_POW_MINUS_110;
        // Adding a power of two that depends on the exponent rounds the mantissa at f16's last place.
        let exponent = (magnitude & 0xFF00_0000).max(0x7100_0000);
        let rounded = (f32::from_bits((exponent >> 1) + 0x0780_0000) + scaled).to_bits();
        let nonsign = ((rounded >> 13) & 0x7C00) + (rounded & 0x0FFF);
        let nonsign = if magnitude > 0xFF00_0000 { 0x7E00 } else { nonsign };
        HalfBits((((bits & SIGN) >> 16 | nonsign) as u16).to_le_bytes())
    }

    /// Neither NaN nor infinite.
    #[inline(always)]
    pub(crate) fn is_finite(self) -> bool {
        u16::from_le_bytes(self.0) & 0x7C00 != 0x7C00
    }
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn every_f16_has_halfs_value() {
        for bits in 0..=u16::MAX {
            let ours = HalfBits(bits.to_le_bytes()).to_f32();
            assert_eq!(ours.to_bits(), f16::from_bits(bits).to_f32().to_bits(), "{bits:#06x}");
        }
    }

    #[test]
    fn rounds_as_half_does() {
        // All exponents, with the mantissas that decide roundings: 13 dropped bits, and what lies around them.
        for high in 0..=u16::MAX {
            for low in [0x0000, 0x0001, 0x0FFF, 0x1000, 0x1001, 0x2000, 0x3000, 0x7FFF, 0x8000, 0xFFFF] {
                let value = f32::from_bits(u32::from(high) << 16 | low);
                let ours = u16::from_le_bytes(HalfBits::from_f32(value).0);
                let expected = match value.is_nan() {
                    true => 0x7E00 | (high & 0x8000),
                    false => f16::from_f32(value).to_bits(),
                };
                assert_eq!(ours, expected, "{value:e}");
            }
        }
    }
}
