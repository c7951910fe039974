//! Q4_K: 256 values in 8 groups of 32; 4-bit steps, a 6-bit scale and a 6-bit minimum a group.
//!
//! `x = (d · scale) · q − (dmin · min)`. Source: `dequantize_row_q4_K` in llama.cpp's `ggml-quants.c`.

use model::StoredType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::codec::DecodeBlock;
use crate::half_bits::HalfBits;

/// `qs` holds four pairs of groups: 32 bytes each, the first group in the low nibbles, the second in the high ones.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q4K {
    scales: GroupScales,
    qs: [u8; 128],
}

/// What Q4_K and Q5_K know of their eight groups.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct GroupScales {
    d: HalfBits,
    dmin: HalfBits,
    /// Groups 0 to 3: scales in bytes 0 to 3, minima in bytes 4 to 7, six low bits each. Groups 4 to 7: low four bits of
    /// both in the nibbles of bytes 8 to 11, upper two in what the first eight bytes left free.
    packed: [u8; 12],
}

impl GroupScales {
    /// `(d · scale, dmin · min)` of each group.
    #[inline(always)]
    pub(crate) fn unpack(&self) -> [(f32, f32); 8] {
        let (d, dmin) = (self.d.to_f32(), self.dmin.to_f32());
        let q = &self.packed;
        std::array::from_fn(|group| {
            let (scale, min) = if group < 4 {
                (q[group] & 63, q[group + 4] & 63)
            } else {
                let low = q[group + 4];
                ((low & 0x0F) | (q[group - 4] >> 6) << 4, (low >> 4) | (q[group] >> 6) << 4)
            };
            (d * f32::from(scale), dmin * f32::from(min))
        })
    }
}

impl DecodeBlock<256> for Q4K {
    const TYPE: StoredType = StoredType::Q4K;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 256]) {
        let scales = self.scales.unpack();
        let (pairs, _) = values.as_chunks_mut::<64>();
        for (pair, values) in pairs.iter_mut().enumerate() {
            let (d1, m1) = scales[2 * pair];
            let (d2, m2) = scales[2 * pair + 1];
            let qs = &self.qs[32 * pair..][..32];
            for j in 0..32 {
                values[j] = d1 * f32::from(qs[j] & 0x0F) - m1;
                values[j + 32] = d2 * f32::from(qs[j] >> 4) - m2;
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
        golden::decodes(StoredType::Q4K);
    }
}
