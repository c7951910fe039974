//! A vocabulary as GGUF stores it, and the ways there and back.
//!
//! [`GgufVocabulary`] is plain data between `tokenizer.*` key-values ([`key_values`]) and a tokenizer:
//! [`GgufVocabulary::from_hf`] writes what llama.cpp's converter writes, [`rebuild`] makes a `tokenizer.json` whose ids
//! are those of llama.cpp.

mod byte_pieces;
mod from_hf;
mod from_sentencepiece;
pub mod key_values;
mod merges_from_scores;
mod rebuild;
mod special_vocab;
mod vocabulary;

pub use from_hf::{Convention, FromHfError, GgufOptions};
pub use key_values::{KeyValueError, VocabValue};
pub use rebuild::{RebuildError, RebuildOptions, Rebuilt, rebuild};
pub use vocabulary::{GgufVocabulary, TokenType, VocabularyKind};
