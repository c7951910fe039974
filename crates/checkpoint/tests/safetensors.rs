//! safetensors: round trips, strictness, shards, streamed writing.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use checkpoint::safetensors::{Header, INDEX_FILE, Problem, Safetensors, ShardedWriter, Writer, published_order};
use common::{Random, allocations};
use model::StoredType;
use model::description::StoredTensor;

#[global_allocator]
static WATCHING: allocations::Watching = allocations::Watching;

fn tensor(name: &str, stored_type: StoredType, shape: &[u64]) -> StoredTensor {
    StoredTensor { name: name.into(), stored_type, shape: shape.into() }
}

fn some_tensors() -> Vec<StoredTensor> {
    vec![
        tensor("model.embed_tokens.weight", StoredType::Bf16, &[3, 4]),
        tensor("model.norm.weight", StoredType::F32, &[4]),
        tensor("empty", StoredType::F16, &[0, 4]),
        tensor("scalar", StoredType::I64, &[]),
        tensor("mask", StoredType::Bool, &[3]),
    ]
}

fn data_of(tensor: &StoredTensor) -> Vec<u8> {
    let seed = tensor.name.len() as u64;
    (0..tensor.bytes()).map(|i| (i * 7 + seed) as u8).collect()
}

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("format".into(), "pt".into())])
}

fn file_bytes(tensors: &[StoredTensor]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let mut writer = Writer::create(&path, tensors, &metadata()).unwrap();
    for tensor in tensors {
        for piece in data_of(tensor).chunks(5) {
            writer.write(&tensor.name, piece).unwrap();
        }
    }
    writer.finish().unwrap();
    std::fs::read(path).unwrap()
}

/// A file of that header and so many bytes of data.
fn file_of(header: &str, data_bytes: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data_bytes]].concat()
}

fn problem(header: &str, data_bytes: usize) -> String {
    Header::read(&file_of(header, data_bytes)).unwrap_err().to_string()
}

#[test]
fn what_is_written_is_read() {
    let bytes = file_bytes(&some_tensors());
    let header = Header::read(&bytes).unwrap();
    assert_eq!(header.metadata, metadata());
    assert_eq!(header.tensors.len(), some_tensors().len());
    for expected in some_tensors() {
        let located = header.tensors.iter().find(|t| t.tensor.name == expected.name).unwrap();
        assert_eq!((&located.tensor, located.slice(&bytes)), (&expected, &data_of(&expected)[..]));
    }
    assert_eq!(header.tensors[0].offset % 8, 0, "data is aligned");
}

/// As mlx writes a file about which it says nothing.
#[test]
fn metadata_may_be_null() {
    let header = r#"{"__metadata__":null,"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let header = Header::read(&file_of(header, 4)).unwrap();
    assert!(header.metadata.is_empty() && header.tensors.len() == 1);
}

#[test]
fn disagreeing_entries_are_refused() {
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    assert_eq!(
        problem(&one("F32", "[2,2]", "[0,12]"), 12),
        "tensor `w`: f32 of shape [2, 2] takes 16 bytes, its offsets 0..12 do not fit that"
    );
    let overflow = problem(&one("F32", "[4294967296,4294967296,2]", "[0,0]"), 0);
    assert!(overflow.contains("takes more bytes than can be counted"), "{overflow}");
    assert!(problem(&one("F32", "[1]", "[4,0]"), 4).contains("offsets 4..0"));
    assert!(
        problem(&one("F8_E4M3", "[1]", "[0,1]"), 1)
            .starts_with("tensor `w` has unknown dtype `F8_E4M3`; known are `F64`")
    );
    assert!(problem(&one("F32", "[1]", "[0,4]"), 3).ends_with("it is truncated, download it again"));
    assert!(problem(&one("F32", "[1]", "[0,4]"), 9).ends_with("the trailing bytes belong to nothing"));
    assert!(problem(&one("F32", "[-1]", "[0,4]"), 4).starts_with("header is not valid"));
    assert!(problem(&one("F32", "[1]", "[0,4]").replace("\"shape\"", "\"form\""), 4).contains("unknown field `form`"));
}

#[test]
fn gaps_overlaps_and_duplicates_are_refused() {
    let entry = |name: &str, begin: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{begin},{}]}}"#, begin + 4)
    };
    let two = |second: &str, begin| format!("{{{},{}}}", entry("a", 0), entry(second, begin));
    assert!(Header::read(&file_of(&two("b", 4), 8)).is_ok());
    assert_eq!(problem(&two("b", 2), 6), "tensor `b` begins at 2, inside its predecessor that ends at 4");
    assert_eq!(problem(&two("b", 5), 9), "1 bytes before tensor `b` belong to no tensor");
    assert_eq!(problem(&two("a", 4), 8), "`a` appears twice");
}

