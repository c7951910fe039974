//! Golden files: what llama.cpp's own C makes of the same bytes and values. `tests/golden/README.md` says how they came.

use std::path::{Path, PathBuf};

use model::StoredType;

use crate::isa::Isa;
use crate::{decoder, encoder};

/// Decodes `<type>.blocks` and compares with `<type>.values`, on every instruction set that this CPU has.
#[track_caller]
pub(crate) fn decodes(stored_type: StoredType) {
    let blocks = read(&format!("decode/{stored_type}.blocks"));
    let expected = read_f32(&format!("decode/{stored_type}.values"));
    let decoder = decoder(stored_type).unwrap();
    for isa in Isa::available() {
        let mut values = vec![0.0; expected.len()];
        decoder.decode_with(isa, &blocks, &mut values).unwrap();
        for (index, (ours, theirs)) in values.iter().zip(&expected).enumerate() {
            // A NaN out of arithmetic has no defined bits, in C as in Rust.
            let nan = stored_type.is_quantized() && ours.is_nan() && theirs.is_nan();
            assert!(nan || ours.to_bits() == theirs.to_bits(), "{isa:?}: value {index} is {ours:e}, not {theirs:e}");
        }
    }
}

/// Encodes `floats.values` or `blocks.values` and compares with `<type>.blocks`, on every instruction set of this CPU.
#[track_caller]
pub(crate) fn encodes(stored_type: StoredType) {
    let values = read_f32(if stored_type.is_quantized() { "encode/blocks.values" } else { "encode/floats.values" });
    let expected = read(&format!("encode/{stored_type}.blocks"));
    let encoder = encoder(stored_type).unwrap();
    let (len, bytes) = (stored_type.block_len() as usize, stored_type.block_bytes() as usize);
    for isa in Isa::available() {
        let mut blocks = vec![0; expected.len()];
        encoder.encode_with(isa, &values, &mut blocks).unwrap();
        for (index, (ours, theirs)) in blocks.chunks(bytes).zip(expected.chunks(bytes)).enumerate() {
            let values = &values[index * len..][..len];
            assert_eq!(ours, theirs, "{isa:?}: block {index}, of {values:?}");
        }
    }
}

fn read(name: &str) -> Vec<u8> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read_f32(name: &str) -> Vec<f32> {
    read(name).as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
