//! Llama 3.2 1B in its true shape, as far as a plan sees it: headers in front of weights that nobody made.

use serde_json::{Map, Value, json};

use crate::hub::Content;
use crate::tiny_llama::tokenizer_files;

const HIDDEN: u64 = 2048;
const INTERMEDIATE: u64 = 8192;
const LAYERS: u64 = 16;
const KV: u64 = 512;
const VOCABULARY: u64 = 128_256;

/// Rows and columns of a layer's matrices by module.
const MATRICES: [(&str, u64, u64); 7] = [
    ("self_attn.q_proj", HIDDEN, HIDDEN),
    ("self_attn.k_proj", KV, HIDDEN),
    ("self_attn.v_proj", KV, HIDDEN),
    ("self_attn.o_proj", HIDDEN, HIDDEN),
    ("mlp.gate_proj", INTERMEDIATE, HIDDEN),
    ("mlp.up_proj", INTERMEDIATE, HIDDEN),
    ("mlp.down_proj", HIDDEN, INTERMEDIATE),
];

/// The repository's files by name.
pub fn files() -> Vec<(String, Content)> {
    let mut files: Vec<(String, Content)> =
        tokenizer_files().into_iter().map(|(name, bytes)| (name, bytes.as_slice().into())).collect();
    files.push(("config.json".into(), config().to_string().as_bytes().into()));
    files.push(("model.safetensors".into(), weights()));
    files
}

fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "torch_dtype": "bfloat16",
        "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "num_hidden_layers": LAYERS, "head_dim": 64,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": VOCABULARY,
        "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
        "rope_scaling": {
            "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3",
        },
        "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2,
    })
}

/// A header, and as many bytes as it speaks of.
fn weights() -> Content {
    let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN])];
    for layer in 0..LAYERS {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        tensors.extend(["input_layernorm", "post_attention_layernorm"].map(|norm| (name(norm), vec![HIDDEN])));
        tensors.extend(MATRICES.map(|(module, rows, columns)| (name(module), vec![rows, columns])));
    }
    tensors.push(("model.norm.weight".into(), vec![HIDDEN]));
    let (mut header, mut position) = (Map::new(), 0);
    for (name, shape) in tensors {
        let end = position + 2 * shape.iter().product::<u64>();
        header.insert(name, json!({ "dtype": "BF16", "shape": shape, "data_offsets": [position, end] }));
        position = end;
    }
    let json = Value::Object(header).to_string();
    let mut head = (json.len() as u64).to_le_bytes().to_vec();
    head.extend(json.as_bytes());
    let len = head.len() as u64 + position;
    Content { head, len }
}
