//! Q8_0: 32 values as signed 8-bit integers, one scale.
//!
//! `x[j] = d · q[j]`, with `d = max |x| / 127`.
//! Source: `quantize_row_q8_0_ref`, `dequantize_row_q8_0` in llama.cpp's `ggml-quants.c`.

use model::StoredType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::c_cast::{reciprocal_or_zero, to_int8};
use crate::codec::{DecodeBlock, EncodeBlock};
use crate::extent::{all_finite, largest_magnitude};
use crate::half_bits::HalfBits;

/// One byte a value.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q8_0 {
    d: HalfBits,
    qs: [i8; 32],
}

impl DecodeBlock<32> for Q8_0 {
    const TYPE: StoredType = StoredType::Q8_0;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 32]) {
        let d = self.d.to_f32();
        for (value, q) in values.iter_mut().zip(&self.qs) {
            *value = f32::from(*q) * d;
        }
    }
}

impl EncodeBlock<32> for Q8_0 {
    #[inline(always)]
    fn encode(values: &[f32; 32]) -> Self {
        let d = largest_magnitude(values) / 127.0;
        let inverse = reciprocal_or_zero(d);
        // `round` is C's `roundf`: halves away from zero.
        let mut qs = [0; 32];
        for (q, v) in qs.iter_mut().zip(values) {
            *q = to_int8((v * inverse).round());
        }
        Q8_0 { d: HalfBits::from_f32(d), qs }
    }

    #[inline(always)]
    fn holds(&self, values: &[f32; 32]) -> bool {
        self.d.is_finite() & all_finite(values)
    }
}

#[cfg(test)]
mod tests {
    use model::StoredType;

    use crate::{BlockError, encode_rows, golden};

    #[test]
    fn decodes_as_llama_cpp() {
        golden::decodes(StoredType::Q8_0);
    }

    #[test]
    fn encodes_as_llama_cpp() {
        golden::encodes(StoredType::Q8_0);
    }

    #[test]
    fn values_without_a_finite_scale_are_refused() {
        let mut values = [0.5; 64];
        values[40] = f32::NAN;
        let Err(BlockError::NonFinite { stored_type: StoredType::Q8_0, index: 40, value }) =
            encode_rows(StoredType::Q8_0, &values, &mut [0; 68])
        else {
            panic!("the NaN must be named");
        };
        assert!(value.is_nan());

        values[40] = 9e6;
        let error = encode_rows(StoredType::Q8_0, &values, &mut [0; 68]);
        let expected = BlockError::ScaleOverflow { stored_type: StoredType::Q8_0, index: 32, min: 0.5, max: 9e6 };
        assert_eq!(error, Err(expected));
    }
}
