//! What a row map is made of: sources, and runs of their rows.

use crate::expr::Pointwise;
use crate::group_affine::GroupAffine;

/// A source of rows with what is done to each value.
#[derive(Debug, Clone, PartialEq)]
pub struct RowSource {
    /// The data.
    pub leaf: Leaf,
    /// Functions applied in order.
    pub ops: Vec<Pointwise>,
}

/// Stored or computed values.
#[derive(Debug, Clone, PartialEq)]
pub enum Leaf {
    /// A stored tensor.
    Tensor(String),
    /// Stored tensors that are one.
    GroupAffine(GroupAffine),
    /// Values in row-major order.
    Constant(Vec<f32>),
}

/// A run of rows of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct RowSegment {
    /// Index into [`RowMap::sources`].
    pub source: usize,
    /// Which rows.
    pub rows: Rows,
}

/// Rows of a source, in units of the map's `columns` values.
#[derive(Debug, Clone, PartialEq)]
pub enum Rows {
    /// Consecutive rows.
    Range {
        /// The first row.
        first: u64,
        /// How many.
        count: u64,
    },
    /// Rows in any order.
    List(Vec<u32>),
}

impl Rows {
    /// How many rows.
    pub fn count(&self) -> u64 {
        match self {
            Rows::Range { count, .. } => *count,
            Rows::List(rows) => rows.len() as u64,
        }
    }

    /// The source row of the `i`-th row of the segment.
    pub fn get(&self, i: u64) -> u64 {
        match self {
            Rows::Range { first, .. } => first + i,
            Rows::List(rows) => u64::from(rows[i as usize]),
        }
    }
}
