//! What every stage that takes a model shares: the description on its port, the family's reading of it, the mapped
//! files, the tokenizer, rows streamed through an encoder, and the port's description of what comes out.

#![warn(missing_docs)]

mod check;
mod error;
mod input;
mod memory;
mod port;
mod stream;
mod vocabulary;

pub use check::{check_adapter, check_model};
pub use error::stage_error;
pub use input::{AdapterInput, ModelInput, model_path};
pub use memory::{PROCESS_MEMORY, tokenizer_memory, vocabulary_memory};
pub use port::{describe_adapter, describe_model};
pub use stream::{Encode, stream_encoded, stream_memory, stream_raw};
pub use vocabulary::{describe_tokenizer, gguf_tokenizer, key_values, tokenizer_of, vocabulary_of};
