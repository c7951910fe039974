//! Plain floats: F32, F16 and BF16 are blocks of one value.

use model::StoredType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::codec::{DecodeBlock, EncodeBlock};
use crate::half_bits::HalfBits;

/// IEEE binary32, little-endian.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct F32([u8; 4]);

/// IEEE binary16, little-endian.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct F16(HalfBits);

/// The upper half of a binary32, little-endian.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Bf16([u8; 2]);

impl DecodeBlock<1> for F32 {
    const TYPE: StoredType = StoredType::F32;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 1]) {
        values[0] = f32::from_le_bytes(self.0);
    }
}

impl EncodeBlock<1> for F32 {
    #[inline(always)]
    fn encode(values: &[f32; 1]) -> Self {
        F32(values[0].to_le_bytes())
    }

    #[inline(always)]
    fn holds(&self, _values: &[f32; 1]) -> bool {
        true
    }
}

impl DecodeBlock<1> for F16 {
    const TYPE: StoredType = StoredType::F16;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 1]) {
        values[0] = self.0.to_f32();
    }
}

impl EncodeBlock<1> for F16 {
    #[inline(always)]
    fn encode(values: &[f32; 1]) -> Self {
        F16(HalfBits::from_f32(values[0]))
    }

    #[inline(always)]
    fn holds(&self, values: &[f32; 1]) -> bool {
        self.0.is_finite() | !values[0].is_finite()
    }
}

impl DecodeBlock<1> for Bf16 {
    const TYPE: StoredType = StoredType::Bf16;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 1]) {
        values[0] = f32::from_bits(u32::from(u16::from_le_bytes(self.0)) << 16);
    }
}

impl EncodeBlock<1> for Bf16 {
    /// Nearest, ties to even; a NaN keeps its upper payload and becomes quiet.
    #[inline(always)]
    fn encode(values: &[f32; 1]) -> Self {
        let bits = values[0].to_bits();
        let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16;
        let quiet = (bits >> 16) | 0x0040;
        Bf16((if values[0].is_nan() { quiet } else { rounded } as u16).to_le_bytes())
    }

    #[inline(always)]
    fn holds(&self, values: &[f32; 1]) -> bool {
        (u16::from_le_bytes(self.0) & 0x7F80 != 0x7F80) | !values[0].is_finite()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use model::StoredType::{Bf16, F16, F32};

    use crate::{BlockError, decode_rows, encode_rows, golden};

    #[test]
    fn decodes_as_llama_cpp() {
        for stored_type in [F16, Bf16] {
            golden::decodes(stored_type);
        }
    }

    #[test]
    fn encodes_as_llama_cpp() {
        for stored_type in [F16, Bf16] {
            golden::encodes(stored_type);
        }
    }

    #[test]
    fn f32_keeps_every_bit() {
        let bytes: Vec<u8> =
            [0x7F80_0001u32, 0xFFC1_2345, 1, 0x8000_0000].iter().flat_map(|b| b.to_le_bytes()).collect();
        let (mut values, mut back) = ([0.0; 4], [0; 16]);
        decode_rows(F32, &bytes, &mut values).unwrap();
        encode_rows(F32, &values, &mut back).unwrap();
        assert_eq!(back, bytes[..]);
    }

    #[test]
    fn a_finite_value_never_becomes_infinite() {
        // 65520 is the tie between f16's largest number and its infinity.
        let overflow = encode_rows(F16, &[1.0, 65519.0, -65520.0], &mut [0; 6]);
        assert_eq!(overflow, Err(BlockError::Overflow { stored_type: F16, index: 2, value: -65520.0 }));
        assert!(overflow.unwrap_err().hint().unwrap().contains("bf16"));

        let overflow = encode_rows(Bf16, &[f32::MAX], &mut [0; 2]);
        assert_eq!(overflow, Err(BlockError::Overflow { stored_type: Bf16, index: 0, value: f32::MAX }));
    }

    #[test]
    fn infinities_and_nans_pass() {
        let values = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
        for stored_type in [F32, F16, Bf16] {
            let mut bytes = vec![0; 3 * stored_type.block_bytes() as usize];
            let mut back = [0.0; 3];
            encode_rows(stored_type, &values, &mut bytes).unwrap();
            decode_rows(stored_type, &bytes, &mut back).unwrap();
            assert_eq!(back[..2], values[..2]);
            assert!(back[2].is_nan());
        }
    }
}