#[test]
fn a_header_longer_than_its_file_is_not_allocated() {
    let mut bytes = file_bytes(&some_tensors());
    bytes[..8].copy_from_slice(&(1u64 << 62).to_le_bytes());
    let (largest, result) = allocations::largest_of(|| Header::read(&bytes));
    assert!(matches!(result, Err(Problem::HeaderTooLong { .. })));
    assert!(largest < 1024);
    assert!(matches!(Header::read(&b"short"[..]), Err(Problem::TooShort { got: 5 })));
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = file_bytes(&some_tensors());
    for len in 0..bytes.len() {
        assert!(Header::read(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn mutated_headers_never_panic_nor_allocate_past_the_file() {
    let bytes = file_bytes(&some_tensors());
    let mut random = Random(2);
    for round in 0..20_000 {
        let mut mutant = bytes.clone();
        random.mutate(&mut mutant);
        let (largest, _) = allocations::largest_of(|| Header::read(&mutant));
        assert!(largest <= 16 * mutant.len() + 1024, "round {round}: {largest} bytes for {}", mutant.len());
    }
}

fn write_sharded(dir: &Path, max_shard_bytes: u64) -> Vec<StoredTensor> {
    let tensors = some_tensors();
    let mut writer = ShardedWriter::create(dir, &tensors, &metadata(), max_shard_bytes).unwrap();
    for tensor in &tensors {
        writer.write(&tensor.name, &data_of(tensor)).unwrap();
    }
    assert!(files_of(dir).iter().all(|name| name.ends_with(".part")), "no file has its name before the end");
    writer.finish().unwrap();
    let mut planned = ShardedWriter::planned_files(&tensors, max_shard_bytes);
    planned.sort();
    assert_eq!(files_of(dir), planned);
    tensors
}

fn files_of(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn shards_and_one_file_read_alike() {
    for limit in [u64::MAX, 20, 1] {
        let dir = tempfile::tempdir().unwrap();
        let tensors = write_sharded(dir.path(), limit);
        let model = Safetensors::open_dir(dir.path()).unwrap();
        assert_eq!(model.tensors().len(), tensors.len());
        for tensor in &tensors {
            assert_eq!(model.get(&tensor.name).unwrap(), (tensor, &data_of(tensor)[..]), "limit {limit}");
        }
        assert_eq!(dir.path().join(INDEX_FILE).exists(), limit != u64::MAX);
    }
}

#[test]
fn shards_must_hold_what_the_index_says() {
    let dir = tempfile::tempdir().unwrap();
    write_sharded(dir.path(), 20);
    let index = dir.path().join(INDEX_FILE);
    let json = std::fs::read_to_string(&index).unwrap();
    let message = |json: &str| {
        std::fs::write(&index, json).unwrap();
        Safetensors::open_dir(dir.path()).unwrap_err().problem.to_string()
    };
    let dropped = json.replace("    \"mask\": \"model-00003-of-00003.safetensors\",\n", "");
    let extra = "shard `model-00003-of-00003.safetensors` holds tensor `mask`, which the index does not list";
    assert_eq!(message(&dropped), extra);
    let added = json.replace("    \"mask\"", "    \"ghost\": \"model-00001-of-00003.safetensors\",\n    \"mask\"");
    let missing = "index puts tensor `ghost` in shard `model-00001-of-00003.safetensors`, which does not hold it";
    assert_eq!(message(&added), missing);
    let escaped = json.replace("model-00001-of-00003.safetensors", "../secret");
    assert_eq!(message(&escaped), "index names shard `../secret`, which is not a plain file name");
    let absent = json.replace("model-00003-of-00003", "model-00009-of-00003");
    assert!(message(&absent).starts_with("shard `model-00009-of-00003.safetensors` is missing; it should hold"));
}

#[test]
fn an_unfinished_sharded_writer_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = some_tensors();
    let mut writer = ShardedWriter::create(dir.path(), &tensors, &metadata(), 20).unwrap();
    writer.write(&tensors[0].name, &data_of(&tensors[0])).unwrap();
    writer.write(&tensors[1].name, &[0; 3]).unwrap();
    let error = writer.finish().unwrap_err().problem.to_string();
    assert_eq!(error, "finished while tensor `model.norm.weight` still needs 13 bytes");
    assert_eq!(files_of(dir.path()), Vec::<String>::new());
}

#[test]
fn block_types_are_not_storable() {
    let dir = tempfile::tempdir().unwrap();
    let packed = [tensor("q", StoredType::Q4_0, &[32])];
    let error = Writer::create(&dir.path().join("m"), &packed, &metadata()).unwrap_err().problem.to_string();
    assert_eq!(error, "tensor `q`: safetensors cannot hold `q4_0`; only GGUF holds block types");
}

#[test]
fn the_published_order_is_widest_first() {
    let mut tensors = some_tensors();
    published_order(&mut tensors);
    let names: Vec<_> = tensors.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["scalar", "model.norm.weight", "model.embed_tokens.weight", "empty", "mask"]);
}
