//! Decoders and encoders over whole rows, made from the code of one block.
//!
//! A block type says how one block becomes values ([`DecodeBlock`]) and perhaps how values become a block
//! ([`EncodeBlock`]). The loop over blocks is written once and compiled for several instruction sets ([`crate::isa`]).

use model::StoredType;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::BlockError;
use crate::isa::{Isa, Kernels};

/// A block as it lies in a file: `LEN` values of type `TYPE`.
///
/// Functions here are `#[inline(always)]`, so that they are compiled anew inside each instruction set's loop.
pub(crate) trait DecodeBlock<const LEN: usize>:
    FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Sized
{
    /// Where length and bytes of the block are on record.
    const TYPE: StoredType;

    /// Writes the block's values.
    fn decode(&self, values: &mut [f32; LEN]);
}

/// A block that is also written here.
pub(crate) trait EncodeBlock<const LEN: usize>: DecodeBlock<LEN> {
    /// The block of these values. Meaningless where [`EncodeBlock::holds`] then says no.
    fn encode(values: &[f32; LEN]) -> Self;

    /// Whether the block made of `values` can stand for them: nothing overflowed, and no NaN got lost.
    fn holds(&self, values: &[f32; LEN]) -> bool;
}

/// Turns rows of one stored type into f32.
#[derive(Debug)]
pub struct Decoder {
    stored_type: StoredType,
    kernels: Kernels<DecodeKernel>,
}

/// Turns f32 into rows of one stored type.
#[derive(Debug)]
pub struct Encoder {
    stored_type: StoredType,
    kernels: Kernels<EncodeKernel>,
}

type DecodeKernel = unsafe fn(&[u8], &mut [f32]) -> Result<(), BlockError>;
type EncodeKernel = unsafe fn(&[f32], &mut [u8]) -> Result<(), BlockError>;

impl Decoder {
    pub(crate) const fn of<B: DecodeBlock<LEN>, const LEN: usize>() -> Self {
        const { assert_layout::<B, LEN>() };
        let kernels = Kernels::<DecodeKernel> {
            portable: decode_blocks::<B, LEN>,
            #[cfg(target_arch = "x86_64")]
            avx2: decode_avx2::<B, LEN>,
        };
        Decoder { stored_type: B::TYPE, kernels }
    }

    /// The type that this decoder reads.
    pub fn stored_type(&self) -> StoredType {
        self.stored_type
    }

    /// Decodes whole blocks, of one row or of several that lie one after the other: exactly llama.cpp's
    /// `dequantize_row_*` in f32, whatever the CPU.
    ///
    /// # Errors
    /// Where `dst` is no whole number of blocks or `src` isn't as long as those blocks. Bytes are never refused: every
    /// pattern of bits has a value, NaN and infinities among them.
    pub fn decode(&self, src: &[u8], dst: &mut [f32]) -> Result<(), BlockError> {
        self.decode_with(Isa::best(), src, dst)
    }

    pub(crate) fn decode_with(&self, isa: Isa, src: &[u8], dst: &mut [f32]) -> Result<(), BlockError> {
        // SAFETY: an `Isa` exists only where this CPU has its instructions.
        unsafe { (self.kernels.get(isa))(src, dst) }
    }
}

impl Encoder {
    pub(crate) const fn of<B: EncodeBlock<LEN>, const LEN: usize>() -> Self {
        const { assert_layout::<B, LEN>() };
        let kernels = Kernels::<EncodeKernel> {
            portable: encode_blocks::<B, LEN>,
            #[cfg(target_arch = "x86_64")]
            avx2: encode_avx2::<B, LEN>,
        };
        Encoder { stored_type: B::TYPE, kernels }
    }

    /// The type that this encoder writes.
    pub fn stored_type(&self) -> StoredType {
        self.stored_type
    }

