//! mlx's affine quantization: `bits` wide integers, and a scale and a bias for each group of a row, in tensors of their
//! own.
//!
//! `x[i] = s · q[i] + b` in f32, the product rounded before the sum. Integer `i` of a row lies in its bits
//! `i · bits ..` counted from the lowest bit of the first byte, whatever the width.
//! Source: `affine_dequantize` in mlx's `mlx/backend/cpu/quantized.cpp`, which computes in the type of the scales; where
//! that is f32 the values are the same.

use model::StoredType;

use crate::codec::Decoder;
use crate::error::BlockError;
use crate::isa::{Isa, Kernels};
use crate::registry;

/// Integers that are unpacked together: these fill whole bytes at every width.
const UNIT: usize = 8;

/// Groups whose scales are decoded at once.
const BATCH: usize = 32;

/// Turns rows of packed integers into f32.
#[derive(Debug, Clone)]
pub struct GroupAffineDecoder {
    bits: usize,
    group_size: usize,
    scales: &'static Decoder,
    biases: &'static Decoder,
    kernels: &'static Kernels<Kernel>,
}

/// The bytes of whole groups that lie one after the other.
#[derive(Debug, Clone, Copy)]
pub struct GroupAffineRows<'a> {
    /// Packed integers.
    pub codes: &'a [u8],
    /// A scale for each group.
    pub scales: &'a [u8],
    /// A bias for each group.
    pub biases: &'a [u8],
}

type Kernel = unsafe fn(usize, &[u8], &[f32], &[f32], &mut [f32]);

impl GroupAffineDecoder {
    /// A decoder of integers of `bits` in groups of `group_size`, with scales and biases of these types.
    ///
    /// # Errors
    /// Where mlx has no such groups, or scales or biases are no plain floats.
    pub fn new(bits: u32, group_size: u64, [scales, biases]: [StoredType; 2]) -> Result<Self, BlockError> {
        let unknown = BlockError::NoGroups { bits, group_size };
        if !model::GroupAffine::GROUP_SIZES.contains(&group_size) {
            return Err(unknown);
        }
        let kernels = match bits {
            1 => &const { of::<1>() },
            2 => &const { of::<2>() },
            3 => &const { of::<3>() },
            4 => &const { of::<4>() },
            5 => &const { of::<5>() },
            6 => &const { of::<6>() },
            8 => &const { of::<8>() },
            _ => return Err(unknown),
        };
        let float = |stored_type: StoredType| {
            let decoder = registry::decoder(stored_type).filter(|_| stored_type.is_float());
            decoder.ok_or(BlockError::NoScale { stored_type })
        };
        let (scales, biases) = (float(scales)?, float(biases)?);
        Ok(Self { bits: bits as usize, group_size: group_size as usize, scales, biases, kernels })
    }

    /// Values that share a scale: parts of rows begin and end at multiples of it.
    pub fn group_size(&self) -> usize {
        self.group_size
    }

    /// Bytes of the codes, scales and biases of `values`, a whole number of groups.
    pub fn bytes_of(&self, values: usize) -> [usize; 3] {
        let groups = values / self.group_size;
        let of = |decoder: &Decoder| groups * decoder.stored_type().block_bytes() as usize;
        [groups * self.group_bytes(), of(self.scales), of(self.biases)]
    }

    /// Decodes whole groups, of one row or of several that lie one after the other.
    ///
    /// # Errors
    /// Where `dst` is no whole number of groups or the bytes aren't those of so many.
    pub fn decode(&self, src: GroupAffineRows<'_>, dst: &mut [f32]) -> Result<(), BlockError> {
        self.decode_with(Isa::best(), src, dst)
    }

    pub(crate) fn decode_with(&self, isa: Isa, src: GroupAffineRows<'_>, dst: &mut [f32]) -> Result<(), BlockError> {
        let (values, GroupAffineRows { codes, scales, biases }) = (dst.len(), src);
        let (expected, got) = (self.bytes_of(values), [codes, scales, biases].map(<[u8]>::len));
        if !values.is_multiple_of(self.group_size) || got != expected {
            return Err(BlockError::Groups { values, group_size: self.group_size, got, expected });
        }
        let [of_codes, of_scales, of_biases] = self.bytes_of(BATCH * self.group_size);
        let batches = codes.chunks(of_codes).zip(scales.chunks(of_scales)).zip(biases.chunks(of_biases));
        for (((codes, scales), biases), dst) in batches.zip(dst.chunks_mut(BATCH * self.group_size)) {
            let groups = dst.len() / self.group_size;
            let (mut s, mut b) = ([0.0; BATCH], [0.0; BATCH]);
            self.scales.decode_with(isa, scales, &mut s[..groups])?;
            self.biases.decode_with(isa, biases, &mut b[..groups])?;
            // SAFETY: an `Isa` exists only where this CPU has its instructions.
            unsafe { (self.kernels.get(isa))(self.group_size, codes, &s[..groups], &b[..groups], dst) }
        }
        Ok(())
    }

    fn group_bytes(&self) -> usize {
        self.group_size * self.bits / 8
    }
}

const fn of<const BITS: usize>() -> Kernels<Kernel> {
    Kernels::<Kernel> {
        portable: groups::<BITS>,
        #[cfg(target_arch = "x86_64")]
        avx2: groups_avx2::<BITS>,
    }
}

