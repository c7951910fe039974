//! Q3_K: 256 values in 16 groups of 16; 3-bit integers around 4, a 6-bit scale a group.
//!
//! `x = (d · (scale − 32)) · (q − 4)`. Source: `dequantize_row_q3_K` in llama.cpp's `ggml-quants.c`.

use model::StoredType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::codec::DecodeBlock;
use crate::half_bits::HalfBits;

/// `qs` holds two halves of 128 values: 32 bytes each, whose bit pairs are four runs of 32 values. The third bit of run
/// `r` (of all eight) is bit `r` of the 32 bytes of `hmask`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q3K {
    hmask: [u8; 32],
    qs: [u8; 64],
    /// Low four bits of scale `g` in the nibbles of the first eight bytes, low nibbles first; upper two bits in bit pair
    /// `g / 4` of byte `8 + g % 4`.
    scales: [u8; 12],
    d: HalfBits,
}

impl Q3K {
    #[inline(always)]
    fn scale(&self, group: usize) -> f32 {
        let byte = self.scales[group % 8];
        let low = if group < 8 { byte & 0x0F } else { byte >> 4 };
        let high = (self.scales[8 + group % 4] >> (group / 4 * 2)) & 3;
        f32::from((low | high << 4) as i8 - 32)
    }
}

impl DecodeBlock<256> for Q3K {
    const TYPE: StoredType = StoredType::Q3K;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 256]) {
        let d = self.d.to_f32();
        let (groups, _) = values.as_chunks_mut::<16>();
        for (index, group) in groups.iter_mut().enumerate() {
            let scale = d * self.scale(index);
            let (run, offset) = (index / 2, index % 2 * 16);
            let shift = run % 4 * 2;
            let qs = &self.qs[index / 8 * 32 + offset..][..16];
            let hmask = &self.hmask[offset..][..16];
            for ((value, byte), high) in group.iter_mut().zip(qs).zip(hmask) {
                let q = (byte >> shift) & 3 | ((high >> run) & 1) << 2;
                *value = scale * f32::from(q as i8 - 4);
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
        golden::decodes(StoredType::Q3K);
    }
}
