//! Key-values as the golden files of llama.cpp's converter hold them.

use serde_json::{Value, json};
use tokenizer::gguf::VocabValue;

/// `[key, type, value]`.
pub fn to_golden_form((key, value): (String, VocabValue)) -> Value {
    let (kind, value) = match value {
        VocabValue::U32(id) => ("UINT32", json!(id)),
        VocabValue::Bool(flag) => ("BOOL", json!(flag)),
        VocabValue::String(text) => ("STRING", json!(text)),
        VocabValue::StringArray(texts) => ("ARRAY STRING", json!(texts)),
        VocabValue::I32Array(types) => ("ARRAY INT32", json!(types)),
        VocabValue::F32Array(scores) => ("ARRAY FLOAT32", json!(scores.into_iter().map(f64::from).collect::<Vec<_>>())),
        other => panic!("the converter writes no {}", other.type_name()),
    };
    json!([key, kind, value])
}
