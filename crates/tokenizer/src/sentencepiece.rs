//! The pieces of a SentencePiece model, `tokenizer.model`.
//!
//! The file is a protocol buffer, `ModelProto` of `sentencepiece_model.proto`. Its pieces are read: text, score and
//! type, in the order of their ids; how the model was trained is passed over. Every length in the file is held
//! against the bytes that are left before anything is taken by it.

use crate::gguf::TokenType;

/// One piece; its id is its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The text, spaces written `▁`.
    pub text: String,
    /// The higher, the earlier it is put together.
    pub score: f32,
    /// SentencePiece numbers its types as GGUF does.
    pub kind: TokenType,
}

/// Why a file is no SentencePiece model.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SentencePieceError {
    /// The file ends inside something.
    #[error(
        "`tokenizer.model` is cut off: {what} at byte {at} reaches beyond its end (hint: bring the file again; \
         where `tokenizer.json` is complete, it can be left out)"
    )]
    CutOff {
        /// What was being read.
        what: &'static str,
        /// Where it begins.
        at: usize,
    },
    /// No protocol buffer, or another one.
    #[error(
        "`tokenizer.model` is no SentencePiece model: {what} at byte {at} (hint: other tokenizers use the name too; \
         where `tokenizer.json` is complete, leave the file out)"
    )]
    Malformed {
        /// What was found.
        what: String,
        /// Where.
        at: usize,
    },
    /// A protocol buffer without pieces.
    #[error("`tokenizer.model` holds no pieces (hint: bring the file again)")]
    NoPieces,
}

/// Reads the pieces of a `tokenizer.model`.
///
/// # Errors
/// [`SentencePieceError`].
pub fn read_pieces(bytes: &[u8]) -> Result<Vec<Piece>, SentencePieceError> {
    let mut pieces = Vec::new();
    let mut model = Fields { bytes, at: 0, end: bytes.len() };
    while let Some((number, value)) = model.next()? {
        if let (1, Value::Bytes { start, end }) = (number, value) {
            pieces.push(read_piece(Fields { bytes, at: start, end })?);
        }
    }
    if pieces.is_empty() { Err(SentencePieceError::NoPieces) } else { Ok(pieces) }
}

fn read_piece(mut fields: Fields<'_>) -> Result<Piece, SentencePieceError> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: TokenType::Normal };
    loop {
        let at = fields.at;
        let malformed = |what: String| SentencePieceError::Malformed { what, at };
        match fields.next()? {
            None => return Ok(piece),
            Some((1, Value::Bytes { start, end })) => {
                let text = std::str::from_utf8(&fields.bytes[start..end]);
                piece.text = text.map_err(|_| malformed("a piece that is not UTF-8".into()))?.to_owned();
            }
            Some((2, Value::Fixed32(bits))) => piece.score = f32::from_bits(bits),
            Some((3, Value::Varint(kind))) => {
                let known = i32::try_from(kind).ok().and_then(TokenType::from_stored);
                piece.kind = known.ok_or_else(|| malformed(format!("a piece of type {kind}")))?;
            }
            Some((1..=3, _)) => return Err(malformed("a field of a piece with another type".into())),
            Some(_) => {}
        }
    }
}

/// Writes a model of BPE with byte fallback that SentencePiece, and so llama.cpp's converter, can load.
///
/// `add_dummy_prefix` is whether a space is put before a text. SentencePiece wants one piece of unknown type.
pub fn write_pieces(pieces: &[Piece], add_dummy_prefix: bool) -> Vec<u8> {
    let mut model = Vec::new();
    for piece in pieces {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, piece.text.as_bytes());
        put_varint(&mut message, 2 << 3 | 5);
        message.extend(piece.score.to_le_bytes());
        put_number(&mut message, 3, piece.kind as u64);
        put_bytes(&mut model, 1, &message);
    }
    let mut trainer = Vec::new();
    put_number(&mut trainer, 3, 2); // model_type: BPE
    put_number(&mut trainer, 35, 1); // byte_fallback
    put_bytes(&mut model, 2, &trainer);
    let mut normalizer = Vec::new();
    put_bytes(&mut normalizer, 1, b"identity");
    put_number(&mut normalizer, 3, add_dummy_prefix.into());
    put_number(&mut normalizer, 4, 0); // remove_extra_whitespaces
    put_number(&mut normalizer, 5, 1); // escape_whitespaces
    put_bytes(&mut model, 3, &normalizer);
    model
}