    /// Encodes values into whole blocks, of one row or of several that lie one after the other: the bytes of llama.cpp's
    /// `quantize_row_*_ref` as a stock x86-64 build computes them, whatever the CPU.
    ///
    /// Where llama.cpp would write a scale of infinity or NaN (and `llama-quantize` then refuse its own result), this is
    /// an error that names the value. NaN and infinities themselves pass only into `f32`, `f16` and `bf16`.
    ///
    /// # Errors
    /// Where `src` is no whole number of blocks, `dst` isn't as long as those blocks, or a value cannot be stored.
    /// `dst` then holds nothing of use.
    pub fn encode(&self, src: &[f32], dst: &mut [u8]) -> Result<(), BlockError> {
        self.encode_with(Isa::best(), src, dst)
    }

    pub(crate) fn encode_with(&self, isa: Isa, src: &[f32], dst: &mut [u8]) -> Result<(), BlockError> {
        // SAFETY: an `Isa` exists only where this CPU has its instructions.
        unsafe { (self.kernels.get(isa))(src, dst) }
    }
}

/// Holds a block's Rust layout against the table of stored types.
const fn assert_layout<B: DecodeBlock<LEN>, const LEN: usize>() {
    assert!(B::TYPE.block_len() == LEN as u64);
    assert!(B::TYPE.block_bytes() == size_of::<B>() as u64);
}

#[inline(always)]
fn decode_blocks<B: DecodeBlock<LEN>, const LEN: usize>(src: &[u8], dst: &mut [f32]) -> Result<(), BlockError> {
    let (bytes, values) = (src.len(), dst.len());
    let (dst, []) = dst.as_chunks_mut::<LEN>() else {
        return Err(BlockError::PartialBlock { stored_type: B::TYPE, values });
    };
    let expected = dst.len() * size_of::<B>();
    let src = <[B]>::ref_from_bytes_with_elems(src, dst.len()).map_err(|_| BlockError::Length {
        stored_type: B::TYPE,
        values,
        bytes,
        expected,
    })?;
    for (block, values) in src.iter().zip(dst) {
        block.decode(values);
    }
    Ok(())
}

#[inline(always)]
fn encode_blocks<B: EncodeBlock<LEN>, const LEN: usize>(src: &[f32], dst: &mut [u8]) -> Result<(), BlockError> {
    let (bytes, values) = (dst.len(), src.len());
    let (src, []) = src.as_chunks::<LEN>() else {
        return Err(BlockError::PartialBlock { stored_type: B::TYPE, values });
    };
    let expected = src.len() * size_of::<B>();
    let dst = <[B]>::mut_from_bytes_with_elems(dst, src.len()).map_err(|_| BlockError::Length {
        stored_type: B::TYPE,
        values,
        bytes,
        expected,
    })?;
    // No early exit: the loop stays free of branches, and a failure is explained afterwards.
    let mut held = true;
    for (values, block) in src.iter().zip(dst) {
        *block = B::encode(values);
        held &= block.holds(values);
    }
    if held { Ok(()) } else { Err(explain::<B, LEN>(src)) }
}

