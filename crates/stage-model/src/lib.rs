//! What every stage that takes a model shares: the description on its port, the family's reading of it, the mapped
//! files, the tokenizer, rows streamed through an encoder, and the port's description of what comes out.

#![warn(missing_docs)]

mod check;
mod error;
mod input;
mod json_line;
mod lane;
mod memory;
mod pass_through;
mod port;
mod stream;
mod untie;
mod vocabulary;

pub use check::{check_adapter, check_model, lost_in_gguf, model_notes};
pub use error::stage_error;
pub use input::{AdapterInput, ModelInput, model_path};
pub use json_line::{JsonLineError, parse_json_line};
pub use memory::{PROCESS_MEMORY, adapter_memory, opened_memory, tokenizer_memory, vocabulary_memory};
pub use pass_through::PassThrough;
pub use port::{describe_adapter, describe_model};
pub use stream::{Encode, RowStream};
pub use untie::{HEAD, untied_note};
pub use vocabulary::{
    describe_tokenizer, gguf_tokenizer, key_values, runtime_differences, tokenizer_finding, tokenizer_of, vocabulary_of,
};
