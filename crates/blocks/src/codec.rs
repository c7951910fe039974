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
            #[cfg(target_arch = "x86_64")]
            avx512: decode_avx512::<B, LEN>,
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
            #[cfg(target_arch = "x86_64")]
            avx512: encode_avx512::<B, LEN>,
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

/// For [`EncodeBlock::holds`]: a maximum by comparisons passes over a NaN in silence.
#[inline(always)]
pub(crate) fn all_finite<const LEN: usize>(values: &[f32; LEN]) -> bool {
    values.iter().fold(true, |all, value| all & value.is_finite())
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
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn decode_avx512<B: DecodeBlock<LEN>, const LEN: usize>(src: &[u8], dst: &mut [f32]) -> Result<(), BlockError> {
    decode_blocks::<B, LEN>(src, dst)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn encode_avx2<B: EncodeBlock<LEN>, const LEN: usize>(src: &[f32], dst: &mut [u8]) -> Result<(), BlockError> {
    encode_blocks::<B, LEN>(src, dst)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn encode_avx512<B: EncodeBlock<LEN>, const LEN: usize>(src: &[f32], dst: &mut [u8]) -> Result<(), BlockError> {
    encode_blocks::<B, LEN>(src, dst)
}
