//! A base in every type that files hold, against the same values as f32: forward and backward, bit for bit.
//!
//! Blocks and values are golden ones: what llama.cpp's own C makes of each block, so that nothing here is held against
//! itself. Blocks lie in a GGUF, in its row order; values in a Hugging Face directory, in the published one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use checkpoint::{gguf, safetensors};
use model::StoredType;
use model::description::StoredTensor;

use super::{batch, invariance, llama_files, synthetic};
use crate::{Fast, Network};

/// Rows of whole K-quant blocks; a row of the last matrix has two, which go to different tasks on the way back.
const HIDDEN: usize = 256;
const INTERMEDIATE: usize = 512;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 64;
const VOCABULARY: usize = 128;
/// Greater values come from blocks with edge scales.
const LARGEST: f32 = 1000.0;

#[test]
fn every_type_computes_what_its_values_do() {
    for stored_type in blocks::decodable() {
        let dir = tempfile::tempdir().unwrap();
        let [stored, values] = write_both(dir.path(), stored_type);
        let architecture = llama_files::architecture(&values, Vec::new());
        let network = |path: &Path| {
            Network::new(Fast::new(2).unwrap(), &architecture, &llama_files::weights(path, &architecture)).unwrap()
        };
        let (stored, values) = (network(&stored), network(&values));
        let (batch, adapters) = (batch(VOCABULARY as u32), synthetic::adapters(&architecture, 2));

        let step = stored.gradients(&adapters, &batch, None).unwrap();
        for gradient in step.gradients.iter() {
            let learns =
                |m: &crate::Matrix| m.values().iter().all(|v| v.is_finite()) && m.values().iter().any(|v| *v != 0.0);
            assert!(learns(&gradient.a) && learns(&gradient.b), "{stored_type}: `{}` learns nothing", gradient.module);
        }
        assert!(step == values.gradients(&adapters, &batch, None).unwrap(), "{stored_type}: gradients differ");
        let logits = invariance::logits(&stored, &adapters, &batch);
        assert!(logits == invariance::logits(&values, &adapters, &batch), "{stored_type}: logits differ");
    }
}

/// A block as it lies in a file, and what it means.
struct Block {
    bytes: Vec<u8>,
    values: Vec<f32>,
}

/// The golden blocks of usual scales.
fn golden(stored_type: StoredType) -> Vec<Block> {
    let (len, size) = (stored_type.block_len() as usize, stored_type.block_bytes() as usize);
    let (bytes, values) = if stored_type == StoredType::F32 {
        let values = synthetic::values("f32", 64, 1.0);
        (values.iter().flat_map(|v| v.to_le_bytes()).collect(), values)
    } else {
        let file = |part: &str| {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../blocks/tests/golden/decode");
            fs::read(dir.join(format!("{stored_type}.{part}"))).unwrap()
        };
        let values = file("values").as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        (file("blocks"), values)
    };
    let pairs = bytes.chunks_exact(size).zip(values.chunks_exact(len));
    let usual = pairs.filter(|(_, values)| values.iter().all(|v| v.abs() < LARGEST));
    usual.map(|(bytes, values)| Block { bytes: bytes.into(), values: values.into() }).collect()
}

/// A matrix of golden blocks, in both spellings.
struct Spelled {
    published: String,
    gguf: String,
    rows: usize,
    columns: usize,
    /// Whether its heads' rows are interleaved in a GGUF.
    rotary: bool,
}

fn matrices() -> Vec<Spelled> {
    let of = |published: &str, gguf: &str, rows, columns| Spelled {
        published: format!("model.{published}.weight"),
        gguf: format!("{gguf}.weight"),
        rows,
        columns,
        rotary: matches!(gguf, "blk.0.attn_q" | "blk.0.attn_k"),
    };
    let in_layer = |module: &str, gguf: &str, rows, columns| {
        of(&format!("layers.0.{module}"), &format!("blk.0.{gguf}"), rows, columns)
    };
    vec![
        of("embed_tokens", "token_embd", VOCABULARY, HIDDEN),
        in_layer("self_attn.q_proj", "attn_q", HEADS * HEAD_DIM, HIDDEN),
        in_layer("self_attn.k_proj", "attn_k", KV_HEADS * HEAD_DIM, HIDDEN),
        in_layer("self_attn.v_proj", "attn_v", KV_HEADS * HEAD_DIM, HIDDEN),
        in_layer("self_attn.o_proj", "attn_output", HIDDEN, HEADS * HEAD_DIM),
        in_layer("mlp.gate_proj", "ffn_gate", INTERMEDIATE, HIDDEN),
        in_layer("mlp.up_proj", "ffn_up", INTERMEDIATE, HIDDEN),
        in_layer("mlp.down_proj", "ffn_down", HIDDEN, INTERMEDIATE),
    ]
}

