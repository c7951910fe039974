//! Expressions over tensors: how one dialect's tensor is made from another's.
//!
//! An expression is data: a family writes it, [`crate::RowMap`] compiles it into row moves, and whoever reads, fuses,
//! converts or adapts a model walks the result.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::group_affine::GroupAffine;

/// A tensor made from others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Expr {
    /// A stored tensor as it lies.
    Tensor(String),
    /// Packed integers with their scales and biases, three stored tensors.
    GroupAffine(GroupAffine),
    /// Values that the family computed; not stored in the source.
    Constant {
        /// Dimensions, outermost first.
        shape: Vec<u64>,
        /// Values in row-major order.
        values: Vec<f32>,
    },
    /// Parts one after the other along `axis`.
    Concat {
        /// The dimension that grows.
        axis: usize,
        /// At least one part; the other dimensions are equal.
        parts: Vec<Expr>,
    },
    /// `len` indices of `axis` from `start` on; a split is several of these.
    Slice {
        /// The whole.
        of: Box<Expr>,
        /// The dimension that shrinks.
        axis: usize,
        /// The first index.
        start: u64,
        /// The number of indices.
        len: u64,
    },
    /// Parts along a new outermost dimension.
    Stack {
        /// At least one part, all of one shape.
        parts: Vec<Expr>,
    },
    /// The same values in the same order under another shape.
    Reshape {
        /// What is reshaped.
        of: Box<Expr>,
        /// The new dimensions; their product is the old one.
        shape: Vec<u64>,
    },
    /// Dimension `i` of the result is dimension `axes[i]` of the operand.
    Permute {
        /// What is permuted.
        of: Box<Expr>,
        /// A permutation of the operand's dimensions.
        axes: Vec<usize>,
    },
    /// A function of each value.
    Pointwise {
        /// The operand.
        of: Box<Expr>,
        /// The function.
        op: Pointwise,
    },
    /// An operation that this vocabulary lacks, run by the family itself on `f32` values.
    Custom {
        /// The family's name for it.
        op: String,
        /// Operands.
        of: Vec<Expr>,
        /// The result's dimensions.
        shape: Vec<u64>,
    },
}

/// A function of each value, in `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pointwise {
    /// `x + c`; its inverse adds `-c` and is exact only where no bit is lost, except that the two cancel.
    Add(f32),
    /// `-exp(x)`, Mamba's `A` from `A_log`.
    NegExp,
    /// `ln(-x)`, the inverse of [`Pointwise::NegExp`].
    LogNeg,
}

impl Pointwise {
    /// The value.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Pointwise::Add(c) => x + c,
            Pointwise::NegExp => -x.exp(),
            Pointwise::LogNeg => (-x).ln(),
        }
    }

    /// The function that undoes this one.
    pub fn inverse(self) -> Pointwise {
        match self {
            Pointwise::Add(c) => Pointwise::Add(-c),
            Pointwise::NegExp => Pointwise::LogNeg,
            Pointwise::LogNeg => Pointwise::NegExp,
        }
    }
}

/// What does not fit in an expression.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs)]
pub enum ExprError {
    #[error("tensor `{name}` is not there")]
    MissingTensor { name: String },
    #[error("a {op} of shape {shape:?} by {argument} does not fit")]
    DoesNotFit { op: &'static str, shape: Vec<u64>, argument: String },
    #[error("parts of a {op} have shapes {first:?} and {other:?}")]
    UnlikeParts { op: &'static str, first: Vec<u64>, other: Vec<u64> },
    #[error("`{op}` moves values inside rows, so it can only be evaluated by its family")]
    NotRows { op: String },
    #[error("shape {shape:?} has more rows than can be mapped")]
    TooLarge { shape: Vec<u64> },
    #[error("shape {shape:?} holds no value")]
    Empty { shape: Vec<u64> },
    #[error(
        "{bits} bits in groups of {group_size} are not decoded; mlx has {} bits and groups of {}",
        list(&GroupAffine::BITS), list(&GroupAffine::GROUP_SIZES)
    )]
    UnknownGroups { bits: u32, group_size: u64 },
    #[error(
        "packed integers of shape {codes:?}, scales of {scales:?} and biases of {biases:?} do not fit each other by \
         {bits} bits in groups of {group_size}"
    )]
    UnlikeGroups { bits: u32, group_size: u64, codes: Vec<u64>, scales: Vec<u64>, biases: Vec<u64> },
    #[error("`{name}` is packed by groups of a row, which cannot be cut into single values")]
    InsideGroups { name: String },
}

impl Expr {
    /// A stored tensor.
    pub fn tensor(name: impl Into<String>) -> Expr {
        Expr::Tensor(name.into())
    }

