//! Files that the reference writers made: gguf-py's and the safetensors package's (`tests/data/make.py`).
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::io;
use std::path::PathBuf;

use checkpoint::gguf::{self, Gguf};
use checkpoint::safetensors::{self, Safetensors};
use checkpoint::{ByteSource, StoredTensor};
use model::StoredType;

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

#[test]
fn gguf_py_and_we_write_the_same_bytes() {
    let golden = std::fs::read(data("gguf_py.gguf")).unwrap();
    let file = Gguf::open(&data("gguf_py.gguf")).unwrap();
    let tensors: Vec<StoredTensor> = file.tensors().cloned().collect();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("again.gguf");
    let mut writer = gguf::Writer::create(&path, file.metadata(), &tensors).unwrap();
    for tensor in &tensors {
        writer.write(&tensor.name, file.get(&tensor.name).unwrap().1).unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(std::fs::read(path).unwrap(), golden);
}

#[test]
fn gguf_py_values_are_what_they_were() {
    let file = Gguf::open(&data("gguf_py.gguf")).unwrap();
    let metadata = file.metadata();
    assert_eq!(metadata.require::<&str>("general.architecture").unwrap(), "llama");
    assert_eq!(metadata.require::<u64>("test.u64").unwrap(), u64::MAX);
    assert_eq!(metadata.require::<i64>("test.i64").unwrap(), i64::MIN);
    assert_eq!(metadata.require::<f32>("test.f32").unwrap(), 1e-5);
    assert_eq!(metadata.require::<&str>("test.string").unwrap(), "grüße");
    assert_eq!(metadata.require::<&[gguf::ByteString]>("test.tokens").unwrap()[0].0, [0xff, 0xfe]);
    assert_eq!(metadata.require::<&[f32]>("test.scores").unwrap(), [0.5, -1.0]);
    let tensors: Vec<_> = file.tensors().map(|t| (t.name.as_str(), t.stored_type, t.shape.clone())).collect();
    assert_eq!(
        tensors,
        [
            ("plain.weight", StoredType::F32, vec![2, 5]),
            ("half.bias", StoredType::F16, vec![3]),
            ("block.weight", StoredType::Q8_0, vec![2, 64]),
        ]
    );
    let mut plain = vec![0.0; 10];
    blocks::decode_rows(StoredType::F32, file.get("plain.weight").unwrap().1, &mut plain).unwrap();
    assert_eq!(plain[..6], [-7.5, -7.375, -7.25, -7.125, -7.0, 0.5]);
}

#[test]
fn the_safetensors_package_and_we_agree() {
    let path = data("reference.safetensors");
    let file = Safetensors::open_file(&path).unwrap();
    assert_eq!(file.metadata()["format"], "np");
    let (float16, bytes) = file.get("float16").unwrap();
    assert_eq!((float16.stored_type, float16.shape.as_slice()), (StoredType::F16, &[2, 3][..]));
    assert_eq!(bytes[2..4], half::f16::from_f32(1.0).to_le_bytes());
    assert_eq!(file.get("scalar").unwrap().0.shape, Vec::<u64>::new());
    assert_eq!(file.get("empty").unwrap().1, [0u8; 0]);
    // Written again in the same order it is the same data behind our own header.
    let tensors: Vec<StoredTensor> = file.tensors().cloned().collect();
    let dir = tempfile::tempdir().unwrap();
    let again = dir.path().join("again.safetensors");
    let mut writer = safetensors::Writer::create(&again, &tensors, file.metadata()).unwrap();
    for tensor in &tensors {
        writer.write(&tensor.name, file.get(&tensor.name).unwrap().1).unwrap();
    }
    writer.finish().unwrap();
    let again = Safetensors::open_file(&again).unwrap();
    for tensor in &tensors {
        assert_eq!(again.get(&tensor.name), file.get(&tensor.name));
    }
}

/// A source that counts how it is read, as a hub would bill it.
struct Remote {
    bytes: Vec<u8>,
    reads: Cell<usize>,
    read_bytes: Cell<usize>,
}

impl ByteSource for Remote {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.reads.set(self.reads.get() + 1);
        self.read_bytes.set(self.read_bytes.get() + into.len());
        self.bytes.read_at(offset, into)
    }
}

#[test]
fn headers_take_few_ranged_reads() {
    let remote = |bytes| Remote { bytes, reads: Cell::new(0), read_bytes: Cell::new(0) };
    let small = remote(std::fs::read(data("reference.safetensors")).unwrap());
    safetensors::Header::read(&small).unwrap();
    assert_eq!(small.reads.get(), 2);

    // A vocabulary of 100,000 tokens before a tensor of 64 MB.
    let tokens: Vec<gguf::ByteString> = (0..100_000).map(|i| format!("token number {i}").into()).collect();
    let metadata: gguf::Metadata = [("tokenizer.ggml.tokens", tokens)].into_iter().collect();
    let tensor = StoredTensor { name: "w".into(), stored_type: StoredType::F32, shape: vec![16, 1 << 20] };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.gguf");
    let mut writer = gguf::Writer::create(&path, &metadata, std::slice::from_ref(&tensor)).unwrap();
    for _ in 0..64 {
        writer.write("w", &vec![0; 1 << 20]).unwrap();
    }
    writer.finish().unwrap();
    let large = remote(std::fs::read(path).unwrap());
    gguf::Header::read(&large).unwrap();
    assert!(large.reads.get() <= 6, "{} reads", large.reads.get());
    assert!(large.read_bytes.get() <= 8 << 20, "{} bytes", large.read_bytes.get());
}
