//! wip
pub mod chat_template;
pub mod conversation;
mod eog;
pub mod finding;
pub mod gguf;
pub mod hf_files;
pub mod pre_tokenizer;
pub mod special_tokens;
mod summary;
mod tokenizer;
pub use crate::tokenizer::*;
pub use summary::TokenizerSummary;
