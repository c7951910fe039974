//! Block codecs: the numbers of a checkpoint or GGUF as they lie on disk, to f32 and back.
//!
//! One file a stored type, with its layout, its arithmetic and its tests; decoded values are llama.cpp's to the bit,
//! encoded bytes are those of its reference quantizers. Nothing here opens a file, starts a thread or knows a tensor:
//! the unit is rows, whole blocks that lie one after the other. mlx's packed rows, which lie in three tensors, are the one
//! layout that is no stored type ([`GroupAffineDecoder`]).
//!
//! ```
//! use model::StoredType;
//!
//! let row: Vec<f32> = (0..64).map(|i| i as f32 / 8.0 - 4.0).collect();
//! let mut bytes = vec![0; StoredType::Q8_0.row_bytes(64).unwrap() as usize];
//! blocks::encode_rows(StoredType::Q8_0, &row, &mut bytes)?;
//!
//! let mut back = vec![0.0; 64];
//! blocks::decode_rows(StoredType::Q8_0, &bytes, &mut back)?;
//! assert!(row.iter().zip(&back).all(|(x, y)| (x - y).abs() < 0.02));
//! # Ok::<(), blocks::BlockError>(())
//! ```

mod c_cast;
mod codec;
mod error;
mod extent;
mod finite;
mod float;
mod group_affine;
mod half_bits;
mod iq4_nl;
mod iq4_xs;
mod isa;
mod nibbles;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod registry;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod golden;

use model::StoredType;

pub use codec::{Decoder, Encoder};
pub use error::BlockError;
pub use finite::{first_not_finite, first_not_finite_value};
pub use group_affine::{GroupAffineDecoder, GroupAffineRows};
pub use isa::{Vectorized, widest};
pub use registry::{decodable, decoder, encodable, encoder};

/// Decodes rows of `stored_type`, see [`Decoder::decode`].
///
/// # Errors
/// As [`Decoder::decode`], and where the type has no decoder.
pub fn decode_rows(stored_type: StoredType, src: &[u8], dst: &mut [f32]) -> Result<(), BlockError> {
    decoder(stored_type).ok_or(BlockError::NoDecoder { stored_type })?.decode(src, dst)
}

/// Encodes rows as `stored_type`, see [`Encoder::encode`].
///
/// # Errors
/// As [`Encoder::encode`], and where the type has no encoder.
pub fn encode_rows(stored_type: StoredType, src: &[f32], dst: &mut [u8]) -> Result<(), BlockError> {
    encoder(stored_type).ok_or(BlockError::NoEncoder { stored_type })?.encode(src, dst)
}
