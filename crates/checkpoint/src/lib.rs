//! One way to read a model, whatever holds it: safetensors (single, sharded) or GGUF (v2 and v3, split files).
//!
//! Readers are strict: a file's lengths, counts and offsets are held against the file before anything is allocated or
//! read by them. Data is mapped and handed out as it lies. Writers stream, hold no tensor whole, and give a file its
//! name only when it is complete.

pub mod adapter;
mod checkpoint;
pub mod coverage;
pub mod digest;
pub mod file_error;
pub mod gguf;
pub mod hf_directory;
pub mod partial_file;
pub mod resolve;
pub mod safetensors;
mod source;
pub mod stored_shape;
pub mod tensor;
pub mod view;
mod write_behind;
mod write_order;

pub use checkpoint::{Checkpoint, OpenError};
pub use file_error::FileError;
pub use hf_directory::{DirectoryError, HfDirectory};
pub use model::description::StoredTensor;
pub use source::{ByteSource, MappedFile, map_pages, read_small_file};
pub use tensor::LocatedTensor;
pub use view::{ModelView, RowReader, ViewError};
pub use write_order::OrderError;
