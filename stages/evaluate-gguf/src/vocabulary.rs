//! Our own tokenizer of a GGUF, to hold against llama.cpp's.

use std::path::Path;

use checkpoint::gguf::{Array, Gguf, Value};
use tokenizer::Tokenizer;
use tokenizer::gguf::{GgufVocabulary, RebuildOptions, VocabValue};

use crate::prompts::PromptError;

/// Rebuilds the tokenizer from the file's metadata.
///
/// # Errors
/// A broken header, or a vocabulary that our tokenizer does not support.
pub fn load(gguf: &Path) -> Result<Tokenizer, PromptError> {
    let file = Gguf::open(gguf)?;
    let pairs = file.metadata().iter();
    let pairs = pairs.filter_map(|(key, value)| Some((key.to_owned(), vocabulary_value(value)?)));
    let vocabulary = GgufVocabulary::from_key_values(pairs)?;
    let (tokenizer, findings) = Tokenizer::from_gguf(&vocabulary, &RebuildOptions::default())?;
    for finding in findings {
        tracing::info!("{}", finding.message);
    }
    Ok(tokenizer)
}

/// The types that vocabularies use; other values are no part of one.
fn vocabulary_value(value: &Value) -> Option<VocabValue> {
    let text = |bytes: &checkpoint::gguf::ByteString| String::from_utf8_lossy(&bytes.0).into_owned();
    Some(match value {
        Value::U32(x) => VocabValue::U32(*x),
        Value::I32(x) => VocabValue::I32(*x),
        Value::Bool(x) => VocabValue::Bool(*x),
        Value::String(x) => VocabValue::String(text(x)),
        Value::Array(Array::String(xs)) => VocabValue::StringArray(xs.iter().map(text).collect()),
        Value::Array(Array::I32(xs)) => VocabValue::I32Array(xs.clone()),
        Value::Array(Array::U32(xs)) => VocabValue::U32Array(xs.clone()),
        Value::Array(Array::F32(xs)) => VocabValue::F32Array(xs.clone()),
        Value::Array(Array::U8(xs)) => VocabValue::U8Array(xs.clone()),
        _ => return None,
    })
}
