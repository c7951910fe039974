//! llama.cpp, the runtime that GGUF files are made for. Nothing outside this module names a `llama_*` function.
//!
//! Numbers are meant to be compared: attention states are kept in f32, flash attention and weight repacking are off,
//! nothing is offloaded, and the build is at the AVX2 level on every x86-64 machine (`.cargo/config.toml`), so the same
//! file gives the same figures wherever it is evaluated.

mod backend;
mod log;
mod model;
mod pace;
mod session;
mod vocabulary;

pub use backend::version;
pub use model::Model;
pub use session::{Outputs, Session, SessionOptions};

use std::path::PathBuf;

/// A token id of the model's vocabulary.
pub type Token = u32;

/// Why llama.cpp could not do its part. `log` holds what it said itself.
#[derive(Debug, thiserror::Error)]
pub enum LlamaError {
    /// The build needs instructions that this processor lacks.
    #[error(
        "this processor lacks {}; llama.cpp is built for AVX2 here, evaluate on a machine from 2013 or later",
        missing.join(", ")
    )]
    Processor { missing: Vec<&'static str> },
    /// A path that C cannot take.
    #[error("the path `{}` holds a zero byte or is no UTF-8", path.display())]
    Path { path: PathBuf },
    /// The model file was refused.
    #[error("llama.cpp cannot load `{}`{}", path.display(), said(log))]
    Load { path: PathBuf, log: Vec<String> },
    /// The adapter file was refused.
    #[error("llama.cpp cannot load the adapter `{}`{}", path.display(), said(log))]
    Adapter { path: PathBuf, log: Vec<String> },
    /// No context of this size could be made.
    #[error("llama.cpp cannot make a context of {context} tokens{}", said(log))]
    Context { context: usize, log: Vec<String> },
    /// More tokens than the context holds.
    #[error("{wanted} tokens do not fit the context of {context}")]
    ContextFull { wanted: usize, context: usize },
    /// An id beyond the vocabulary.
    #[error("token {token} is not in the file's vocabulary of {vocab_size} tokens")]
    UnknownToken { token: Token, vocab_size: usize },
    /// A text longer than llama.cpp's 32-bit counts.
    #[error("a text of {bytes} bytes is too long to tokenize at once")]
    TextTooLong { bytes: usize },
    /// A decoding step failed.
    #[error("llama.cpp failed while decoding, code {code}{}", said(log))]
    Decode { code: i32, log: Vec<String> },
    /// The model decodes, but predicts no tokens.
    #[error("the model has no logits: it is no language model")]
    NoLogits,
    /// A logit is NaN or infinite.
    #[error("the logits at position {position} are not finite: the file's weights or their types are broken")]
    NotFinite { position: usize },
}

fn said(log: &[String]) -> String {
    if log.is_empty() { String::new() } else { format!("; it says:\n  {}", log.join("\n  ")) }
}
