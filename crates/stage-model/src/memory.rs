//! Anonymous memory that stages over a model take beside their own buffers, as measured.

use model::AdapterDescription;
use model::description::Container;
use serde_json::Value;

use crate::ModelInput;
use crate::vocabulary::{JSON_BYTES, MERGE_PAIRS};

/// A worker with its libraries, thread stacks and job, bytes.
pub const PROCESS_MEMORY: u64 = 8 << 20;

/// Bytes of `tokenizer.json` a token, where a description does not say how many they are.
const JSON_BYTES_PER_TOKEN: u64 = 45;

/// What a model's vocabulary takes, in times its `tokenizer.json`; more tokens, and more merges a token, make both
/// larger.
struct Times {
    /// As long as the model is open.
    held: f64,
    /// To load the tokenizer: texts, merges and hash maps, and what they are made of.
    loaded: f64,
    /// To load it and write it as a GGUF's key-values.
    written: f64,
}

const DIRECTORY: Times = Times { held: 0.0, loaded: 9.5, written: 17.0 };
/// With merges in pairs, which are buffered twice while they are read.
const DIRECTORY_OF_PAIRS: Times = Times { held: 0.0, loaded: 15.0, written: 17.0 };
/// A header is read whole, and the tokenizer is rebuilt from it.
const GGUF: Times = Times { held: 1.0, loaded: 15.0, written: 17.0 };

/// Bytes of a worker that has opened the model; weights are mapped.
pub fn opened_memory(model: &ModelInput) -> u64 {
    PROCESS_MEMORY + of_vocabulary(model, |times| times.held)
}

/// Bytes that loading the model's tokenizer takes.
pub fn tokenizer_memory(model: &ModelInput) -> u64 {
    of_vocabulary(model, |times| times.loaded)
}

/// Bytes that writing the model's vocabulary into a GGUF takes, its tokenizer included.
pub fn vocabulary_memory(model: &ModelInput) -> u64 {
    of_vocabulary(model, |times| times.written)
}

/// Bytes of an adapter's factors in `f32`.
pub fn adapter_memory(adapter: &AdapterDescription) -> u64 {
    adapter.modules.values().map(|m| 4 * m.experts * m.rank * (m.in_features + m.out_features)).sum()
}

fn of_vocabulary(model: &ModelInput, times: impl Fn(Times) -> f64) -> u64 {
    let said = |fact: &str| model.description.tokenizer.as_ref().and_then(|summary| summary.get(fact));
    let stated = said(JSON_BYTES).and_then(Value::as_u64);
    let json = stated.unwrap_or(model.reading.architecture.vocab_size.saturating_mul(JSON_BYTES_PER_TOKEN));
    let times = times(match model.description.container {
        Container::Safetensors if said(MERGE_PAIRS).is_some() => DIRECTORY_OF_PAIRS,
        Container::Safetensors => DIRECTORY,
        Container::Gguf => GGUF,
    });
    (json as f64 * times) as u64
}
