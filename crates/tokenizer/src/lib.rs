//! Text to token ids and back, for one tokenizer in either of its containers, and the chats a model is trained on.
//!
//! | module | holds |
//! |---|---|
//! | (root) | [`Tokenizer`]: encode with byte offsets, decode, special and end tokens; [`TokenizerSummary`] |
//! | [`hf_files`] | `tokenizer.json` and its companions, byte for byte, read and written |
//! | [`gguf`] | [`GgufVocabulary`](gguf::GgufVocabulary): plain data between `tokenizer.*` key-values and a tokenizer |
//! | [`pre_tokenizer`] | llama.cpp's names of pre-tokenizers and their structure |
//! | [`sentencepiece`] | the pieces of a `tokenizer.model` |
//! | [`chat_template`] | [`ChatTemplate`](chat_template::ChatTemplate): jinja as transformers runs it; Ollama's Go dialect |
//! | [`conversation`] | [`SampleBuilder`](conversation::SampleBuilder): records to ids and loss masks |
//! | [`finding`] | things to tell the user, with stable codes |
//!
//! The crate knows no container: a GGUF's key-values come and go as [`VocabValue`](gguf::VocabValue)s, which map one to
//! one onto a container's own. Byte-level BPE and SentencePiece's BPE with byte fallback are read and written; other
//! vocabularies load from `tokenizer.json` and encode, but converting them is refused by name.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use serde_json::json;
//! use tokenizer::Tokenizer;
//! use tokenizer::chat_template::Clock;
//! use tokenizer::conversation::{Record, SampleBuilder};
//! use tokenizer::gguf::{Convention, GgufOptions, GgufVocabulary, RebuildOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // From a Hugging Face directory to the key-values that llama.cpp's converter writes …
//! let tokenizer = Tokenizer::from_directory(Path::new("SmolLM2-135M-Instruct"))?;
//! let options = GgufOptions { convention: Convention::Llama, vocab_size: None, pre: None };
//! let (vocabulary, _findings) = tokenizer.to_gguf(&options)?;
//! let key_values = vocabulary.to_key_values();
//!
//! // … and from a GGUF's key-values to a tokenizer with llama.cpp's ids.
//! let vocabulary = GgufVocabulary::from_key_values(key_values)?;
//! let (tokenizer, _findings) = Tokenizer::from_gguf(&vocabulary, &RebuildOptions::default())?;
//! tokenizer.write(Path::new("fused"))?;
//!
//! // A chat with what the model is to learn of it. The date in the prompt stands still.
//! let template = tokenizer.chat_template().cloned().map(|t| t.with_clock(Clock::fixed_date(2024, 7, 26).unwrap_or_default()));
//! let samples = SampleBuilder { tokenizer: &tokenizer, template: template.as_ref(), max_tokens: Some(2048) };
//! let line = json!({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]});
//! let (sample, _findings) = samples.build(&Record::from_json(&line)?)?;
//! assert_eq!(sample.ids.len(), sample.learned.len());
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs)]

pub mod chat_template;
pub mod conversation;
mod eog;
pub mod finding;
pub mod gguf;
pub mod hf_files;
mod post_processor;
pub mod pre_tokenizer;
mod runtime_difference;
pub mod sentencepiece;
mod space_prefix;
pub mod special_tokens;
mod summary;
mod tokenizer;

pub use post_processor::TemplateError;
pub use summary::TokenizerSummary;
pub use tokenizer::{Encoding, Tokenizer, TokenizerError};
