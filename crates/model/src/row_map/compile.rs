//! From an expression to a row map.

use std::collections::BTreeMap;

use super::segment::{Leaf, RowSource};
use super::table::{Table, same_count};
use super::{RowMap, Shapes};
use crate::expr::{Expr, ExprError, Pointwise};

/// Compiles `expr` by whole rows, or by single values where it moves them inside rows.
pub(super) fn compile(expr: &Expr, shapes: &Shapes<'_>) -> Result<RowMap, ExprError> {
    match Compiler::new(shapes, Unit::Row).map(expr) {
        Err(ExprError::NotRows { .. }) => Compiler::new(shapes, Unit::Value).map(expr),
        other => other,
    }
}

/// What a row is.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    /// The innermost dimension.
    Row,
    /// A single value: every shape gets an innermost dimension of 1.
    Value,
}

struct Compiler<'a> {
    shapes: &'a Shapes<'a>,
    unit: Unit,
    sources: Vec<RowSource>,
}

impl<'a> Compiler<'a> {
    fn new(shapes: &'a Shapes<'a>, unit: Unit) -> Self {
        Self { shapes, unit, sources: Vec::new() }
    }

    fn map(mut self, expr: &Expr) -> Result<RowMap, ExprError> {
        let table = self.table(expr)?;
        let segments = table.segments();
        let mut shape = table.shape;
        let columns = shape.last().copied().unwrap_or(1);
        if self.unit == Unit::Value {
            shape.pop();
        }
        Ok(RowMap { shape, columns, segments, sources: self.sources })
    }

    fn table(&mut self, expr: &Expr) -> Result<Table, ExprError> {
        match expr {
            Expr::Tensor(name) => {
                let shape = self.stored_shape(name)?;
                self.leaf(Leaf::Tensor(name.clone()), shape)
            }
            Expr::GroupAffine(groups) if self.unit == Unit::Value => {
                Err(ExprError::InsideGroups { name: groups.codes.clone() })
            }
            Expr::GroupAffine(groups) => self.leaf(Leaf::GroupAffine(groups.clone()), groups.shape(self.shapes)?),
            Expr::Constant { shape, values } => self.leaf(Leaf::Constant(values.clone()), shape.clone()),
            Expr::Concat { axis, parts } => Table::concat(*axis, &self.tables(parts)?),
            Expr::Slice { of, axis, start, len } => self.table(of)?.slice(*axis, *start, *len),
            Expr::Stack { parts } => Table::stack(&self.tables(parts)?),
            Expr::Reshape { of, shape } => {
                let mut target = shape.clone();
                if self.unit == Unit::Value {
                    target.push(1);
                    return self.table(of)?.reshape(target);
                }
                match of.as_ref() {
                    // Its values lie one after the other, so rows of any length can be taken out of it.
                    Expr::Tensor(name) => self.stored(name, target),
                    of => self.table(of)?.reshape(target),
                }
            }
            Expr::Permute { of, axes } => {
                let mut axes = axes.clone();
                if self.unit == Unit::Value {
                    axes.push(axes.len());
                }
                self.table(of)?.permute(&axes)
            }
            Expr::Pointwise { of, op } => {
                let table = self.table(of)?;
                Ok(self.pointwise(table, *op))
            }
            Expr::Custom { op, .. } => Err(ExprError::NotRows { op: op.clone() }),
        }
    }

    fn stored_shape(&self, name: &str) -> Result<Vec<u64>, ExprError> {
        (self.shapes)(name).ok_or_else(|| ExprError::MissingTensor { name: name.to_owned() })
    }

    /// A stored tensor under another shape.
    fn stored(&mut self, name: &str, target: Vec<u64>) -> Result<Table, ExprError> {
        let shape = self.stored_shape(name)?;
        if !same_count(&shape, &target) {
            return Err(ExprError::DoesNotFit { op: "reshape", shape, argument: format!("{target:?}") });
        }
        self.leaf(Leaf::Tensor(name.to_owned()), target)
    }

    fn tables(&mut self, parts: &[Expr]) -> Result<Vec<Table>, ExprError> {
        parts.iter().map(|part| self.table(part)).collect()
    }

    fn leaf(&mut self, leaf: Leaf, mut shape: Vec<u64>) -> Result<Table, ExprError> {
        if self.unit == Unit::Value || shape.is_empty() {
            shape.push(1);
        }
        let source = self.source(RowSource { leaf, ops: Vec::new() });
        Table::whole(source, shape)
    }

    fn source(&mut self, source: RowSource) -> u32 {
        let at = self.sources.iter().position(|s| *s == source).unwrap_or_else(|| {
            self.sources.push(source);
            self.sources.len() - 1
        });
        at as u32
    }

    /// Puts `op` behind every source of the table, or cancels it against its inverse.
    fn pointwise(&mut self, table: Table, op: Pointwise) -> Table {
        let mut behind: BTreeMap<u32, u32> = BTreeMap::new();
        let mut rows = table.rows;
        for (source, _) in &mut rows {
            *source = match behind.get(source) {
                Some(known) => *known,
                None => {
                    let mut changed = self.sources[*source as usize].clone();
                    match changed.ops.last() {
                        Some(last) if *last == op.inverse() => _ = changed.ops.pop(),
                        _ => changed.ops.push(op),
                    }
                    let made = self.source(changed);
                    behind.insert(*source, made);
                    made
                }
            };
        }
        Table { shape: table.shape, rows }
    }
}
