//! Q5_0: 32 values as 5-bit integers around 16, one scale.
//!
//! `x[j] = d · (q[j] − 16)`. Source: `dequantize_row_q5_0` in llama.cpp's `ggml-quants.c`.

use model::StoredType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::codec::DecodeBlock;
use crate::half_bits::HalfBits;
use crate::nibbles;

/// Low four bits of values `j` and `j + 16` in the nibbles of `qs[j]`; fifth bit of value `j` in bit `j` of `qh`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q5_0 {
    d: HalfBits,
    qh: [u8; 4],
    qs: [u8; 16],
}

impl DecodeBlock<32> for Q5_0 {
    const TYPE: StoredType = StoredType::Q5_0;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 32]) {
        let d = self.d.to_f32();
        let quants = five_bits(&self.qs, self.qh);
        for (value, q) in values.iter_mut().zip(&quants) {
            *value = f32::from(*q as i8 - 16) * d;
        }
    }
}

/// Nibbles joined with their fifth bits: 32 integers below 32.
#[inline(always)]
pub(crate) fn five_bits(qs: &[u8; 16], qh: [u8; 4]) -> [u8; 32] {
    let mut quants = nibbles::unpack(qs);
    for (j, q) in quants.iter_mut().enumerate() {
        *q |= ((qh[j / 8] >> (j % 8)) & 1) << 4;
    }
    quants
}

#[cfg(test)]
mod tests {
    use model::StoredType;

    use crate::golden;

    #[test]
    fn decodes_as_llama_cpp() {
        golden::decodes(StoredType::Q5_0);
    }
}
