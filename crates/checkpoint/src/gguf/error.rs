//! What can be wrong with a GGUF.

use std::io;

use model::StoredType;

use super::cursor::MAX_HEADER_BYTES;
use super::metadata::MetadataError;
use super::{MAX_DIMENSIONS, MAX_NAME_BYTES};
use crate::file_error::FileError;
use crate::write_order::OrderError;

/// A problem and the file that has it.
pub type Error = FileError<Problem>;

/// What is wrong with a GGUF, or with a plan to write one.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Another kind of file.
    #[error("not a GGUF: it begins with `{}` instead of `GGUF`", got.escape_ascii())]
    Magic {
        /// The first four bytes.
        got: [u8; 4],
    },
    /// A file from a machine of the other byte order.
    #[error("big-endian GGUF (its version reads as {version:#010x}); convert it with gguf-py's `gguf-convert-endian`")]
    BigEndian {
        /// The version as read.
        version: u32,
    },
    /// A version that is not read.
    #[error("GGUF version {version} is not read, only 2 and 3; {}", version_hint(*version))]
    Version {
        /// The file's version.
        version: u32,
    },
    /// The file ends inside its header.
    #[error(
        "ends inside its header at byte {at}: {what} needs {needed} bytes, {left} are left; it is truncated or damaged"
    )]
    Truncated {
        /// What was being read.
        what: String,
        /// Where.
        at: u64,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that the file has from there on.
        left: u64,
    },
    /// A header beyond all measure.
    #[error(
        "{what} at byte {at} takes {needed} bytes, but a header has {MAX_HEADER_BYTES} at most; the file is damaged"
    )]
    HeaderTooLong {
        /// What was being read.
        what: String,
        /// Where.
        at: u64,
        /// Bytes that it needs.
        needed: u64,
    },
    /// A count that the file has no room for.
    #[error("claims {count} {what}, which take at least {needed} bytes, {left} are left; it is truncated or damaged")]
    Count {
        /// What is counted.
        what: String,
        /// The claimed number.
        count: u64,
        /// The least they take.
        needed: u64,
        /// Bytes that the file has from there on.
        left: u64,
    },
    /// A key or tensor name that is no text.
    #[error("{what} `{}` is not UTF-8", name.escape_ascii())]
    NameNotUtf8 {
        /// Metadata key or tensor name.
        what: &'static str,
        /// Its bytes.
        name: Vec<u8>,
    },
    /// A key without a letter.
    #[error("metadata key number {number} is empty")]
    EmptyKey {
        /// Its position.
        number: u64,
    },
    /// Two entries of one name.
    #[error("{what} `{name}` appears twice")]
    Duplicate {
        /// Metadata key or tensor.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A value type that the format does not have.
    #[error("metadata key `{key}` has unknown value type {id}; known are 0 to 12")]
    UnknownValueType {
        /// The key.
        key: String,
        /// The id.
        id: u32,
    },
    /// Arrays in arrays in arrays.
    #[error("metadata key `{key}` nests arrays more than {limit} deep")]
    TooDeep {
        /// The key.
        key: String,
        /// The most that is read.
        limit: usize,
    },
    /// A truth value that is neither.
    #[error("metadata key `{key}` holds the bool {got}, expected 0 or 1")]
    NotBool {
        /// The key.
        key: String,
        /// The byte.
        got: u8,
    },
    /// An alignment that aligns nothing.
    #[error("alignment {got} is not a power of two")]
    Alignment {
        /// The value of `general.alignment`.
        got: u32,
    },
    /// A name that llama.cpp cannot keep.
    #[error("tensor name `{}` has {} bytes, llama.cpp takes at most {}", start(name), name.len(), MAX_NAME_BYTES - 1)]
    NameTooLong {
        /// The name.
        name: String,
    },
    /// More dimensions than ggml has.
    #[error("tensor `{name}` has {got} dimensions, at most {MAX_DIMENSIONS} are possible")]
    Dimensions {
        /// The tensor.
        name: String,
        /// Its number of dimensions.
        got: u64,
    },
    /// A type id without a layout.
    #[error("tensor `{name}` has type {id}, {}", type_hint(*id))]
    UnknownType {
        /// The tensor.
        name: String,
        /// The id.
        id: u32,
    },
    /// A type that has no id in a GGUF.
    #[error("tensor `{name}`: a GGUF cannot hold `{stored_type}`")]
    NotStorable {
        /// The tensor.
        name: String,
        /// Its planned type.
        stored_type: StoredType,
    },
    /// A shape that the type cannot fill, or too large to count.
    #[error("tensor `{name}` of shape {shape:?} fills no whole blocks of `{stored_type}` (of {} values), or its size overflows", stored_type.block_len())]
    Shape {
        /// The tensor.
        name: String,
        /// Dimensions, outermost first.
        shape: Vec<u64>,
        /// Its type.
        stored_type: StoredType,
    },
    /// Data that does not follow its predecessor.
    #[error("tensor `{name}` has offset {got}, expected {expected}: data must be contiguous")]
    Offset {
        /// The tensor.
        name: String,
        /// Its offset in the data.
        got: u64,
        /// Where its predecessor ends, padded.
        expected: u64,
    },
    /// Data past the end of the file.
    #[error("tensor `{name}` ends at byte {end} of a file of {file_bytes}; it is truncated, download it again")]
    DataTruncated {
        /// The tensor.
        name: String,
        /// Behind its last byte.
        end: u64,
        /// Bytes of the file.
        file_bytes: u64,
    },
    /// A metadata value that is missing or of another type.
    #[error("{0}")]
    Metadata(#[from] MetadataError),
    /// The path of a later part.
    #[error("is part {} of {count}; name the first part, `{first}`", number + 1)]
    NotFirstPart {
        /// Its number, from 0.
        number: u64,
        /// How many there are.
        count: u64,
        /// The name of the first part.
        first: String,
    },
    /// A name that gives no names of the other parts.
    #[error("is the first of {count} parts, so its name must end in `{expected}`")]
    PartName {
        /// How many parts there are.
        count: u64,
        /// The ending.
        expected: String,
    },
    /// A part that says something else than its name.
    #[error("`{key}` is {got}, expected {expected}: this part belongs to another model or place")]
    PartMismatch {
        /// The metadata key.
        key: &'static str,
        /// What the part says.
        got: u64,
        /// What its place asks for.
        expected: u64,
    },
    /// A part that nobody has.
    #[error("part `{part}` of {count} is missing; download it to the same directory")]
    MissingPart {
        /// The file name.
        part: String,
        /// How many there are.
        count: u64,
    },
    /// Parts that do not add up.
    #[error("parts hold {got} tensors together, `split.tensors.count` says {expected}")]
    PartTensors {
        /// The sum.
        got: u64,
        /// What the first part promises.
        expected: u64,
    },
    /// A write against the plan.
    #[error("{0}")]
    Order(#[from] OrderError),
}

/// As much of a name as a message should hold.
fn start(name: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String = name.chars().take(SHOWN).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    shown
}

fn version_hint(version: u32) -> &'static str {
    match version {
        1 => "files of version 1 are from 2023, convert the model again",
        _ => "a newer format needs a newer reader",
    }
}

/// Removed types have names that people search for, and a way out.
fn type_hint(id: u32) -> String {
    let removed = match id {
        4 => "q4_2",
        5 => "q4_3",
        31 => "q4_0_4_4",
        32 => "q4_0_4_8",
        33 => "q4_0_8_8",
        36 => "iq4_nl_4_4",
        37 => "iq4_nl_4_8",
        38 => "iq4_nl_8_8",
        _ => {
            let known = StoredType::GGML.iter().filter_map(|t| Some(format!("{} `{t}`", t.ggml_id()?)));
            return format!("which is not known; known are {}", known.collect::<Vec<_>>().join(", "));
        }
    };
    let instead = if id >= 36 { "iq4_nl" } else { "q4_0" };
    format!(
        "`{removed}`, which llama.cpp has removed; take the model's `{instead}` file instead (it is repacked at load)"
    )
}
