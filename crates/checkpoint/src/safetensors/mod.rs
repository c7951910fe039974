//! safetensors: strict header reader, shards behind one index, streaming writers.
//!
//! Layout (<https://github.com/huggingface/safetensors#format>): `u64` little-endian length of the header, the header
//! as JSON, then the tensors' bytes back to back. Unlike most readers this one also refuses duplicate names and trailing
//! bytes, and never allocates by a number that it has not held against the file's length.

mod describe;
mod error;
mod file;
mod header;
mod index;
mod sharded_writer;
mod writer;

pub use describe::describe;
pub use error::{Error, Problem};
pub use file::Safetensors;
pub use header::Header;
pub use index::ShardIndex;
pub use sharded_writer::ShardedWriter;
pub use writer::{Writer, published_order};

/// A checkpoint in one file.
pub const SINGLE_FILE: &str = "model.safetensors";
/// The index of a checkpoint in several files.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
