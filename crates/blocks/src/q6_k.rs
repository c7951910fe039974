//! Q6_K: 256 values in 16 groups of 16; 6-bit integers around 32, a signed 8-bit scale a group.
//!
//! `x = (d · scale) · (q − 32)`. Source: `dequantize_row_q6_K` in llama.cpp's `ggml-quants.c`.

use model::StoredType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::codec::DecodeBlock;
use crate::half_bits::HalfBits;

/// Two halves of 128 values, each four runs of 32: low nibbles of runs 0 and 1 in 64 bytes of `ql`, of runs 2 and 3 in
/// the high nibbles of the same bytes; upper two bits of run `r` in bit pair `r` of 32 bytes of `qh`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q6K {
    ql: [u8; 128],
    qh: [u8; 64],
    scales: [i8; 16],
    d: HalfBits,
}

impl DecodeBlock<256> for Q6K {
    const TYPE: StoredType = StoredType::Q6K;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 256]) {
        let d = self.d.to_f32();
        let (groups, _) = values.as_chunks_mut::<16>();
        for (index, group) in groups.iter_mut().enumerate() {
            let scale = d * f32::from(self.scales[index]);
            let (half, run, offset) = (index / 8, index / 2 % 4, index % 2 * 16);
            let ql = &self.ql[64 * half + run % 2 * 32 + offset..][..16];
            let qh = &self.qh[32 * half + offset..][..16];
            for ((value, low), high) in group.iter_mut().zip(ql).zip(qh) {
                let nibble = (low >> (run / 2 * 4)) & 0x0F;
                let q = nibble | ((high >> (2 * run)) & 3) << 4;
                *value = scale * f32::from(q as i8 - 32);
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
        golden::decodes(StoredType::Q6K);
    }
}
