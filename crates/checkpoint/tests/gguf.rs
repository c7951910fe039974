//! GGUF: byte-exact round trips, strictness, split files, streamed writing.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use checkpoint::ByteSource;
use checkpoint::gguf::{Array, ByteString, Gguf, Header, Metadata, Problem, Value, Writer};
use common::{Random, allocations};
use model::StoredType;
use model::description::StoredTensor;

#[global_allocator]
static WATCHING: allocations::Watching = allocations::Watching;

/// One pair of every value type, strings that are no UTF-8, empty and nested arrays.
fn every_value_type() -> Metadata {
    let odd = ByteString(vec![0xff, 0x00, b'a', 0xc3]);
    let scalars: Vec<(&str, Value)> = vec![
        ("general.architecture", "llama".into()),
        ("u8", 200u8.into()),
        ("i8", (-3i8).into()),
        ("u16", 65_000u16.into()),
        ("i16", (-300i16).into()),
        ("u32", u32::MAX.into()),
        ("i32", i32::MIN.into()),
        ("f32", f32::from_bits(0x7fc0_1234).into()),
        ("bool", true.into()),
        ("string", odd.clone().into()),
        ("u64", u64::MAX.into()),
        ("i64", i64::MIN.into()),
        ("f64", std::f64::consts::PI.into()),
        ("empty string", "".into()),
    ];
    let arrays: Vec<(&str, Value)> = vec![
        ("u8s", vec![1u8, 2].into()),
        ("i8s", vec![-1i8].into()),
        ("u16s", vec![1u16, 2, 3].into()),
        ("i16s", vec![-1i16].into()),
        ("u32s", vec![7u32, 8].into()),
        ("i32s", vec![-7i32].into()),
        ("f32s", vec![0.5f32, f32::NEG_INFINITY].into()),
        ("bools", vec![true, false].into()),
        ("strings", vec![ByteString::from("a"), odd, "".into()].into()),
        ("u64s", vec![1u64 << 40].into()),
        ("i64s", vec![-1i64].into()),
        ("f64s", vec![1e300f64].into()),
        ("empty", Vec::<u32>::new().into()),
        ("nested", Value::Array(Array::Array(vec![Array::I32(vec![1]), Array::String(vec!["x".into()])]))),
    ];
    scalars.into_iter().chain(arrays).collect()
}

fn tensor(name: &str, stored_type: StoredType, shape: &[u64]) -> StoredTensor {
    StoredTensor { name: name.into(), stored_type, shape: shape.into() }
}

fn some_tensors() -> Vec<StoredTensor> {
    vec![
        tensor("token_embd.weight", StoredType::Q4_0, &[3, 64]),
        tensor("norm", StoredType::F32, &[5]),
        tensor("scalar", StoredType::Bf16, &[]),
        tensor("experts", StoredType::F16, &[2, 3, 4]),
    ]
}

/// Bytes that tell tensors apart.
fn data_of(tensor: &StoredTensor) -> Vec<u8> {
    let seed = tensor.name.len() as u64;
    (0..tensor.bytes()).map(|i| (i * 7 + seed) as u8).collect()
}

fn write(path: &Path, metadata: &Metadata, tensors: &[StoredTensor]) {
    let mut writer = Writer::create(path, metadata, tensors).unwrap();
    for tensor in tensors {
        // In uneven pieces, as a stage would stream them.
        for piece in data_of(tensor).chunks(7) {
            writer.write(&tensor.name, piece).unwrap();
        }
    }
    writer.finish().unwrap();
}

fn file_bytes(metadata: &Metadata, tensors: &[StoredTensor]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    write(&path, metadata, tensors);
    std::fs::read(path).unwrap()
}

fn problem(bytes: &[u8]) -> String {
    Header::read(bytes).unwrap_err().to_string()
}

