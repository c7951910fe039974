//! A model's tokenizer, whatever holds it: files beside safetensors, or a GGUF's vocabulary.

use checkpoint::Checkpoint;
use checkpoint::gguf::{Array, ByteString, Metadata, Value};
use model::description::MetaValue;
use stage_api::{Finding, Result, Severity};
use tokenizer::Tokenizer;
use tokenizer::gguf::{GgufVocabulary, RebuildOptions, VocabValue};

use crate::stage_error;

/// The tokenizer of a model on disk; `pre` overrides a GGUF's missing or wrong pre-tokenizer name.
///
/// A Hugging Face model keeps the ids of Hugging Face's tokenizers, a GGUF those of llama.cpp; where the two can differ
/// is among the findings.
pub fn tokenizer_of(checkpoint: &Checkpoint, pre: Option<&str>) -> Result<(Tokenizer, Vec<Finding>)> {
    match checkpoint.gguf() {
        Some(gguf) => gguf_tokenizer(gguf.metadata(), pre),
        None => {
            let tokenizer =
                Tokenizer::from_directory(checkpoint.path()).map_err(stage_error("unreadable_tokenizer"))?;
            let findings = runtime_differences(&tokenizer);
            Ok((tokenizer, findings))
        }
    }
}

/// On which texts llama.cpp gives other ids than this tokenizer of a Hugging Face model.
pub fn runtime_differences(tokenizer: &Tokenizer) -> Vec<Finding> {
    tokenizer.differences_from_llama_cpp().into_iter().map(tokenizer_finding).collect()
}

/// The tokenizer in a GGUF's metadata, with llama.cpp's ids; `pre` overrides the name of its pre-tokenizer.
pub fn gguf_tokenizer(metadata: &Metadata, pre: Option<&str>) -> Result<(Tokenizer, Vec<Finding>)> {
    let vocabulary = vocabulary_of(metadata)?;
    let described = metadata.describe(0);
    let architecture = described.get("general.architecture").and_then(MetaValue::as_str).unwrap_or_default();
    let context_length = described.get(&format!("{architecture}.context_length")).and_then(MetaValue::as_u64);
    let options = RebuildOptions { pre, context_length };
    let (tokenizer, findings) =
        Tokenizer::from_gguf(&vocabulary, &options).map_err(stage_error("unreadable_tokenizer"))?;
    Ok((tokenizer, findings.into_iter().map(tokenizer_finding).collect()))
}

/// The fact that says how large `tokenizer.json` is, rebuilt or as it lies: memory is planned by it.
pub(crate) const JSON_BYTES: &str = "json_bytes";

/// The fact that says that merges are pairs, where they are.
pub(crate) const MERGE_PAIRS: &str = "merges_are_pairs";

/// The tokenizer's summary for a model's description.
///
/// The digest stays out: a tokenizer that went to GGUF is the same one in other bytes, and what is planned must equal
/// what is made.
pub fn describe_tokenizer(tokenizer: &Tokenizer) -> Result<serde_json::Value> {
    let mut summary = serde_json::to_value(tokenizer.summary()).map_err(stage_error("bad_description"))?;
    if let Some(facts) = summary.as_object_mut() {
        facts.shift_remove("sha256");
        facts.insert(JSON_BYTES.into(), tokenizer.files().tokenizer_bytes().len().into());
        if tokenizer.files().merges_are_pairs() {
            facts.insert(MERGE_PAIRS.into(), true.into());
        }
    }
    Ok(summary)
}

/// The vocabulary in a GGUF's metadata.
pub fn vocabulary_of(metadata: &Metadata) -> Result<GgufVocabulary> {
    let keys = metadata.iter().filter(|(key, _)| key.starts_with("tokenizer."));
    let values = keys.filter_map(|(key, value)| Some((key.to_owned(), vocab_value(value)?)));
    GgufVocabulary::from_key_values(values).map_err(stage_error("unreadable_vocabulary"))
}

/// A vocabulary as a GGUF's key-values, in the order in which they are written.
pub fn key_values(vocabulary: &GgufVocabulary) -> Vec<(String, Value)> {
    vocabulary.to_key_values().into_iter().map(|(key, value)| (key, gguf_value(value))).collect()
}

/// What the tokenizer crate found, as a stage reports it.
pub fn tokenizer_finding(finding: tokenizer::finding::Finding) -> Finding {
    let severity = match finding.severity {
        tokenizer::finding::Severity::Warning => Severity::Warning,
        tokenizer::finding::Severity::Note => Severity::Note,
    };
    Finding::new(severity, &finding.code, finding.message)
}

/// `None` for types that no vocabulary key has.
fn vocab_value(value: &Value) -> Option<VocabValue> {
    let text = |bytes: &ByteString| String::from_utf8_lossy(&bytes.0).into_owned();
    Some(match value {
        Value::U32(v) => VocabValue::U32(*v),
        Value::I32(v) => VocabValue::I32(*v),
        Value::Bool(v) => VocabValue::Bool(*v),
        Value::String(v) => VocabValue::String(text(v)),
        Value::Array(Array::String(v)) => VocabValue::StringArray(v.iter().map(text).collect()),
        Value::Array(Array::I32(v)) => VocabValue::I32Array(v.clone()),
        Value::Array(Array::U32(v)) => VocabValue::U32Array(v.clone()),
        Value::Array(Array::F32(v)) => VocabValue::F32Array(v.clone()),
        Value::Array(Array::U8(v)) => VocabValue::U8Array(v.clone()),
        _ => return None,
    })
}

fn gguf_value(value: VocabValue) -> Value {
    match value {
        VocabValue::U32(v) => Value::U32(v),
        VocabValue::I32(v) => Value::I32(v),
        VocabValue::Bool(v) => Value::Bool(v),
        VocabValue::String(v) => Value::String(v.into()),
        VocabValue::StringArray(v) => Value::Array(Array::String(v.into_iter().map(Into::into).collect())),
        VocabValue::I32Array(v) => Value::Array(Array::I32(v)),
        VocabValue::U32Array(v) => Value::Array(Array::U32(v)),
        VocabValue::F32Array(v) => Value::Array(Array::F32(v)),
        VocabValue::U8Array(v) => Value::Array(Array::U8(v)),
    }
}
