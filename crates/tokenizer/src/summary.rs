//! What a model's description says about its tokenizer.

use serde::{Deserialize, Serialize};

use crate::gguf::VocabularyKind;

/// A tokenizer in a few facts, the same for both containers of one tokenizer but for the digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerSummary {
    /// How it cuts text.
    pub kind: VocabularyKind,
    /// llama.cpp's name of the pre-tokenizer, where its structure has one.
    pub pre: Option<String>,
    /// Highest token id plus one.
    pub vocab_size: u64,
    /// Beginning of a text.
    pub bos: Option<u32>,
    /// End of a text or turn.
    pub eos: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// What stands for the unknown.
    pub unk: Option<u32>,
    /// Every id at which llama.cpp stops generating, ascending.
    pub eog: Vec<u32>,
    /// Whether texts are encoded with BOS in front.
    pub add_bos: bool,
    /// Whether texts are encoded with EOS behind.
    pub add_eos: bool,
    /// Names of the chat templates; the usual one is `default`.
    pub chat_templates: Vec<String>,
    /// Whether the usual one is also known in Ollama's dialect.
    pub ollama_template: bool,
    /// SHA-256 over the names and contents of all files, hexadecimal.
    pub sha256: String,
}