/// Replaces the one occurrence of `from`.
fn patched(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn every_value_type_round_trips_byte_for_byte() {
    let bytes = file_bytes(&every_value_type(), &some_tensors());
    let header = Header::read(&bytes).unwrap();
    // A NaN is not equal to itself, so bytes are what is compared.
    let encoded = header.encode().unwrap();
    assert_eq!(encoded, bytes[..encoded.len()]);
    assert_eq!(header.metadata.iter().len(), every_value_type().iter().len());
    let found: Vec<_> = header.tensors.iter().map(|t| t.tensor.clone()).collect();
    assert_eq!(found, some_tensors());
    for located in &header.tensors {
        assert_eq!(located.slice(&bytes), data_of(&located.tensor), "{}", located.tensor.name);
        assert_eq!((located.offset - header.tensors[0].offset) % 32, 0);
    }
    assert_eq!(bytes.len() % 32, 0, "the last tensor is padded");
}

#[test]
fn version_2_reads_alike_and_keeps_its_number() {
    let mut bytes = file_bytes(&every_value_type(), &some_tensors());
    bytes[4] = 2;
    let header = Header::read(&bytes).unwrap();
    let encoded = header.encode().unwrap();
    assert_eq!((header.version, &encoded[..]), (2, &bytes[..encoded.len()]));
}

#[test]
fn another_alignment_is_obeyed() {
    let metadata: Metadata = [("general.alignment", Value::U32(64))].into_iter().collect();
    let bytes = file_bytes(&metadata, &some_tensors());
    let header = Header::read(&bytes).unwrap();
    assert_eq!(header.alignment, 64);
    assert!(header.tensors.iter().all(|t| t.offset % 64 == 0));
    assert_eq!(
        problem(&patched(&bytes, &64u32.to_le_bytes(), &48u32.to_le_bytes())),
        "alignment 48 is not a power of two"
    );
}

#[test]
fn typed_access_names_key_got_and_expected() {
    let metadata = every_value_type();
    assert_eq!(metadata.require::<u64>("u8").unwrap(), 200);
    assert_eq!(metadata.require::<Vec<u32>>("u16s").unwrap(), [1, 2, 3]);
    assert_eq!(metadata.get::<&str>("general.architecture").unwrap(), Some("llama"));
    assert_eq!(metadata.get::<f32>("nowhere").unwrap(), None);
    let message = |error: checkpoint::gguf::MetadataError| error.to_string();
    let missing = metadata.require::<u32>("llama.block_count").map_err(message);
    assert_eq!(missing.unwrap_err(), "metadata key `llama.block_count` is missing, expected u32");
    let wrong = metadata.require::<u32>("general.architecture").map_err(message);
    assert_eq!(wrong.unwrap_err(), "metadata key `general.architecture` is string, expected u32");
    let negative = metadata.require::<u32>("i8").map_err(message);
    assert_eq!(negative.unwrap_err(), "metadata key `i8` is -3, which does not fit u32");
    let bytes = metadata.require::<&str>("string").map_err(message);
    assert_eq!(bytes.unwrap_err(), r"metadata key `string` holds `\xff\x00a\xc3`, which is not UTF-8");
    let array = metadata.require::<&str>("strings").map_err(message);
    assert_eq!(array.unwrap_err(), "metadata key `strings` is array of 3 string, expected string");
}

#[test]
fn foreign_and_old_files_are_refused_with_a_way_out() {
    let bytes = file_bytes(&every_value_type(), &some_tensors());
    let with_version = |version: u32| [&bytes[..4], &version.to_le_bytes(), &bytes[8..]].concat();
    assert_eq!(problem(b"PK\x03\x04 zip"), r"not a GGUF: it begins with `PK\x03\x04` instead of `GGUF`");
    assert!(
        problem(&with_version(1)).contains("version 1 is not read, only 2 and 3; files of version 1 are from 2023")
    );
    assert!(problem(&with_version(4)).contains("version 4 is not read"));
    assert!(problem(&with_version(3u32.swap_bytes())).contains("big-endian GGUF"));
    assert!(matches!(Header::read(&b""[..]), Err(Problem::Truncated { .. })));
}

#[test]
fn removed_and_unknown_types_are_refused_by_name() {
    let bytes = file_bytes(&Metadata::default(), &[tensor("w", StoredType::Iq4Nl, &[32])]);
    let with_type = |id: u32| patched(&bytes, &20u32.to_le_bytes(), &id.to_le_bytes());
    let q4_0 = "tensor `w` has type 31, `q4_0_4_4`, which llama.cpp has removed; take the model's `q4_0` file instead";
    assert!(problem(&with_type(31)).starts_with(q4_0));
    assert!(problem(&with_type(38)).contains("`iq4_nl_8_8`, which llama.cpp has removed; take the model's `iq4_nl`"));
    assert!(problem(&with_type(99)).contains("tensor `w` has type 99, which is not known; known are 0 `f32`, 1 `f16`"));
}

#[test]
fn huge_counts_and_lengths_are_held_against_the_file() {
    let bytes = file_bytes(&every_value_type(), &some_tensors());
    let mut tensors = bytes.clone();
    tensors[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(problem(&tensors).contains("claims 18446744073709551615 tensors"), "{}", problem(&tensors));
    let long = patched(
        &bytes,
        &[&20u64.to_le_bytes()[..], b"general.arch"].concat(),
        &[&(1u64 << 60).to_le_bytes()[..], b"general.arch"].concat(),
    );
    assert!(problem(&long).starts_with("ends inside its header at byte 32: metadata key number 0 needs"));
}

/// A file of a terabyte that nobody has to store: what its header is and zeros.
struct Vast(Vec<u8>);

impl ByteSource for Vast {
    fn len(&self) -> u64 {
        1 << 40
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        into.fill(0);
        let start = (offset as usize).min(self.0.len());
        let known = &self.0[start..(start + into.len()).min(self.0.len())];
        into[..known.len()].copy_from_slice(known);
        Ok(())
    }
}

#[test]
fn a_large_file_is_no_licence_for_a_large_header() {
    let bytes = file_bytes(&every_value_type(), &some_tensors());
    let problem = |header: Vec<u8>| {
        let (largest, result) = allocations::largest_of(|| Header::read(&Vast(header)));
        assert!(largest < 1 << 20, "{largest} bytes");
        result.unwrap_err().to_string()
    };
    let architecture = |length: u64| [&length.to_le_bytes()[..], b"general.arch"].concat();
    let key = problem(patched(&bytes, &architecture(20), &architecture(1 << 38)));
    assert!(key.starts_with("metadata key number 0 at byte 32 takes 274877906944 bytes, but a header has"), "{key}");
    let items = |count: u64| [&5u32.to_le_bytes()[..], &count.to_le_bytes(), &(-7i32).to_le_bytes()].concat();
    let array = problem(patched(&bytes, &items(1), &items(1 << 36)));
    assert!(array.starts_with("the items of metadata key `i32s` at byte"), "{array}");
}

#[test]
fn descriptions_leave_long_arrays_out_however_they_nest() {
    let inner = |length: usize| Value::Array(Array::Array(vec![Array::U8(vec![0; length])]));
    let metadata: Metadata = [("short", inner(8)), ("long", inner(9))].into_iter().collect();
    assert_eq!(metadata.describe(9).into_keys().collect::<Vec<_>>(), ["short"]);
}

#[test]
fn damaged_infos_are_refused() {
    let bytes = file_bytes(&Metadata::default(), &some_tensors());
    let info = |name: &str| [&(name.len() as u64).to_le_bytes()[..], name.as_bytes()].concat();
    let twice = patched(&patched(&bytes, &info("norm"), &info("same")), &info("scalar"), &info("same"));
    assert_eq!(problem(&twice), "tensor `same` appears twice");
    let long = "n".repeat(64);
    let long_name = patched(&bytes, &info("norm"), &info(&long));
    assert!(problem(&long_name).ends_with("has 64 bytes, llama.cpp takes at most 63"));
    let header = Header::read(&bytes).unwrap();
    let offset = header.tensors[1].offset - header.tensors[0].offset;
    let moved = patched(
        &bytes,
        &[&[0, 0, 0, 0], &offset.to_le_bytes()[..]].concat(),
        &[&[0, 0, 0, 0], &(offset + 32).to_le_bytes()[..]].concat(),
    );
    assert_eq!(problem(&moved), "tensor `norm` has offset 160, expected 128: data must be contiguous");
    let rows = patched(&bytes, &64u64.to_le_bytes(), &63u64.to_le_bytes());
    assert!(problem(&rows).contains("fills no whole blocks of `q4_0` (of 32 values)"));
    let last = header.tensors.last().unwrap();
    let cut = &bytes[..(last.offset + last.bytes - 1) as usize];
    assert!(problem(cut).starts_with("tensor `experts` ends at byte"), "{}", problem(cut));
    assert!(Header::read(&bytes[..(last.offset + last.bytes) as usize]).is_ok(), "llama.cpp needs no last padding");
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = file_bytes(&every_value_type(), &some_tensors());
    let last = Header::read(&bytes).unwrap().tensors.pop().unwrap();
    for len in 0..(last.offset + last.bytes) as usize {
        assert!(Header::read(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn mutated_headers_never_panic_nor_allocate_past_the_file() {
    let bytes = file_bytes(&every_value_type(), &some_tensors());
    let mut random = Random(1);
    for round in 0..20_000 {
        let mut mutant = bytes.clone();
        random.mutate(&mut mutant);
        let (largest, result) = allocations::largest_of(|| Header::read(&mutant));
        // Decoded items may be three times their encoding (an empty string), and lists grow by doubling.
        assert!(largest <= 8 * mutant.len(), "round {round}: {largest} bytes for a file of {}", mutant.len());
        if let Ok(header) = result {
            let encoded = header.encode().unwrap();
            assert_eq!(encoded, mutant[..encoded.len()], "round {round}");
        }
    }
}

#[test]
fn split_files_are_one_model() {
    let dir = tempfile::tempdir().unwrap();
    let part = |number: u32| dir.path().join(format!("m-{number:05}-of-00003.gguf"));
    let split = |number: u16| -> Metadata {
        let all = if number == 0 { vec![("general.architecture", Value::from("llama"))] } else { Vec::new() };
        let own = [("split.no", number.into()), ("split.count", 3u16.into()), ("split.tensors.count", 4i32.into())];
        all.into_iter().chain(own).collect()
    };
    let tensors = some_tensors();
    write(&part(1), &split(0), &[]);
    write(&part(2), &split(1), &tensors[..1]);
    write(&part(3), &split(2), &tensors[1..]);
    let model = Gguf::open(&part(1)).unwrap();
    assert_eq!(model.tensors().cloned().collect::<Vec<_>>(), tensors);
    assert_eq!(model.metadata().require::<&str>("general.architecture").unwrap(), "llama");
    for tensor in &tensors {
        assert_eq!(model.get(&tensor.name).unwrap().1, data_of(tensor));
    }

    let message = |path: &Path| Gguf::open(path).unwrap_err().problem.to_string();
    assert_eq!(message(&part(2)), "is part 2 of 3; name the first part, `m-00001-of-00003.gguf`");
    let renamed = dir.path().join("model.gguf");
    std::fs::copy(part(1), &renamed).unwrap();
    assert_eq!(message(&renamed), "is the first of 3 parts, so its name must end in `-00001-of-00003.gguf`");
    write(&part(3), &split(2), &tensors[2..]);
    assert_eq!(message(&part(1)), "parts hold 3 tensors together, `split.tensors.count` says 4");
    write(&part(3), &split(1), &tensors[1..]);
    assert!(message(&part(1)).starts_with("`split.no` is 1, expected 2"));
    write(&part(3), &split(2), &tensors);
    assert_eq!(message(&part(1)), "tensor `token_embd.weight` appears twice");
    std::fs::remove_file(part(3)).unwrap();
    assert!(message(&part(1)).starts_with("part `m-00003-of-00003.gguf` of 3 is missing"));
}

#[test]
fn a_writer_holds_to_its_plan_and_leaves_nothing_unfinished() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let tensors = [tensor("a", StoredType::F32, &[2]), tensor("b", StoredType::F32, &[1])];
    let mut writer = Writer::create(&path, &Metadata::default(), &tensors).unwrap();
    writer.write("a", &[0; 4]).unwrap();
    let early = writer.write("b", &[0; 4]).unwrap_err().problem.to_string();
    assert!(early.starts_with("bytes of tensor `b` while `a` still needs 4 bytes"), "{early}");
    let long = writer.write("a", &[0; 5]).unwrap_err().problem.to_string();
    assert_eq!(long, "tensor `a` gets 5 bytes but has room for 4");
    let short = writer.finish().unwrap_err().problem.to_string();
    assert_eq!(short, "finished while tensor `a` still needs 4 bytes");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let packed = [tensor("p", StoredType::U32, &[1])];
    let refused = Writer::create(&path, &Metadata::default(), &packed).unwrap_err();
    assert_eq!(refused.problem.to_string(), "tensor `p`: a GGUF cannot hold `u32`");
}