const NORMS: [(&str, &str); 3] = [
    ("model.layers.0.input_layernorm.weight", "blk.0.attn_norm.weight"),
    ("model.layers.0.post_attention_layernorm.weight", "blk.0.ffn_norm.weight"),
    ("model.norm.weight", "output_norm.weight"),
];

/// Tensors with their bytes, in the order in which they are written.
type Tensors = Vec<(StoredTensor, Vec<u8>)>;

/// Writes a GGUF of `stored_type` and a directory of f32, and gives their paths.
fn write_both(dir: &Path, stored_type: StoredType) -> [PathBuf; 2] {
    let golden = golden(stored_type);
    let (mut stored, mut values): (Tensors, Tensors) = (Vec::new(), Vec::new());
    let tensor = |name: &str, stored_type, shape: &[usize]| {
        let shape = shape.iter().map(|n| *n as u64).collect();
        StoredTensor { name: name.into(), stored_type, shape }
    };
    for matrix in matrices() {
        let blocks = pick(&golden, &matrix);
        let shape = [matrix.rows, matrix.columns];
        let bytes = blocks.iter().flat_map(|block| block.bytes.iter().copied()).collect();
        stored.push((tensor(&matrix.gguf, stored_type, &shape), bytes));
        let meant: Vec<f32> = blocks.iter().flat_map(|block| block.values.iter().copied()).collect();
        let rows: Vec<&[f32]> = meant.chunks_exact(matrix.columns).collect();
        let rows = if matrix.rotary { by_halves(&rows) } else { rows };
        values.push((tensor(&matrix.published, StoredType::F32, &shape), bytes_of(rows.concat())));
    }
    for (published, gguf) in NORMS {
        let bytes = bytes_of(norm(published, &golden));
        stored.push((tensor(gguf, StoredType::F32, &[HIDDEN]), bytes.clone()));
        values.push((tensor(published, StoredType::F32, &[HIDDEN]), bytes));
    }

    let (gguf, directory) = (dir.join("stored.gguf"), dir.join("values"));
    let headers = |tensors: &Tensors| tensors.iter().map(|(tensor, _)| tensor.clone()).collect::<Vec<_>>();
    let mut writer = gguf::Writer::create(&gguf, &gguf::Metadata::default(), &headers(&stored)).unwrap();
    stored.iter().for_each(|(tensor, bytes)| writer.write(&tensor.name, bytes).unwrap());
    writer.finish().unwrap();

    fs::create_dir(&directory).unwrap();
    let config = serde_json::json!({
        "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_hidden_layers": 1, "vocab_size": VOCABULARY,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "max_position_embeddings": 512,
    });
    fs::write(directory.join("config.json"), config.to_string()).unwrap();
    let file = directory.join("model.safetensors");
    let mut writer = safetensors::Writer::create(&file, &headers(&values), &BTreeMap::new()).unwrap();
    values.iter().for_each(|(tensor, bytes)| writer.write(&tensor.name, bytes).unwrap());
    writer.finish().unwrap();
    [gguf, directory]
}

/// Blocks for a matrix, so mixed that no row, and no place in a row, is like another.
fn pick<'a>(golden: &'a [Block], matrix: &Spelled) -> Vec<&'a Block> {
    let count = matrix.rows * matrix.columns / golden[0].values.len();
    let choice = |u: f32| ((u + 1.0) / 2.0 * golden.len() as f32) as usize;
    synthetic::values(&matrix.gguf, count, 1.0).into_iter().map(|u| &golden[choice(u)]).collect()
}

/// A GGUF's rows pair neighbours, published ones halves.
fn by_halves<'a>(rows: &[&'a [f32]]) -> Vec<&'a [f32]> {
    let half = HEAD_DIM / 2;
    let place = |row: usize| row / HEAD_DIM * HEAD_DIM + row % half * 2 + row % HEAD_DIM / half;
    (0..rows.len()).map(|row| rows[place(row)]).collect()
}

/// Weights of a norm that bring a product with golden values to about 1, so that no softmax saturates.
fn norm(name: &str, golden: &[Block]) -> Vec<f32> {
    let values = golden.iter().flat_map(|block| &block.values);
    let (sum, count) = values.fold((0.0, 0), |(sum, count), v| (sum + v * v, count + 1));
    let weight = 1.0 / ((sum / count as f32).sqrt() * (HIDDEN as f32).sqrt());
    synthetic::values(name, HIDDEN, 0.5).into_iter().map(|u| (1.0 + u) * weight).collect()
}

fn bytes_of(values: Vec<f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}
