//! A model of a few kilobytes for tests: one llama layer of made-up weights over a byte vocabulary.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use checkpoint::gguf::{Metadata, Value, Writer};
use model::StoredType;
use model::description::StoredTensor;

const HIDDEN_SIZE: u64 = 32;
const INTERMEDIATE_SIZE: u64 = 48;

/// Where every byte is a token, plus one merge and what chats need.
const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}\
    <|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// What a test may want otherwise.
pub struct Tiny {
    pub template: Option<&'static str>,
    /// Put into the last matrix, e.g. NaN.
    pub poison: Option<f32>,
    pub architecture: &'static str,
    /// Merged into its target in f32.
    pub merged: Option<Lora>,
}

impl Default for Tiny {
    fn default() -> Self {
        Self { template: Some(TEMPLATE), poison: None, architecture: "llama", merged: None }
    }
}

impl Tiny {
    /// Writes the model into `directory`.
    pub fn write(&self, directory: &Path) -> PathBuf {
        let tensors = tensors();
        let path = directory.join("tiny.gguf");
        let mut writer = Writer::create(&path, &self.metadata(), &tensors).unwrap();
        for (index, tensor) in tensors.iter().enumerate() {
            let norm = tensor.name.contains("norm");
            let mut values: Vec<f32> = (0..tensor.values()).map(|i| if norm { 1.0 } else { noise(index, i) }).collect();
            if let (Some(poison), "blk.0.ffn_down.weight") = (self.poison, tensor.name.as_str()) {
                values[7] = poison;
            }
            if let Some(lora) = &self.merged
                && lora.target == tensor.name
            {
                lora.merge(&mut values);
            }
            writer.write(&tensor.name, &bytes(&values)).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    fn metadata(&self) -> Metadata {
        let mut metadata: Metadata = [
            ("general.architecture", Value::from(self.architecture)),
            ("llama.context_length", 128u32.into()),
            ("llama.embedding_length", (HIDDEN_SIZE as u32).into()),
            ("llama.block_count", 1u32.into()),
            ("llama.feed_forward_length", (INTERMEDIATE_SIZE as u32).into()),
            ("llama.attention.head_count", 2u32.into()),
            ("llama.attention.head_count_kv", 1u32.into()),
            ("llama.attention.layer_norm_rms_epsilon", 1e-5f32.into()),
            ("llama.rope.dimension_count", 16u32.into()),
            ("tokenizer.ggml.model", "gpt2".into()),
            ("tokenizer.ggml.pre", "gpt-2".into()),
            ("tokenizer.ggml.merges", texts(["Ġ t"].map(str::to_owned).to_vec())),
            ("tokenizer.ggml.bos_token_id", 257u32.into()),
            ("tokenizer.ggml.eos_token_id", 259u32.into()),
            ("tokenizer.ggml.add_bos_token", false.into()),
        ]
        .into_iter()
        .collect();
        let types: Vec<i32> = (0..vocabulary().len()).map(|id| if id < 257 { 1 } else { 3 }).collect();
        metadata.set("tokenizer.ggml.tokens", texts(vocabulary()));
        metadata.set("tokenizer.ggml.token_type", types);
        if let Some(template) = self.template {
            metadata.set("tokenizer.chat_template", template);
        }
        metadata
    }
}

/// A LoRA of rank 1: `W + alpha · b · a`.
pub struct Lora {
    pub target: &'static str,
    pub out_features: u64,
    pub in_features: u64,
    /// As if the target had one matrix an expert.
    pub experts: bool,
}

const ALPHA: f32 = 3.0;

impl Lora {
    /// One that fits the tiny model.
    pub fn ffn_down() -> Self {
        let (out_features, in_features) = (HIDDEN_SIZE, INTERMEDIATE_SIZE);
        Self { target: "blk.0.ffn_down.weight", out_features, in_features, experts: false }
    }

    /// Writes the adapter as llama.cpp reads it.
    pub fn write(&self, directory: &Path) -> PathBuf {
        let metadata: Metadata = [
            ("general.type", Value::from("adapter")),
            ("general.architecture", "llama".into()),
            ("adapter.type", "lora".into()),
            ("adapter.lora.alpha", ALPHA.into()),
        ]
        .into_iter()
        .collect();
        let experts = if self.experts { vec![1] } else { vec![] };
        let half = |suffix: &str, shape: [u64; 2]| StoredTensor {
            name: format!("{}.{suffix}", self.target),
            stored_type: StoredType::F32,
            shape: [experts.clone(), shape.to_vec()].concat(),
        };
        let tensors = [half("lora_a", [1, self.in_features]), half("lora_b", [self.out_features, 1])];
        let path = directory.join("lora.gguf");
        let mut writer = Writer::create(&path, &metadata, &tensors).unwrap();
        writer.write(&tensors[0].name, &bytes(&self.a())).unwrap();
        writer.write(&tensors[1].name, &bytes(&self.b())).unwrap();
        writer.finish().unwrap();
        path
    }

    fn a(&self) -> Vec<f32> {
        (0..self.in_features).map(|i| noise(100, i)).collect()
    }

    fn b(&self) -> Vec<f32> {
        (0..self.out_features).map(|i| noise(101, i)).collect()
    }

    fn merge(&self, weight: &mut [f32]) {
        let (a, b) = (self.a(), self.b());
        for (row, b) in weight.chunks_mut(a.len()).zip(b) {
            row.iter_mut().zip(&a).for_each(|(w, a)| *w += ALPHA * b * a);
        }
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn texts(texts: Vec<String>) -> Value {
    texts.into_iter().map(checkpoint::gguf::ByteString::from).collect::<Vec<_>>().into()
}

/// GPT-2's printable spelling of the 256 bytes, one merged pair, the special tokens.
fn vocabulary() -> Vec<String> {
    let printable = |b: u32| (33..=126).contains(&b) || (161..=172).contains(&b) || (174..=255).contains(&b);
    let mut spare = 256..;
    let byte = |b: u32| if printable(b) { b } else { spare.next().unwrap() };
    let bytes = (0..256).map(byte).map(|c| char::from_u32(c).unwrap().to_string()).collect::<Vec<_>>();
    bytes.into_iter().chain(["Ġt".to_owned()]).chain(SPECIAL.map(str::to_owned)).collect()
}

fn tensors() -> Vec<StoredTensor> {
    let (h, f, kv) = (HIDDEN_SIZE, INTERMEDIATE_SIZE, HIDDEN_SIZE / 2);
    let tensor = |name: &str, shape: &[u64]| StoredTensor {
        name: name.into(),
        stored_type: StoredType::F32,
        shape: shape.to_vec(),
    };
    vec![
        tensor("token_embd.weight", &[vocabulary().len() as u64, h]),
        tensor("blk.0.attn_norm.weight", &[h]),
        tensor("blk.0.attn_q.weight", &[h, h]),
        tensor("blk.0.attn_k.weight", &[kv, h]),
        tensor("blk.0.attn_v.weight", &[kv, h]),
        tensor("blk.0.attn_output.weight", &[h, h]),
        tensor("blk.0.ffn_norm.weight", &[h]),
        tensor("blk.0.ffn_gate.weight", &[f, h]),
        tensor("blk.0.ffn_up.weight", &[f, h]),
        tensor("blk.0.ffn_down.weight", &[h, f]),
        tensor("output_norm.weight", &[h]),
    ]
}

/// Reproducible values in (-0.25, 0.25).
fn noise(tensor: usize, index: u64) -> f32 {
    let mut x = (tensor as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 31;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 29;
    ((x >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 0.5
}
