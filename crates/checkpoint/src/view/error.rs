//! What can go wrong while a model is read.

use blocks::BlockError;
use model::StoredType;
use model::expr::ExprError;

use crate::adapter;

/// Why a tensor of a model cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// A name that the inventory does not have.
    #[error("this architecture has no tensor `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A tensor that the checkpoint does not have.
    #[error("tensor `{name}` is not in the checkpoint")]
    Absent {
        /// The canonical name.
        name: String,
    },
    /// Stored tensors that do not make the one asked for.
    #[error("tensor `{name}`: {error}")]
    Expression {
        /// The tensor.
        name: String,
        /// Why.
        error: ExprError,
    },
    /// Blocks that would have to be cut apart.
    #[error("tensor `{name}` takes single values of `{stored}`, which is stored in blocks of `{stored_type}`")]
    InsideBlocks {
        /// The tensor.
        name: String,
        /// The stored tensor.
        stored: String,
        /// Its type.
        stored_type: StoredType,
    },
    /// An adapter for another model; all problems at once.
    #[error("the adapter does not fit this model: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Adapter {
        /// What does not fit.
        problems: Vec<adapter::Problem>,
    },
    /// An adapter behind a function that is not linear.
    #[error("tensor `{name}` is changed by the adapter and passes through a function of each value")]
    ChangedInsideFunction {
        /// The tensor.
        name: String,
    },
    /// Rows that the tensor does not have, or a buffer of another size.
    #[error("tensor `{name}`: rows {start}..{end} of {rows} were asked for in a buffer of {got} instead of {expected}")]
    Range {
        /// The tensor.
        name: String,
        /// The first row.
        start: u64,
        /// Behind the last row.
        end: u64,
        /// The rows that there are.
        rows: u64,
        /// The buffer's length.
        got: usize,
        /// The length that the rows fill.
        expected: usize,
    },
    /// Rows that are not to be had as they lie.
    #[error("tensor `{name}` is computed or of several types, so its rows are not to be had as they lie")]
    NotRaw {
        /// The tensor.
        name: String,
    },
    /// A constant of fewer values than its shape.
    #[error("tensor `{name}` is computed by its family from a constant of {got} values, which its shape exceeds")]
    ConstantTooShort {
        /// The tensor.
        name: String,
        /// The number of values.
        got: usize,
    },
    /// Bytes that are not decoded.
    #[error("tensor `{name}`: {error}")]
    Decode {
        /// The tensor.
        name: String,
        /// Why.
        error: BlockError,
    },
    /// Integers of groups that are no packed ones.
    #[error("tensor `{name}` is `{stored_type}`, but has scales and biases: packed integers are `u32`")]
    NotPacked {
        /// The stored tensor.
        name: String,
        /// Its type.
        stored_type: StoredType,
    },
    /// Not a number.
    #[error(
        "tensor `{name}` holds {value} in row {row}, column {column}; the checkpoint is damaged or its training diverged"
    )]
    NotFinite {
        /// The tensor.
        name: String,
        /// The row.
        row: u64,
        /// The value's place in the row.
        column: usize,
        /// NaN or an infinity.
        value: f32,
    },
}
