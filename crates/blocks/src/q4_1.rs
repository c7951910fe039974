//! Q4_1: 32 values as 4-bit steps from their minimum, one scale.
//!
//! `x[j] = d · q[j] + m`, with `m = min x` and `d = (max x − m) / 15`.
//! Source: `quantize_row_q4_1_ref`, `dequantize_row_q4_1` in llama.cpp's `ggml-quants.c`.

use model::StoredType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::c_cast::{reciprocal_or_zero, to_int8};
use crate::codec::{DecodeBlock, EncodeBlock};
use crate::extent::{all_finite, range};
use crate::half_bits::HalfBits;
use crate::nibbles;

/// Value `j` lies in the low nibble of `qs[j]`, value `j + 16` in the high one.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q4_1 {
    d: HalfBits,
    m: HalfBits,
    qs: [u8; 16],
}

impl DecodeBlock<32> for Q4_1 {
    const TYPE: StoredType = StoredType::Q4_1;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 32]) {
        let (d, m) = (self.d.to_f32(), self.m.to_f32());
        let quants = nibbles::unpack(&self.qs);
        for (value, q) in values.iter_mut().zip(&quants) {
            *value = f32::from(*q) * d + m;
        }
    }
}

impl EncodeBlock<32> for Q4_1 {
    #[inline(always)]
    fn encode(values: &[f32; 32]) -> Self {
        let (min, max) = range(values);
        let d = (max - min) / 15.0;
        let inverse = reciprocal_or_zero(d);
        let mut quants = [0; 32];
        for (q, v) in quants.iter_mut().zip(values) {
            *q = to_int8((v - min) * inverse + 0.5).min(15) as u8;
        }
        Q4_1 { d: HalfBits::from_f32(d), m: HalfBits::from_f32(min), qs: nibbles::pack(quants) }
    }

    #[inline(always)]
    fn holds(&self, values: &[f32; 32]) -> bool {
        self.d.is_finite() & self.m.is_finite() & all_finite(values)
    }
}

#[cfg(test)]
mod tests {
    use model::StoredType;

    use crate::{BlockError, encode_rows, golden};

    #[test]
    fn decodes_as_llama_cpp() {
        golden::decodes(StoredType::Q4_1);
    }

    #[test]
    fn encodes_as_llama_cpp() {
        golden::encodes(StoredType::Q4_1);
    }

    #[test]
    fn an_offset_beyond_f16_is_refused() {
        let mut values = [-70_000.0; 64];
        values[..32].fill(1.0);
        let error = encode_rows(StoredType::Q4_1, &values, &mut [0; 40]);
        let expected =
            BlockError::ScaleOverflow { stored_type: StoredType::Q4_1, index: 32, min: -70_000.0, max: -70_000.0 };
        assert_eq!(error, Err(expected));
    }
}
