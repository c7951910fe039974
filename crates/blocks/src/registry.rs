//! Which stored types are read and written here.

use model::StoredType;

use crate::codec::{Decoder, Encoder};
use crate::float::{Bf16, F16, F32};
use crate::iq4_nl::Iq4Nl;
use crate::iq4_xs::Iq4Xs;
use crate::q2_k::Q2K;
use crate::q3_k::Q3K;
use crate::q4_0::Q4_0;
use crate::q4_1::Q4_1;
use crate::q4_k::Q4K;
use crate::q5_0::Q5_0;
use crate::q5_1::Q5_1;
use crate::q5_k::Q5K;
use crate::q6_k::Q6K;
use crate::q8_0::Q8_0;

static DECODERS: [Decoder; 15] = [
    Decoder::of::<F32, 1>(),
    Decoder::of::<F16, 1>(),
    Decoder::of::<Bf16, 1>(),
    Decoder::of::<Q4_0, 32>(),
    Decoder::of::<Q4_1, 32>(),
    Decoder::of::<Q5_0, 32>(),
    Decoder::of::<Q5_1, 32>(),
    Decoder::of::<Q8_0, 32>(),
    Decoder::of::<Q2K, 256>(),
    Decoder::of::<Q3K, 256>(),
    Decoder::of::<Q4K, 256>(),
    Decoder::of::<Q5K, 256>(),
    Decoder::of::<Q6K, 256>(),
    Decoder::of::<Iq4Nl, 32>(),
    Decoder::of::<Iq4Xs, 256>(),
];

static ENCODERS: [Encoder; 6] = [
    Encoder::of::<F32, 1>(),
    Encoder::of::<F16, 1>(),
    Encoder::of::<Bf16, 1>(),
    Encoder::of::<Q4_0, 32>(),
    Encoder::of::<Q4_1, 32>(),
    Encoder::of::<Q8_0, 32>(),
];

/// The decoder of a type; `None` where nothing here reads it.
pub fn decoder(stored_type: StoredType) -> Option<&'static Decoder> {
    DECODERS.iter().find(|decoder| decoder.stored_type() == stored_type)
}

/// The encoder of a type; `None` where nothing here writes it.
pub fn encoder(stored_type: StoredType) -> Option<&'static Encoder> {
    ENCODERS.iter().find(|encoder| encoder.stored_type() == stored_type)
}

/// Every type that has a decoder.
pub fn decodable() -> impl Iterator<Item = StoredType> {
    DECODERS.iter().map(Decoder::stored_type)
}

/// Every type that has an encoder.
pub fn encodable() -> impl Iterator<Item = StoredType> {
    ENCODERS.iter().map(Encoder::stored_type)
}