    /// `self` under another shape.
    pub fn reshape(self, shape: impl Into<Vec<u64>>) -> Expr {
        Expr::Reshape { of: Box::new(self), shape: shape.into() }
    }

    /// `self` with its dimensions reordered.
    pub fn permute(self, axes: impl Into<Vec<usize>>) -> Expr {
        Expr::Permute { of: Box::new(self), axes: axes.into() }
    }

    /// Part of `self` along `axis`.
    pub fn slice(self, axis: usize, start: u64, len: u64) -> Expr {
        Expr::Slice { of: Box::new(self), axis, start, len }
    }

    /// A function of each value.
    pub fn map(self, op: Pointwise) -> Expr {
        Expr::Pointwise { of: Box::new(self), op }
    }

    /// Every stored tensor that the expression reads, in order of appearance.
    pub fn tensors(&self) -> Vec<&str> {
        match self {
            Expr::Tensor(name) => vec![name],
            Expr::GroupAffine(groups) => groups.tensors().to_vec(),
            Expr::Constant { .. } => Vec::new(),
            Expr::Concat { parts, .. } | Expr::Stack { parts } | Expr::Custom { of: parts, .. } => {
                parts.iter().flat_map(Expr::tensors).collect()
            }
            Expr::Slice { of, .. }
            | Expr::Reshape { of, .. }
            | Expr::Permute { of, .. }
            | Expr::Pointwise { of, .. } => of.tensors(),
        }
    }

    /// Every packed tensor among them.
    pub fn group_affine(&self) -> Vec<&GroupAffine> {
        match self {
            Expr::GroupAffine(groups) => vec![groups],
            Expr::Tensor(_) | Expr::Constant { .. } => Vec::new(),
            Expr::Concat { parts, .. } | Expr::Stack { parts } | Expr::Custom { of: parts, .. } => {
                parts.iter().flat_map(Expr::group_affine).collect()
            }
            Expr::Slice { of, .. }
            | Expr::Reshape { of, .. }
            | Expr::Permute { of, .. }
            | Expr::Pointwise { of, .. } => of.group_affine(),
        }
    }

    /// The expression with every stored tensor replaced by what makes it; packed ones are made of nothing else.
    pub fn substitute(&self, make: &dyn Fn(&str) -> Option<Expr>) -> Expr {
        let all = |parts: &[Expr]| parts.iter().map(|p| p.substitute(make)).collect();
        let one = |of: &Expr| Box::new(of.substitute(make));
        match self {
            Expr::Tensor(name) => make(name).unwrap_or_else(|| self.clone()),
            Expr::Constant { .. } | Expr::GroupAffine(_) => self.clone(),
            Expr::Concat { axis, parts } => Expr::Concat { axis: *axis, parts: all(parts) },
            Expr::Stack { parts } => Expr::Stack { parts: all(parts) },
            Expr::Custom { op, of, shape } => Expr::Custom { op: op.clone(), of: all(of), shape: shape.clone() },
            Expr::Slice { of, axis, start, len } => Expr::Slice { of: one(of), axis: *axis, start: *start, len: *len },
            Expr::Reshape { of, shape } => Expr::Reshape { of: one(of), shape: shape.clone() },
            Expr::Permute { of, axes } => Expr::Permute { of: one(of), axes: axes.clone() },
            Expr::Pointwise { of, op } => Expr::Pointwise { of: one(of), op: *op },
        }
    }
}

fn list<T: std::fmt::Display>(numbers: &[T]) -> String {
    numbers.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// The shape that `reshape` and `permute` of rotary rows go through: per head, `head_dim` rows.
///
/// llama.cpp's interleaved layout pairs rows `2i, 2i+1`; the published layout pairs `i, i + head_dim/2`.
pub fn interleave_halves(of: Expr, heads: u64, head_dim: u64, columns: Option<u64>) -> Expr {
    swap_rotary_axes(of, [heads, 2, head_dim / 2], columns)
}

/// The inverse of [`interleave_halves`].
pub fn halves_from_interleaved(of: Expr, heads: u64, head_dim: u64, columns: Option<u64>) -> Expr {
    swap_rotary_axes(of, [heads, head_dim / 2, 2], columns)
}

fn swap_rotary_axes(of: Expr, split: [u64; 3], columns: Option<u64>) -> Expr {
    let rows = split[0] * split[1] * split[2];
    let (mut apart, mut axes, mut back) = (split.to_vec(), vec![0, 2, 1], vec![rows]);
    if let Some(columns) = columns {
        apart.push(columns);
        axes.push(3);
        back.push(columns);
    }
    of.reshape(apart).permute(axes).reshape(back)
}
