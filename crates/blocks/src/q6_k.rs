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
        let scales = self.scales.map(|scale| d * f32::from(scale));
        for half in 0..2 {
            let values = &mut values[128 * half..][..128];
            let ql = &self.ql[64 * half..][..64];
            let qh = &self.qh[32 * half..][..32];
            for group in 0..2 {
                let scale = |run: usize| scales[8 * half + 2 * run + group];
                let (s0, s1, s2, s3) = (scale(0), scale(1), scale(2), scale(3));
                for j in 16 * group..16 * group + 16 {
                    let (low, high, bits) = (ql[j], ql[j + 32], qh[j]);
                    values[j] = s0 * centred((low & 0x0F) | (bits & 3) << 4);
                    values[j + 32] = s1 * centred((high & 0x0F) | ((bits >> 2) & 3) << 4);
                    values[j + 64] = s2 * centred((low >> 4) | ((bits >> 4) & 3) << 4);
                    values[j + 96] = s3 * centred((high >> 4) | (bits >> 6) << 4);
                }
            }
        }
    }
}

#[inline(always)]
fn centred(q: u8) -> f32 {
    f32::from(q as i8 - 32)
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