#[inline(always)]
fn groups<const BITS: usize>(group_size: usize, codes: &[u8], scales: &[f32], biases: &[f32], dst: &mut [f32]) {
    let groups = codes.chunks_exact(group_size * BITS / 8).zip(dst.chunks_exact_mut(group_size));
    for ((codes, dst), (scale, bias)) in groups.zip(scales.iter().zip(biases)) {
        for (codes, dst) in codes.as_chunks::<BITS>().0.iter().zip(dst.as_chunks_mut::<UNIT>().0) {
            for (value, q) in dst.iter_mut().zip(unpack(codes)) {
                *value = q as f32 * scale + bias;
            }
        }
    }
}

/// The eight integers of as many bytes as an integer has bits.
#[inline(always)]
fn unpack<const BITS: usize>(codes: &[u8; BITS]) -> [i32; UNIT] {
    let mask = (1 << BITS) - 1;
    let mut integers = [0; UNIT];
    if BITS <= 4 {
        let mut word = [0; 4];
        word[..BITS].copy_from_slice(codes);
        let word = u32::from_le_bytes(word);
        integers.iter_mut().enumerate().for_each(|(i, q)| *q = (word >> (i * BITS) & mask) as i32);
    } else if BITS == 8 {
        integers.iter_mut().zip(codes).for_each(|(q, code)| *q = i32::from(*code));
    } else {
        let mut word = [0; 8];
        word[..BITS].copy_from_slice(codes);
        let word = u64::from_le_bytes(word);
        integers.iter_mut().enumerate().for_each(|(i, q)| *q = ((word >> (i * BITS)) as u32 & mask) as i32);
    }
    integers
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn groups_avx2<const BITS: usize>(group_size: usize, codes: &[u8], scales: &[f32], biases: &[f32], dst: &mut [f32]) {
    groups::<BITS>(group_size, codes, scales, biases, dst);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::encode_rows;

    const FLOATS: [StoredType; 3] = [StoredType::F16, StoredType::Bf16, StoredType::F32];

    /// Integers, bit by bit as the layout says.
    fn packed(bits: usize, integers: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; integers.len() * bits / 8];
        for (i, integer) in integers.iter().enumerate() {
            for bit in 0..bits {
                let at = i * bits + bit;
                bytes[at / 8] |= ((integer >> bit & 1) as u8) << (at % 8);
            }
        }
        bytes
    }

    #[test]
    fn every_width_size_and_type_of_scale_has_its_values() {
        for bits in model::GroupAffine::BITS {
            for group_size in model::GroupAffine::GROUP_SIZES {
                for (i, scale_type) in FLOATS.into_iter().enumerate() {
                    values(bits, group_size, [scale_type, FLOATS[(i + 1) % 3]]);
                }
            }
        }
    }

    fn values(bits: u32, group_size: u64, types: [StoredType; 2]) {
        let count = 35; // more than a batch
        let len = count * group_size as usize;
        let integers: Vec<u32> = (0..len as u32).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 11) % (1 << bits)).collect();
        // Exact in every type, and with products that f32 rounds.
        let scales: Vec<f32> = (0..count).map(|i| (i as f32 + 1.0) / 128.0).collect();
        let biases: Vec<f32> = (0..count).map(|i| i as f32 * 2.0 - 31.0).collect();
        let stored = |stored_type: StoredType, values: &[f32]| {
            let mut bytes = vec![0; stored_type.row_bytes(values.len() as u64).unwrap() as usize];
            encode_rows(stored_type, values, &mut bytes).unwrap();
            bytes
        };
        let (codes, s, b) = (packed(bits as usize, &integers), stored(types[0], &scales), stored(types[1], &biases));
        let decoder = GroupAffineDecoder::new(bits, group_size, types).unwrap();
        assert_eq!(decoder.bytes_of(len), [codes.len(), s.len(), b.len()]);
        let want: Vec<f32> = integers
            .iter()
            .enumerate()
            .map(|(i, q)| {
                let product = scales[i / group_size as usize] * *q as f32;
                product + biases[i / group_size as usize]
            })
            .collect();
        for isa in Isa::available() {
            let mut got = vec![0.0; len];
            decoder.decode_with(isa, GroupAffineRows { codes: &codes, scales: &s, biases: &b }, &mut got).unwrap();
            assert!(got == want, "{bits} bits in groups of {group_size} on {isa:?}");
        }
    }

    #[test]
    fn lengths_must_fit() {
        let decoder = GroupAffineDecoder::new(3, 32, [StoredType::F16; 2]).unwrap();
        let decode = |codes, scales, biases, values| {
            let bytes = [codes, scales, biases].map(|n| vec![0; n]);
            let src = GroupAffineRows { codes: &bytes[0], scales: &bytes[1], biases: &bytes[2] };
            decoder.decode(src, &mut vec![1.0; values])
        };
        assert_eq!(decode(24, 4, 4, 64), Ok(()));
        assert_eq!(decode(0, 0, 0, 0), Ok(()));
        for (codes, scales, biases, values) in [(23, 4, 4, 64), (24, 2, 4, 64), (24, 4, 6, 64), (24, 4, 4, 65)] {
            let error = decode(codes, scales, biases, values).unwrap_err();
            assert!(matches!(error, BlockError::Groups { .. }), "{error}");
        }
    }

    #[test]
    fn what_mlx_does_not_have_is_refused() {
        for (bits, group_size) in [(7, 64), (0, 64), (9, 64), (4, 0), (4, 16), (4, 256)] {
            let error = GroupAffineDecoder::new(bits, group_size, [StoredType::F16; 2]).unwrap_err();
            assert_eq!(error, BlockError::NoGroups { bits, group_size });
        }
        let error = GroupAffineDecoder::new(4, 64, [StoredType::F16, StoredType::U8]).unwrap_err();
        assert_eq!(error, BlockError::NoScale { stored_type: StoredType::U8 });
    }
}
