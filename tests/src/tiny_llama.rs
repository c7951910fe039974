//! A tiny Llama in both containers, with the cut vocabulary of SmolLM2 and weights that mean nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use checkpoint::gguf::{Metadata, Value};
use checkpoint::safetensors::ShardIndex;
use checkpoint::{gguf, safetensors};
use model::StoredType;
use model::description::StoredTensor;
use serde_json::json;
use tokenizer::Tokenizer;
use tokenizer::gguf::{Convention, GgufOptions};

/// Files by name, as a hub publishes them.
pub type Files = Vec<(String, Vec<u8>)>;

const HIDDEN: u64 = 64;
const INTERMEDIATE: u64 = 96;
const HEADS: u64 = 4;
const KV_HEADS: u64 = 2;
const LAYERS: u64 = 2;
const VOCABULARY: u64 = 4104;

/// Module and GGUF names of a layer's matrices, with rows and columns.
const MATRICES: [(&str, &str, u64, u64); 7] = [
    ("self_attn.q_proj", "attn_q", HIDDEN, HIDDEN),
    ("self_attn.k_proj", "attn_k", HIDDEN / HEADS * KV_HEADS, HIDDEN),
    ("self_attn.v_proj", "attn_v", HIDDEN / HEADS * KV_HEADS, HIDDEN),
    ("self_attn.o_proj", "attn_output", HIDDEN, HIDDEN),
    ("mlp.gate_proj", "ffn_gate", INTERMEDIATE, HIDDEN),
    ("mlp.up_proj", "ffn_up", INTERMEDIATE, HIDDEN),
    ("mlp.down_proj", "ffn_down", HIDDEN, INTERMEDIATE),
];

/// What a fused GGUF has in one matrix, in this order.
const FUSED: [&str; 3] = ["attn_q", "attn_k", "attn_v"];

fn vocabulary_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/tokenizer/tests/golden/smollm2-cut")
}

fn tensor(name: String, shape: &[u64]) -> StoredTensor {
    StoredTensor { name, stored_type: StoredType::F32, shape: shape.to_vec() }
}

/// Small numbers that differ from tensor to tensor, and from `seed` to `seed`.
fn data(tensor: &StoredTensor, seed: u64) -> Vec<u8> {
    let mut state = seed + tensor.name.bytes().map(u64::from).sum::<u64>();
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.1
    };
    (0..tensor.values()).flat_map(|_| next().to_le_bytes()).collect()
}

/// A Hugging Face directory in two shards, with files beside it that are no part of the model.
pub fn directory(seed: u64) -> Files {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut first = vec![tensor("model.embed_tokens.weight".into(), &[VOCABULARY, HIDDEN])];
    let mut second = vec![tensor("model.norm.weight".into(), &[HIDDEN])];
    for layer in 0..LAYERS {
        let shard = if layer == 0 { &mut first } else { &mut second };
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        shard.extend(["input_layernorm", "post_attention_layernorm"].map(|norm| tensor(name(norm), &[HIDDEN])));
        shard.extend(MATRICES.map(|(module, _, rows, columns)| tensor(name(module), &[rows, columns])));
    }
    let mut files: Files = vec![("README.md".into(), b"# Tiny".to_vec()), ("pytorch_model.bin".into(), vec![0; 64])];
    let mut index = ShardIndex { weight_map: BTreeMap::new() };
    for (number, tensors) in [first, second].iter().enumerate() {
        let shard = format!("model-0000{}-of-00002.safetensors", number + 1);
        let mut writer =
            safetensors::Writer::create(&dir.path().join(&shard), tensors, &BTreeMap::new()).expect("a file");
        for tensor in tensors {
            writer.write(&tensor.name, &data(tensor, seed)).expect("a tensor");
            index.weight_map.insert(tensor.name.clone(), shard.clone());
        }
        writer.finish().expect("a whole file");
        files.push((shard.clone(), fs::read(dir.path().join(&shard)).expect("the shard")));
    }
    let index = json!({ "metadata": {}, "weight_map": index.weight_map }).to_string();
    files.push((safetensors::INDEX_FILE.into(), index.into_bytes()));
    files.extend(side_files());
    files
}

/// The tokenizer and what goes with it.
pub fn tokenizer_files() -> Files {
    ["generation_config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]
        .map(|name| (name.to_owned(), fs::read(vocabulary_dir().join(name)).expect("the cut vocabulary")))
        .into()
}

/// What belongs to the model beside its weights.
fn side_files() -> Files {
    let mut files = tokenizer_files();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "torch_dtype": "float32",
        "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "vocab_size": VOCABULARY,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": null,
        "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2,
    });
    files.push(("config.json".into(), config.to_string().into_bytes()));
    files.push(("LICENSE".into(), b"as you like".to_vec()));
    files
}