/// Finds the first block that can't hold its values, and says why.
#[cold]
fn explain<B: EncodeBlock<LEN>, const LEN: usize>(blocks: &[[f32; LEN]]) -> BlockError {
    let stored_type = B::TYPE;
    let lost = |values: &&[f32; LEN]| !B::encode(values).holds(values);
    let (block, values) = blocks.iter().enumerate().find(|(_, values)| lost(values)).unwrap_or((0, &[f32::NAN; LEN]));
    let index = block * LEN;
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        return BlockError::NonFinite { stored_type, index: index + at, value: values[at] };
    }
    if let [value] = values[..] {
        return BlockError::Overflow { stored_type, index, value };
    }
    let min = values.iter().copied().fold(f32::INFINITY, f32::min);
    let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    BlockError::ScaleOverflow { stored_type, index, min, max }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn decode_avx2<B: DecodeBlock<LEN>, const LEN: usize>(src: &[u8], dst: &mut [f32]) -> Result<(), BlockError> {
    decode_blocks::<B, LEN>(src, dst)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn encode_avx2<B: EncodeBlock<LEN>, const LEN: usize>(src: &[f32], dst: &mut [u8]) -> Result<(), BlockError> {
    encode_blocks::<B, LEN>(src, dst)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use model::StoredType;

    use crate::isa::Isa;
    use crate::{BlockError, decodable, decode_rows, decoder, encodable, encode_rows, encoder};

    /// Bits without a pattern: xorshift, the same ones each time.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(len)
        .collect()
    }

    #[test]
    fn instruction_sets_agree_to_the_bit() {
        const VALUES: usize = 256 * 37;
        let weights: Vec<f32> =
            noise(VALUES * 2).as_chunks::<2>().0.iter().map(|b| f32::from(i16::from_le_bytes(*b)) * 3e-6).collect();
        for stored_type in decodable() {
            let bytes = noise(stored_type.row_bytes(VALUES as u64).unwrap() as usize);
            let decoded = |isa| {
                let mut values = vec![0.0f32; VALUES];
                decoder(stored_type).unwrap().decode_with(isa, &bytes, &mut values).unwrap();
                // A NaN out of arithmetic has no defined bits.
                values.into_iter().map(|v| if v.is_nan() { u32::MAX } else { v.to_bits() }).collect::<Vec<_>>()
            };
            for isa in Isa::available() {
                assert!(decoded(isa) == decoded(Isa::PORTABLE), "{stored_type} on {isa:?}");
            }
        }
        for stored_type in encodable() {
            let encoded = |isa| {
                let mut bytes = vec![0; stored_type.row_bytes(VALUES as u64).unwrap() as usize];
                encoder(stored_type).unwrap().encode_with(isa, &weights, &mut bytes).unwrap();
                bytes
            };
            for isa in Isa::available() {
                assert!(encoded(isa) == encoded(Isa::PORTABLE), "{stored_type} on {isa:?}");
            }
        }
    }

    #[test]
    fn lengths_must_fit() {
        for stored_type in decodable() {
            let (len, bytes) = (stored_type.block_len() as usize, stored_type.block_bytes() as usize);
            let error = decode_rows(stored_type, &vec![0; 2 * bytes + 1], &mut vec![0.0; 2 * len]);
            let expected =
                BlockError::Length { stored_type, values: 2 * len, bytes: 2 * bytes + 1, expected: 2 * bytes };
            assert_eq!(error, Err(expected));
            assert_eq!(decode_rows(stored_type, &[], &mut []), Ok(()));
        }
        for stored_type in encodable() {
            let (len, bytes) = (stored_type.block_len() as usize, stored_type.block_bytes() as usize);
            let error = encode_rows(stored_type, &vec![0.0; 2 * len], &mut vec![0; bytes]);
            assert_eq!(error, Err(BlockError::Length { stored_type, values: 2 * len, bytes, expected: 2 * bytes }));
        }
        let stored_type = StoredType::Q4_1;
        let partial = Err(BlockError::PartialBlock { stored_type, values: 33 });
        assert_eq!(decode_rows(stored_type, &[0; 20], &mut [0.0; 33]), partial);
        assert_eq!(encode_rows(stored_type, &[0.0; 33], &mut [0; 20]), partial);
    }

    #[test]
    fn what_is_not_here_is_named_beside_what_is() {
        let error = decode_rows(StoredType::Iq2Xs, &[], &mut []).unwrap_err();
        assert!(error.to_string().starts_with("no decoder for `iq2_xs`; known are `f32`, `f16`,"), "{error}");
        let error = encode_rows(StoredType::Q6K, &[], &mut []).unwrap_err();
        assert_eq!(error.to_string(), "no encoder for `q6_k`; known are `f32`, `f16`, `bf16`, `q4_0`, `q4_1`, `q8_0`");
    }
}
