//! Q4_0: 32 values as 4-bit integers around 8, one scale.
//!
//! `x[j] = d · (q[j] − 8)`, with `d = m / −8` for the value `m` of largest magnitude.
//! Source: `quantize_row_q4_0_ref`, `dequantize_row_q4_0` in llama.cpp's `ggml-quants.c`.

use model::StoredType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::c_cast::{reciprocal_or_zero, to_int8};
use crate::codec::{DecodeBlock, EncodeBlock};
use crate::extent::{all_finite, largest_magnitude};
use crate::half_bits::HalfBits;
use crate::nibbles;

/// Value `j` lies in the low nibble of `qs[j]`, value `j + 16` in the high one.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q4_0 {
    d: HalfBits,
    qs: [u8; 16],
}

impl DecodeBlock<32> for Q4_0 {
    const TYPE: StoredType = StoredType::Q4_0;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 32]) {
        let d = self.d.to_f32();
        let quants = nibbles::unpack(&self.qs);
        for (value, q) in values.iter_mut().zip(&quants) {
            *value = f32::from(*q as i8 - 8) * d;
        }
    }
}

impl EncodeBlock<32> for Q4_0 {
    #[inline(always)]
    fn encode(values: &[f32; 32]) -> Self {
        let d = extreme(values) / -8.0;
        let inverse = reciprocal_or_zero(d);
        let mut quants = [0; 32];
        for (q, v) in quants.iter_mut().zip(values) {
            *q = to_int8(v * inverse + 8.5).min(15) as u8;
        }
        Q4_0 { d: HalfBits::from_f32(d), qs: nibbles::pack(quants) }
    }

    #[inline(always)]
    fn holds(&self, values: &[f32; 32]) -> bool {
        self.d.is_finite() & all_finite(values)
    }
}

/// The value of largest magnitude, of several the first; +0 where all are zeros of any sign.
#[inline(always)]
fn extreme(values: &[f32; 32]) -> f32 {
    let largest = largest_magnitude(values);
    let is_there = |value: f32| values.iter().fold(false, |found, v| found | (*v == value));
    match (is_there(largest), is_there(-largest)) {
        _ if largest == 0.0 => 0.0,
        (true, false) => largest,
        (false, true) => -largest,
        _ => values.iter().copied().find(|v| v.abs() == largest).unwrap_or(0.0),
    }
}

#[cfg(test)]
mod tests {
    use model::StoredType;

    use crate::golden;

    #[test]
    fn decodes_as_llama_cpp() {
        golden::decodes(StoredType::Q4_0);
    }

    #[test]
    fn encodes_as_llama_cpp() {
        golden::encodes(StoredType::Q4_0);
    }
}
