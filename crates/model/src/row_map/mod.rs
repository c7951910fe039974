//! An expression compiled into row moves.
//!
//! Most expressions only move whole rows: concat, split, stack, row permutation. Compiled, such a tensor is a list of
//! segments, each a run of rows of one source with functions applied to each value. Rows without functions pass
//! through in their stored type, quantized or not. A function that meets its inverse cancels here, so a tensor that
//! went to GGUF and back is the very tensor again.
//!
//! The same map carries adapters over: row `i` of the result changes by `B[row(i), :] · A` of its source, which is the
//! adapter rule of every row-moving expression (split: B is split and A shared; concat: ranks concatenate; row
//! permutation: B is permuted).

mod compile;
mod segment;
mod table;

use crate::expr::{Expr, ExprError};

pub use segment::{Leaf, RowSegment, RowSource, Rows};

/// A tensor as rows of others.
#[derive(Debug, Clone, PartialEq)]
pub struct RowMap {
    /// Dimensions of the result, outermost first.
    pub shape: Vec<u64>,
    /// Values in a row.
    pub columns: u64,
    /// Where rows come from.
    pub sources: Vec<RowSource>,
    /// Runs of rows in order; their counts add up to the result's rows.
    pub segments: Vec<RowSegment>,
}

/// The shape of a stored tensor by name.
pub type Shapes<'a> = dyn Fn(&str) -> Option<Vec<u64>> + 'a;

impl RowMap {
    /// Compiles `expr`; `shapes` knows the stored tensors.
    ///
    /// Where the expression reshapes or permutes the innermost dimension (a bias of one dimension, say) rows are
    /// single values, and `columns` is 1.
    pub fn compile(expr: &Expr, shapes: &Shapes<'_>) -> Result<RowMap, ExprError> {
        compile::compile(expr, shapes)
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.segments.iter().map(|s| s.rows.count()).sum()
    }

    /// The tensor that this map is, whole and unchanged.
    pub fn identity(&self, shapes: &Shapes<'_>) -> Option<&str> {
        let [RowSegment { source, rows: Rows::Range { first: 0, count } }] = self.segments.as_slice() else {
            return None;
        };
        let RowSource { leaf: Leaf::Tensor(name), ops } = &self.sources[*source] else { return None };
        let stored: u64 = shapes(name)?.iter().product();
        (ops.is_empty() && stored == count * self.columns).then_some(name.as_str())
    }

    /// Whether rows only move: no function, nothing computed or unpacked, so rows of any stored type pass through.
    pub fn only_moves_rows(&self) -> bool {
        self.segments.iter().all(|s| {
            let source = &self.sources[s.source];
            source.ops.is_empty() && matches!(source.leaf, Leaf::Tensor(_))
        })
    }

    /// The source and source row of row `i`.
    pub fn locate(&self, mut i: u64) -> Option<(&RowSource, u64)> {
        for segment in &self.segments {
            if i < segment.rows.count() {
                return Some((&self.sources[segment.source], segment.rows.get(i)));
            }
            i -= segment.rows.count();
        }
        None
    }
}

#[cfg(test)]
mod tests;
