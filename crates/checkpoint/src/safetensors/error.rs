//! What can be wrong with a safetensors file or its index.

use std::io;

use model::StoredType;

use crate::file_error::FileError;
use crate::write_order::OrderError;

/// A problem and the file that has it.
pub type Error = FileError<Problem>;

/// What is wrong with a safetensors file, an index, or a plan to write one.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No room for the header's length.
    #[error("{got} bytes are too few for a safetensors file")]
    TooShort {
        /// Bytes of the file.
        got: u64,
    },
    /// The header claims more than the file, or than any header needs.
    #[error(
        "header claims {got} bytes, at most {limit} are possible here; the file is truncated or no safetensors file"
    )]
    HeaderTooLong {
        /// The claimed length.
        got: u64,
        /// What the file and the cap leave.
        limit: u64,
    },
    /// Not the JSON that a header is.
    #[error("header is not valid: {0}")]
    HeaderJson(serde_json::Error),
    /// Not the JSON that an index is.
    #[error("index is not valid: {0}")]
    IndexJson(serde_json::Error),
    /// Two entries of one name.
    #[error("`{name}` appears twice")]
    Duplicate {
        /// The tensor or metadata key.
        name: String,
    },
    /// A number format that we do not read.
    #[error("tensor `{name}` has unknown dtype `{dtype}`; known are {}", known_dtypes())]
    UnknownDtype {
        /// The tensor.
        name: String,
        /// The dtype as the header spells it.
        dtype: String,
    },
    /// Shape, dtype and offsets disagree.
    #[error("tensor `{name}`: {stored_type} of shape {shape:?} takes {}, its offsets {begin}..{end} do not fit that", bytes_or_overflow(*expected))]
    WrongBytes {
        /// The tensor.
        name: String,
        /// Its type.
        stored_type: StoredType,
        /// Its shape, outermost first.
        shape: Vec<u64>,
        /// What type and shape take; `None` where that overflows.
        expected: Option<u64>,
        /// First byte, within the data.
        begin: u64,
        /// Behind the last byte, within the data.
        end: u64,
    },
    /// Data that begins before the previous tensor's ends.
    #[error("tensor `{name}` begins at {begin}, inside its predecessor that ends at {previous_end}")]
    Overlap {
        /// The tensor.
        name: String,
        /// Its first byte, within the data.
        begin: u64,
        /// Where the predecessor ends.
        previous_end: u64,
    },
    /// Bytes that belong to no tensor.
    #[error("{} bytes before tensor `{name}` belong to no tensor", begin - previous_end)]
    Gap {
        /// The tensor behind the gap.
        name: String,
        /// Its first byte, within the data.
        begin: u64,
        /// Where the predecessor ends.
        previous_end: u64,
    },
    /// The file is shorter or longer than its tensors.
    #[error("tensors take {expected} bytes but the file has {got} after its header; {}", truncated_or_trailing(*expected, *got))]
    DataLength {
        /// Bytes of all tensors.
        expected: u64,
        /// Bytes behind the header.
        got: u64,
    },
    /// A shard name that leads out of the directory.
    #[error("index names shard `{shard}`, which is not a plain file name")]
    ShardName {
        /// The name as the index spells it.
        shard: String,
    },
    /// A shard that the index names and nobody has.
    #[error("shard `{shard}` is missing; it should hold {tensors} tensors; download it again")]
    MissingShard {
        /// The file name.
        shard: String,
        /// How many tensors the index puts there.
        tensors: usize,
    },
    /// The index promises a tensor that its shard does not have.
    #[error("index puts tensor `{name}` in shard `{shard}`, which does not hold it")]
    NotInShard {
        /// The tensor.
        name: String,
        /// The shard.
        shard: String,
    },
    /// A shard holds a tensor that the index does not put there.
    #[error("shard `{shard}` holds tensor `{name}`, which the index {}", match indexed { Some(other) => format!("puts in `{other}`"), None => "does not list".to_owned() })]
    NotInIndex {
        /// The tensor.
        name: String,
        /// The shard that holds it.
        shard: String,
        /// Where the index puts it, if anywhere.
        indexed: Option<String>,
    },
    /// A type that safetensors has no name for.
    #[error("tensor `{name}`: safetensors cannot hold `{stored_type}`; only GGUF holds block types")]
    NotStorable {
        /// The tensor.
        name: String,
        /// Its planned type.
        stored_type: StoredType,
    },
    /// A write against the plan.
    #[error("{0}")]
    Order(#[from] OrderError),
}

fn known_dtypes() -> String {
    let names = ["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"];
    names.map(|name| format!("`{name}`")).join(", ")
}

fn bytes_or_overflow(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "more bytes than can be counted".to_owned(), |bytes| format!("{bytes} bytes"))
}

fn truncated_or_trailing(expected: u64, got: u64) -> &'static str {
    if got < expected { "it is truncated, download it again" } else { "the trailing bytes belong to nothing" }
}
