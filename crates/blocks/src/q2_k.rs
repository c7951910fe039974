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
        let group = |index: usize| {
            let packed = self.scales[index];
            (d * f32::from(packed & 0x0F), dmin * f32::from(packed >> 4))
        };
        let (runs, _) = values.as_chunks_mut::<32>();
        for (run, values) in runs.iter_mut().enumerate() {
            let (s0, m0) = group(2 * run);
            let (s1, m1) = group(2 * run + 1);
            let qs = &self.qs[run / 4 * 32..][..32];
            let shift = run % 4 * 2;
            for j in 0..16 {
                values[j] = s0 * f32::from((qs[j] >> shift) & 3) - m0;
                values[j + 16] = s1 * f32::from((qs[j + 16] >> shift) & 3) - m1;
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
