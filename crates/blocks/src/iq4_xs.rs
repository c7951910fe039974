//! IQ4_XS: 256 values in 8 groups of 32; indices into IQ4_NL's levels, a 6-bit scale a group.
//!
//! `x = (d · (scale − 32)) · LEVELS[q]`. Source: `dequantize_row_iq4_xs` in llama.cpp's `ggml-quants.c`.

use model::StoredType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::codec::DecodeBlock;
use crate::half_bits::HalfBits;
use crate::iq4_nl::levels;

/// Each group's nibbles as in IQ4_NL.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Iq4Xs {
    d: HalfBits,
    /// Upper two bits of the scales, bit pair `g` for group `g`.
    scales_h: [u8; 2],
    /// Low four bits of the scales, low nibbles first.
    scales_l: [u8; 4],
    qs: [[u8; 16]; 8],
}

impl DecodeBlock<256> for Iq4Xs {
    const TYPE: StoredType = StoredType::Iq4Xs;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 256]) {
        let d = self.d.to_f32();
        let (groups, _) = values.as_chunks_mut::<32>();
        for (index, group) in groups.iter_mut().enumerate() {
            let low = (self.scales_l[index / 2] >> (index % 2 * 4)) & 0x0F;
            let high = (u16::from_le_bytes(self.scales_h) >> (2 * index)) as u8 & 3;
            let scale = (low | high << 4) as i8 - 32;
            levels(d * f32::from(scale), &self.qs[index], group);
        }
    }
}

#[cfg(test)]
mod tests {
    use model::StoredType;

    use crate::golden;

    #[test]
    fn decodes_as_llama_cpp() {
        golden::decodes(StoredType::Iq4Xs);
    }
}
