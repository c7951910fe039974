//! Q5_1: 32 values as 5-bit steps from an offset, one scale.
//!
//! `x[j] = d · q[j] + m`. Source: `dequantize_row_q5_1` in llama.cpp's `ggml-quants.c`.

use model::StoredType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::codec::DecodeBlock;
use crate::half_bits::HalfBits;
use crate::q5_0::five_bits;

/// Bits as in Q5_0.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q5_1 {
    d: HalfBits,
    m: HalfBits,
    qh: [u8; 4],
    qs: [u8; 16],
}

impl DecodeBlock<32> for Q5_1 {
    const TYPE: StoredType = StoredType::Q5_1;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 32]) {
        let (d, m) = (self.d.to_f32(), self.m.to_f32());
        let quants = five_bits(&self.qs, self.qh);
        for (value, q) in values.iter_mut().zip(&quants) {
            *value = f32::from(*q) * d + m;
        }
    }
}

#[cfg(test)]
mod tests {
    use model::StoredType;

    use crate::golden;

    #[test]
    fn decodes_as_llama_cpp() {
        golden::decodes(StoredType::Q5_1);
    }
}