/// A GGUF with factors in `rope_freqs.weight`.
pub fn gguf(seed: u64) -> Vec<u8> {
    let (metadata, tensors) = (metadata(), gguf_tensors());
    written(&metadata, &tensors, seed)
}

/// The same with biases on these of a layer's matrices, by their names in a GGUF.
pub fn gguf_with_biases(seed: u64, biased: &[&str]) -> Vec<u8> {
    let mut tensors = gguf_tensors();
    for layer in 0..LAYERS {
        let chosen = MATRICES.iter().filter(|(_, gguf, ..)| biased.contains(gguf));
        tensors.extend(chosen.map(|(_, gguf, rows, _)| tensor(format!("blk.{layer}.{gguf}.bias"), &[*rows])));
    }
    written(&metadata(), &tensors, seed)
}

/// The same with queries, keys and values of a layer in one matrix.
pub fn fused_gguf(seed: u64) -> Vec<u8> {
    let parts = |layer| FUSED.map(|part| format!("blk.{layer}.{part}.weight"));
    let is_part = |name: &String| (0..LAYERS).any(|layer| parts(layer).contains(name));
    let mut tensors = gguf_tensors();
    tensors.retain(|tensor| !is_part(&tensor.name));
    let rows = MATRICES.iter().filter(|(_, gguf, ..)| FUSED.contains(gguf)).map(|(_, _, rows, _)| rows).sum();
    tensors.extend((0..LAYERS).map(|layer| tensor(format!("blk.{layer}.attn_qkv.weight"), &[rows, HIDDEN])));
    written_with(&metadata(), &tensors, |fused| {
        let Some(layer) = fused.name.strip_suffix("attn_qkv.weight") else { return data(fused, seed) };
        let parts = gguf_tensors().into_iter().filter(|part| part.name.starts_with(layer) && is_part(&part.name));
        parts.flat_map(|part| data(&part, seed)).collect()
    })
}

/// The same in two parts.
pub fn split_gguf(seed: u64) -> [Vec<u8>; 2] {
    let tensors = gguf_tensors();
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let part = |number: u16, mut metadata: Metadata, part: &[StoredTensor]| {
        metadata.set("split.no", Value::U16(number));
        metadata.set("split.count", Value::U16(2));
        metadata.set("split.tensors.count", Value::I32(tensors.len() as i32));
        written(&metadata, part, seed)
    };
    [part(0, metadata(), first), part(1, Metadata::default(), second)]
}

fn gguf_tensors() -> Vec<StoredTensor> {
    let mut tensors = vec![
        tensor("token_embd.weight".into(), &[VOCABULARY, HIDDEN]),
        tensor("rope_freqs.weight".into(), &[HIDDEN / HEADS / 2]),
        tensor("output_norm.weight".into(), &[HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        tensors.extend(["attn_norm", "ffn_norm"].map(|norm| tensor(name(norm), &[HIDDEN])));
        tensors.extend(MATRICES.map(|(_, gguf, rows, columns)| tensor(name(gguf), &[rows, columns])));
    }
    tensors
}

fn metadata() -> Metadata {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::String("llama".into()));
    for (key, value) in [
        ("block_count", LAYERS),
        ("context_length", 256),
        ("embedding_length", HIDDEN),
        ("feed_forward_length", INTERMEDIATE),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
    ] {
        metadata.set(format!("llama.{key}"), Value::U32(value as u32));
    }
    metadata.set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    let tokenizer = Tokenizer::from_directory(&vocabulary_dir()).expect("the cut vocabulary");
    let options = GgufOptions { convention: Convention::Llama, vocab_size: Some(VOCABULARY), pre: None };
    let (vocabulary, _) = tokenizer.to_gguf(&options).expect("a vocabulary");
    for (key, value) in stage_model::key_values(&vocabulary) {
        metadata.set(key, value);
    }
    metadata
}

fn written(metadata: &Metadata, tensors: &[StoredTensor], seed: u64) -> Vec<u8> {
    written_with(metadata, tensors, |tensor| data(tensor, seed))
}

fn written_with(metadata: &Metadata, tensors: &[StoredTensor], data: impl Fn(&StoredTensor) -> Vec<u8>) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("m.gguf");
    let mut writer = gguf::Writer::create(&path, metadata, tensors).expect("a file");
    for tensor in tensors {
        writer.write(&tensor.name, &data(tensor)).expect("a tensor");
    }
    writer.finish().expect("a whole file");
    fs::read(path).expect("the file")
}
