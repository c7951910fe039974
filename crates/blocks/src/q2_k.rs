//! Q2_K: 256 values in 16 groups of 16; 2-bit steps, a 4-bit scale and a 4-bit minimum a group.
//!
//! `x = (d · scale) · q − (dmin · min)`. Source: `dequantize_row_q2_K` in llama.cpp's `ggml-quants.c`.

use model::StoredType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::codec::DecodeBlock;
use crate::half_bits::HalfBits;

/// `qs` holds two halves of 128 values: 32 bytes each, whose bit pairs are four runs of 32 values.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q2K {
    /// Scale in the low nibble, minimum in the high one.
    scales: [u8; 16],
    qs: [u8; 64],
    d: HalfBits,
    dmin: HalfBits,
}

impl DecodeBlock<256> for Q2K {
    const TYPE: StoredType = StoredType::Q2K;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 256]) {
        let (d, dmin) = (self.d.to_f32(), self.dmin.to_f32());
        let (groups, _) = values.as_chunks_mut::<16>();
        for (index, group) in groups.iter_mut().enumerate() {
            let scale = d * f32::from(self.scales[index] & 0x0F);
            let min = dmin * f32::from(self.scales[index] >> 4);
            // Eight groups a half: bit pair `index / 2`, and the lower or upper 16 of its bytes.
            let shift = index % 8 / 2 * 2;
            let qs = &self.qs[index / 8 * 32 + index % 2 * 16..][..16];
            for (value, byte) in group.iter_mut().zip(qs) {
                *value = scale * f32::from((byte >> shift) & 3) - min;
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
        golden::decodes(StoredType::Q2K);
    }
}
