//! What can go wrong between stored blocks and f32 values.

use model::StoredType;

use crate::registry;

/// Why a row could not be decoded or encoded.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BlockError {
    /// No code here reads this type.
    #[error("no decoder for `{stored_type}`; known are {}", names(registry::decodable()))]
    NoDecoder {
        /// What was asked for.
        stored_type: StoredType,
    },
    /// No code here writes this type.
    #[error("no encoder for `{stored_type}`; known are {}", names(registry::encodable()))]
    NoEncoder {
        /// What was asked for.
        stored_type: StoredType,
    },
    /// A number of values that fills no whole number of blocks.
    #[error("{values} values fill no whole number of `{stored_type}` blocks of {} values", stored_type.block_len())]
    PartialBlock {
        /// The type of the blocks.
        stored_type: StoredType,
        /// How many values were given.
        values: usize,
    },
    /// Bytes and values that don't belong together.
    #[error("{values} values of `{stored_type}` lie in {expected} bytes, got {bytes} bytes")]
    Length {
        /// The type of the blocks.
        stored_type: StoredType,
        /// Length of the slice of values.
        values: usize,
        /// Length of the slice of bytes.
        bytes: usize,
        /// Bytes that so many values take.
        expected: usize,
    },
    /// Packed integers that mlx does not have.
    #[error("no decoder for {bits} bits in groups of {group_size}")]
    NoGroups {
        /// Bits of an integer.
        bits: u32,
        /// Values of a group.
        group_size: u64,
    },
    /// Scales or biases of groups that are no plain floats.
    #[error("scales and biases of groups are `f16`, `bf16` or `f32`, got `{stored_type}`")]
    NoScale {
        /// Their type.
        stored_type: StoredType,
    },
    /// Bytes and values of groups that don't belong together.
    #[error(
        "{values} values in groups of {group_size} take {expected:?} bytes of codes, scales and biases, got {got:?}"
    )]
    Groups {
        /// Length of the slice of values.
        values: usize,
        /// Values of a group.
        group_size: usize,
        /// Lengths of the slices of bytes.
        got: [usize; 3],
        /// Bytes that so many values take.
        expected: [usize; 3],
    },
    /// A value that no block can hold: its scale would become NaN or infinite.
    #[error("value {index} is {value}, which `{stored_type}` cannot store")]
    NonFinite {
        /// The type of the blocks.
        stored_type: StoredType,
        /// Position in the slice of values.
        index: usize,
        /// The value itself: NaN or an infinity.
        value: f32,
    },
    /// A finite value that rounds to infinity in the float it is stored as.
    #[error("value {index} is {value}, which overflows `{stored_type}`")]
    Overflow {
        /// `f16` or `bf16`.
        stored_type: StoredType,
        /// Position in the slice of values.
        index: usize,
        /// The value itself.
        value: f32,
    },
    /// Finite values whose block scale or offset exceeds f16.
    #[error("the `{stored_type}` block at value {index} ranges from {min} to {max}: its scale exceeds f16's 65504")]
    ScaleOverflow {
        /// The type of the blocks.
        stored_type: StoredType,
        /// Position of the block's first value in the slice of values.
        index: usize,
        /// The block's smallest value.
        min: f32,
        /// The block's largest value.
        max: f32,
    },
}

impl BlockError {
    /// What to do about it, where the caller's code is not to blame.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            BlockError::NonFinite { .. } => Some("look for the step that lost the tensor's numbers; zero is no repair"),
            BlockError::Overflow { stored_type: StoredType::F16, .. } | BlockError::ScaleOverflow { .. } => {
                Some("`bf16` has the range of f32: store the tensor so")
            }
            BlockError::Overflow { .. } => Some("only `f32` holds it: store the tensor so"),
            _ => None,
        }
    }
}

fn names(types: impl Iterator<Item = StoredType>) -> String {
    types.map(|t| format!("`{t}`")).collect::<Vec<_>>().join(", ")
}
