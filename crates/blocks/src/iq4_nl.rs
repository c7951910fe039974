//! IQ4_NL: 32 values as indices into 16 unevenly spaced levels, one scale.
//!
//! `x[j] = d · LEVELS[q[j]]`. Source: `dequantize_row_iq4_nl` in llama.cpp's `ggml-quants.c`, the levels in
//! `ggml-common.h`.

use model::StoredType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::codec::DecodeBlock;
use crate::half_bits::HalfBits;

/// `kvalues_iq4nl`: denser around zero, where weights are.
pub(crate) const LEVELS: [f32; 16] =
    [-127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0];

/// Value `j` lies in the low nibble of `qs[j]`, value `j + 16` in the high one.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Iq4Nl {
    d: HalfBits,
    qs: [u8; 16],
}

impl DecodeBlock<32> for Iq4Nl {
    const TYPE: StoredType = StoredType::Iq4Nl;

    #[inline(always)]
    fn decode(&self, values: &mut [f32; 32]) {
        levels(self.d.to_f32(), &self.qs, values);
    }
}

/// Writes 32 values from the nibbles of 16 bytes.
#[inline(always)]
pub(crate) fn levels(d: f32, qs: &[u8; 16], values: &mut [f32; 32]) {
    for j in 0..16 {
        values[j] = d * LEVELS[usize::from(qs[j] & 0x0F)];
        values[j + 16] = d * LEVELS[usize::from(qs[j] >> 4)];
    }
}

#[cfg(test)]
mod tests {
    use model::StoredType;

    use crate::golden;

    #[test]
    fn decodes_as_llama_cpp() {
        golden::decodes(StoredType::Iq4Nl);
    }
}
