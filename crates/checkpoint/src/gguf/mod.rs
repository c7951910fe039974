//! GGUF: strict reader of v2 and v3, split files as one model, streaming writer of v3.
//!
//! Layout (`ggml/include/gguf.h`): magic, version, counts; key-value pairs; tensor infos; padding; tensors, each padded
//! to the alignment. What llama.cpp refuses is refused here too. Everything that is read can be written again byte for
//! byte, strings that are no UTF-8 included.

mod cursor;
mod describe;
mod encode;
mod error;
mod file;
mod from_value;
mod header;
mod meta_value;
mod metadata;
mod split;
mod value;
mod writer;

pub use describe::{FACT_TENSORS, MAX_FACT_BYTES, describe, fact_values};
pub use error::{Error, Problem};
pub use file::Gguf;
pub use from_value::{FromValue, Mismatch};
pub use header::Header;
pub use meta_value::ArrayError;
pub use metadata::{Metadata, MetadataError};
pub use split::{SplitInfo, check_parts, part_names};
pub use value::{Array, ByteString, Value, ValueType};
pub use writer::Writer;

/// The first four bytes of every GGUF.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// The embedding's tensor.
pub const EMBEDDING: &str = "token_embd.weight";
/// The head's; where there is none, llama.cpp takes the embedding.
pub const HEAD: &str = "output.weight";
/// The version that is written.
pub const VERSION: u32 = 3;
/// The alignment of a file that names none.
pub const DEFAULT_ALIGNMENT: u32 = 32;
/// The metadata key of the alignment.
pub const ALIGNMENT_KEY: &str = "general.alignment";
/// `GGML_MAX_NAME`: llama.cpp keeps a name and its final zero in so many bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// `GGML_MAX_DIMS`.
pub const MAX_DIMENSIONS: usize = 4;
