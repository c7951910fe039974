//! Q5_K: 256 values in 8 groups of 32; 5-bit steps, a 6-bit scale and a 6-bit minimum a group.
//!
//! `x = (d · scale) · q − (dmin · min)`. Source: `dequantize_row_q5_K` in llama.cpp's `ggml-quants.c`.

use model::StoredType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::codec::DecodeBlock;
use crate::q4_k::GroupScales;

/// Nibbles as in Q4_K; the fifth bit of group `g` is bit `g` of the 32 bytes of `qh`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q5K {
    scales: GroupScales,
    qh: [u8; 32],
    qs: [u8; 128],
}

impl DecodeBlock<256> for Q5K {
    const TYPE: StoredType = StoredType::Q5K;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 256]) {
        let scales = self.scales.unpack();
        let (pairs, _) = values.as_chunks_mut::<64>();
        for (pair, values) in pairs.iter_mut().enumerate() {
            let (d1, m1) = scales[2 * pair];
            let (d2, m2) = scales[2 * pair + 1];
            let qs = &self.qs[32 * pair..][..32];
            for j in 0..32 {
                let fifth = self.qh[j] >> (2 * pair);
                values[j] = d1 * f32::from((qs[j] & 0x0F) | (fifth & 1) << 4) - m1;
                values[j + 32] = d2 * f32::from((qs[j] >> 4) | (fifth & 2) << 3) - m2;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::StoredType;

    use crate::golden;

    #[test]
    fn decodes_as_llama_cpp() {
        golden::decodes(StoredType::Q5K);
    }
}