fn put_number(out: &mut Vec<u8>, field: u64, number: u64) {
    put_varint(out, field << 3);
    put_varint(out, number);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A field's value as the wire has it; bytes by where they lie.
enum Value {
    Varint(u64),
    Fixed64,
    Bytes { start: usize, end: usize },
    Fixed32(u32),
}

/// The fields of one message, which lies between `at` and `end`.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl Fields<'_> {
    fn next(&mut self) -> Result<Option<(u64, Value)>, SentencePieceError> {
        if self.at == self.end {
            return Ok(None);
        }
        let at = self.at;
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8, "a number").map(|_| Value::Fixed64)?,
            2 => {
                let length = self.varint()?;
                let start = self.take(length, "a text or message")?;
                Value::Bytes { start, end: self.at }
            }
            5 => {
                let start = self.take(4, "a number")?;
                let mut bits = [0; 4];
                bits.copy_from_slice(&self.bytes[start..self.at]);
                Value::Fixed32(u32::from_le_bytes(bits))
            }
            wire => return Err(SentencePieceError::Malformed { what: format!("wire type {wire}"), at }),
        };
        match tag >> 3 {
            0 => Err(SentencePieceError::Malformed { what: "field number 0".into(), at }),
            number => Ok(Some((number, value))),
        }
    }

    /// Passes over `length` bytes and returns where they begin.
    fn take(&mut self, length: u64, what: &'static str) -> Result<usize, SentencePieceError> {
        let start = self.at;
        let cut_off = SentencePieceError::CutOff { what, at: start };
        match usize::try_from(length).ok().filter(|length| *length <= self.end - start) {
            Some(length) => self.at += length,
            None => return Err(cut_off),
        }
        Ok(start)
    }

    /// Seven bits a byte, the lowest first; at most ten bytes.
    fn varint(&mut self) -> Result<u64, SentencePieceError> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let at = self.take(1, "a number")?;
            let bits = u64::from(self.bytes[at] & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if self.bytes[at] < 0x80 {
                return Ok(value);
            }
        }
        Err(SentencePieceError::Malformed { what: "a number of more than 64 bits".into(), at: start })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Pieces `<unk>` (unknown), `▁a` (score -1.5) and a trainer's message, which is passed over.
    fn model() -> Vec<u8> {
        let mut bytes = vec![0x0a, 9, 0x0a, 5];
        bytes.extend(b"<unk>\x18\x02");
        bytes.extend([0x0a, 11, 0x0a, 4]);
        bytes.extend("▁a".as_bytes());
        bytes.push(0x15);
        bytes.extend((-1.5f32).to_le_bytes());
        bytes.extend([0x12, 3, 0x18, 0xac, 0x02]);
        bytes
    }

    #[test]
    fn pieces_are_read_in_order() {
        let piece = |text: &str, score, kind| Piece { text: text.into(), score, kind };
        let expected = [piece("<unk>", 0.0, TokenType::Unknown), piece("▁a", -1.5, TokenType::Normal)];
        assert_eq!(read_pieces(&model()).unwrap(), expected);
    }

    #[test]
    fn what_is_written_is_read() {
        let pieces: Vec<Piece> = (0..300)
            .map(|id| Piece { text: format!("▁{id}{}", "x".repeat(id)), score: -(id as f32), kind: TokenType::Byte })
            .collect();
        assert_eq!(read_pieces(&write_pieces(&pieces, true)).unwrap(), pieces);
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_survived() {
        let whole = model();
        let borders = [0, 11, 24, whole.len()];
        for length in 0..whole.len() {
            let read = read_pieces(&whole[..length]);
            assert_eq!(read.is_ok(), borders[1..].contains(&length), "{length}: {read:?}");
        }
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut changed = whole.clone();
                changed[at] = byte;
                // Whatever comes of it, nothing is read beyond the file.
                if let Ok(pieces) = read_pieces(&changed) {
                    assert!(pieces.iter().map(|piece| piece.text.len()).sum::<usize>() <= whole.len());
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let message = |bytes: &[u8]| read_pieces(bytes).unwrap_err().to_string();
        assert!(message(b"").contains("no pieces"));
        assert!(message(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x").contains("cut off"));
        assert!(message(&[0xff; 12]).contains("more than 64 bits"));
        assert!(message(b"\x07").contains("no SentencePiece model: wire type 7 at byte 0"));
        assert!(read_pieces(b"IQ== 0\nIg== 1\nIw== 2\n").is_err(), "tiktoken's files have the name too");
        assert!(message(b"\x0a\x03\x0a\x01\xff").contains("not UTF-8"));
        assert!(message(b"\x0a\x02\x18\x09").contains("type 9"));
        assert!(message(b"\x0a\x02\x08\x01").contains("another type"));
    }
}
