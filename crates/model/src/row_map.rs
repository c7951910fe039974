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

use crate::expr::{Expr, ExprError, Pointwise};

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

/// The shape of a stored tensor by name.
pub type Shapes<'a> = dyn Fn(&str) -> Option<Vec<u64>> + 'a;

impl RowMap {
    /// Compiles `expr`; `shapes` knows the stored tensors.
    ///
    /// Where the expression reshapes or permutes the innermost dimension (a bias of one dimension, say) rows are
    /// single values, and `columns` is 1.
    pub fn compile(expr: &Expr, shapes: &Shapes<'_>) -> Result<RowMap, ExprError> {
        match Compiler::new(shapes, Unit::Row).map(expr) {
            Err(ExprError::NotRows { .. }) => Compiler::new(shapes, Unit::Value).map(expr),
            other => other,
        }
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

    /// Whether rows only move: no function, nothing computed, so rows of any stored type pass through.
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

/// What a row is.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    /// The innermost dimension.
    Row,
    /// A single value: every shape gets an innermost dimension of 1.
    Value,
}

/// An evaluated expression: one (source, row) for each row.
struct Table {
    shape: Vec<u64>,
    rows: Vec<(u32, u32)>,
}

struct Compiler<'a> {
    shapes: &'a Shapes<'a>,
    unit: Unit,
    sources: Vec<RowSource>,
}

/// More single values than this are not mapped one by one.
const MAX_ROWS: u64 = 1 << 26;

impl<'a> Compiler<'a> {
    fn new(shapes: &'a Shapes<'a>, unit: Unit) -> Self {
        Self { shapes, unit, sources: Vec::new() }
    }

    fn map(mut self, expr: &Expr) -> Result<RowMap, ExprError> {
        let Table { mut shape, rows } = self.table(expr)?;
        let columns = shape.last().copied().unwrap_or(1);
        if self.unit == Unit::Value {
            shape.pop();
        }
        Ok(RowMap { shape, columns, segments: segments(&rows), sources: self.sources })
    }

    fn table(&mut self, expr: &Expr) -> Result<Table, ExprError> {
        match expr {
            Expr::Tensor(name) => {
                let shape = (self.shapes)(name).ok_or_else(|| ExprError::MissingTensor { name: name.clone() })?;
                self.leaf(Leaf::Tensor(name.clone()), shape)
            }
            Expr::Constant { shape, values } => self.leaf(Leaf::Constant(values.clone()), shape.clone()),
            Expr::Concat { axis, parts } => self.concat(*axis, parts),
            Expr::Slice { of, axis, start, len } => {
                let table = self.table(of)?;
                slice(table, *axis, *start, *len)
            }
            Expr::Stack { parts } => {
                let table = self.concat(0, parts)?;
                unstack(table, parts.len() as u64)
            }
            Expr::Reshape { of, shape } => {
                let table = self.table(of)?;
                self.reshape(table, shape)
            }
            Expr::Permute { of, axes } => {
                let table = self.table(of)?;
                self.permute(table, axes)
            }
            Expr::Pointwise { of, op } => {
                let table = self.table(of)?;
                Ok(self.pointwise(table, *op))
            }
            Expr::Custom { op, .. } => Err(ExprError::NotRows { op: op.clone() }),
        }
    }

    fn leaf(&mut self, leaf: Leaf, mut shape: Vec<u64>) -> Result<Table, ExprError> {
        if self.unit == Unit::Value || shape.is_empty() {
            shape.push(1);
        }
        let count = rows_of(&shape)?;
        let source = self.source(RowSource { leaf, ops: Vec::new() });
        Ok(Table { rows: (0..count as u32).map(|row| (source, row)).collect(), shape })
    }

    fn source(&mut self, source: RowSource) -> u32 {
        let at = self.sources.iter().position(|s| *s == source).unwrap_or_else(|| {
            self.sources.push(source);
            self.sources.len() - 1
        });
        at as u32
    }

    fn concat(&mut self, axis: usize, parts: &[Expr]) -> Result<Table, ExprError> {
        let tables = parts.iter().map(|p| self.table(p)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = tables.first() else {
            return Err(ExprError::DoesNotFit { op: "concat", shape: Vec::new(), argument: "no parts".into() });
        };
        let mut shape = first.shape.clone();
        check_row_axis("concat", &shape, axis)?;
        for other in &tables[1..] {
            let alike = |(i, (a, b)): (usize, (&u64, &u64))| i == axis || a == b;
            if other.shape.len() != shape.len() || !first.shape.iter().zip(&other.shape).enumerate().all(alike) {
                let op = "concat";
                return Err(ExprError::UnlikeParts { op, first: first.shape.clone(), other: other.shape.clone() });
            }
            shape[axis] += other.shape[axis];
        }
        let outer: u64 = shape[..axis].iter().product();
        let mut rows = Vec::with_capacity(tables.iter().map(|t| t.rows.len()).sum());
        for o in 0..outer as usize {
            for table in &tables {
                let inner = table.rows.len() / outer as usize;
                rows.extend_from_slice(&table.rows[o * inner..(o + 1) * inner]);
            }
        }
        Ok(Table { shape, rows })
    }

    fn reshape(&self, table: Table, shape: &[u64]) -> Result<Table, ExprError> {
        let mut target = shape.to_vec();
        if self.unit == Unit::Value {
            target.push(1);
        }
        let does_not_fit =
            || ExprError::DoesNotFit { op: "reshape", shape: table.shape.clone(), argument: format!("{shape:?}") };
        let product = |s: &[u64]| s.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
        if product(&target).is_none() || product(&target) != product(&table.shape) {
            return Err(does_not_fit());
        }
        if target.last() != table.shape.last() {
            return Err(ExprError::NotRows { op: "reshape".into() });
        }
        Ok(Table { shape: target, rows: table.rows })
    }

    fn permute(&self, table: Table, axes: &[usize]) -> Result<Table, ExprError> {
        let mut axes = axes.to_vec();
        if self.unit == Unit::Value {
            axes.push(axes.len());
        }
        let dims = table.shape.len();
        let mut seen = axes.clone();
        seen.sort_unstable();
        if seen != (0..dims).collect::<Vec<_>>() {
            let argument = format!("axes {axes:?}");
            return Err(ExprError::DoesNotFit { op: "permute", shape: table.shape, argument });
        }
        if axes.last() != Some(&(dims - 1)) {
            return Err(ExprError::NotRows { op: "permute".into() });
        }
        let outer = &table.shape[..dims - 1];
        let strides: Vec<u64> = (0..outer.len()).map(|i| outer[i + 1..].iter().product()).collect();
        let shape: Vec<u64> = axes.iter().map(|a| table.shape[*a]).collect();
        let rows = (0..table.rows.len() as u64).map(|mut i| {
            let mut from = 0;
            for (axis, extent) in axes[..dims - 1].iter().zip(&shape).rev() {
                from += i % extent * strides[*axis];
                i /= extent;
            }
            table.rows[from as usize]
        });
        Ok(Table { rows: rows.collect(), shape })
    }

    /// Puts `op` behind every source of the table, or cancels it against its inverse.
    fn pointwise(&mut self, table: Table, op: Pointwise) -> Table {
        let mut behind: std::collections::BTreeMap<u32, u32> = std::collections::BTreeMap::new();
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

fn rows_of(shape: &[u64]) -> Result<u64, ExprError> {
    let outer = &shape[..shape.len() - 1];
    let rows = outer.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).filter(|n| *n <= MAX_ROWS);
    rows.ok_or_else(|| ExprError::TooLarge { shape: shape.to_vec() })
}

/// Concat and slice work on any dimension but the innermost, which is the row itself.
fn check_row_axis(op: &'static str, shape: &[u64], axis: usize) -> Result<(), ExprError> {
    if axis + 1 == shape.len() {
        return Err(ExprError::NotRows { op: op.into() });
    }
    if axis >= shape.len() {
        return Err(ExprError::DoesNotFit { op, shape: shape.to_vec(), argument: format!("axis {axis}") });
    }
    Ok(())
}

fn slice(table: Table, axis: usize, start: u64, len: u64) -> Result<Table, ExprError> {
    check_row_axis("slice", &table.shape, axis)?;
    let extent = table.shape[axis];
    if start.checked_add(len).is_none_or(|end| end > extent) {
        let argument = format!("{len} from {start} of axis {axis}");
        return Err(ExprError::DoesNotFit { op: "slice", shape: table.shape, argument });
    }
    let outer: u64 = table.shape[..axis].iter().product();
    let inner: u64 = table.shape[axis + 1..table.shape.len() - 1].iter().product();
    let mut rows = Vec::with_capacity((outer * len * inner) as usize);
    for o in 0..outer {
        let from = ((o * extent + start) * inner) as usize;
        rows.extend_from_slice(&table.rows[from..from + (len * inner) as usize]);
    }
    let mut shape = table.shape;
    shape[axis] = len;
    Ok(Table { shape, rows })
}

/// A concat along the outermost dimension becomes a stack.
fn unstack(table: Table, parts: u64) -> Result<Table, ExprError> {
    let mut shape = table.shape;
    shape[0] /= parts;
    shape.insert(0, parts);
    Ok(Table { shape, rows: table.rows })
}

/// Joins neighbouring rows of one source into segments.
fn segments(rows: &[(u32, u32)]) -> Vec<RowSegment> {
    let mut out = Vec::new();
    let mut rest = rows;
    while let Some((source, first)) = rest.first().copied() {
        let same = rest.iter().take_while(|(s, _)| *s == source).count();
        let (run, tail) = rest.split_at(same);
        let consecutive = run.iter().enumerate().all(|(i, (_, row))| u64::from(*row) == u64::from(first) + i as u64);
        let rows = if consecutive {
            Rows::Range { first: u64::from(first), count: same as u64 }
        } else {
            Rows::List(run.iter().map(|(_, row)| *row).collect())
        };
        out.push(RowSegment { source: source as usize, rows });
        rest = tail;
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::expr::{halves_from_interleaved, interleave_halves};

    fn shapes(name: &str) -> Option<Vec<u64>> {
        match name {
            "q" => Some(vec![8, 5]),
            "b" => Some(vec![8]),
            "k" => Some(vec![4, 5]),
            "conv" => Some(vec![6, 3]),
            "experts" => Some(vec![2, 6, 5]),
            _ => None,
        }
    }

    fn order(map: &RowMap) -> Vec<u64> {
        (0..map.rows()).map(|i| map.locate(i).unwrap().1).collect()
    }

    #[test]
    fn rotary_rows_interleave_and_come_back() {
        let to = interleave_halves(Expr::tensor("q"), 2, 4, Some(5));
        let map = RowMap::compile(&to, &shapes).unwrap();
        assert_eq!(order(&map), [0, 2, 1, 3, 4, 6, 5, 7], "rows i and i + 2 of each head become neighbours");
        assert!(map.only_moves_rows() && map.identity(&shapes).is_none());
        let back = RowMap::compile(&halves_from_interleaved(to, 2, 4, Some(5)), &shapes).unwrap();
        assert_eq!(back.identity(&shapes), Some("q"));
    }

    #[test]
    fn a_bias_is_permuted_by_single_values() {
        let map = RowMap::compile(&interleave_halves(Expr::tensor("b"), 2, 4, None), &shapes).unwrap();
        assert_eq!((map.columns, map.shape.clone()), (1, vec![8]));
        assert_eq!(order(&map), [0, 2, 1, 3, 4, 6, 5, 7]);
    }

    #[test]
    fn concat_split_and_stack_move_rows() {
        let fused = Expr::Concat { axis: 0, parts: vec![Expr::tensor("q"), Expr::tensor("k")] };
        let k = RowMap::compile(&fused.clone().slice(0, 8, 4), &shapes).unwrap();
        assert_eq!(k.identity(&shapes), Some("k"));
        assert_eq!(RowMap::compile(&fused, &shapes).unwrap().segments.len(), 2);
        let up = RowMap::compile(&Expr::tensor("experts").slice(1, 3, 3), &shapes).unwrap();
        assert_eq!((up.shape.clone(), order(&up)), (vec![2, 3, 5], vec![3, 4, 5, 9, 10, 11]));
        let stack = Expr::Stack { parts: vec![Expr::tensor("k"), Expr::tensor("k")] };
        assert_eq!(RowMap::compile(&stack, &shapes).unwrap().shape, [2, 4, 5]);
    }

    #[test]
    fn a_function_cancels_against_its_inverse() {
        let one = Expr::tensor("conv").map(Pointwise::Add(1.0));
        let map = RowMap::compile(&one, &shapes).unwrap();
        assert_eq!(map.sources[map.segments[0].source].ops, [Pointwise::Add(1.0)]);
        assert!(!map.only_moves_rows());
        let back = RowMap::compile(&one.reshape([6, 1, 3]).map(Pointwise::Add(-1.0)), &shapes).unwrap();
        assert_eq!(back.identity(&shapes), Some("conv"));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let missing = RowMap::compile(&Expr::tensor("nobody"), &shapes);
        assert_eq!(missing, Err(ExprError::MissingTensor { name: "nobody".into() }));
        let wide = RowMap::compile(&Expr::tensor("q").slice(0, 6, 4), &shapes);
        assert!(matches!(wide, Err(ExprError::DoesNotFit { op: "slice", .. })), "{wide:?}");
        let unlike = Expr::Concat { axis: 0, parts: vec![Expr::tensor("q"), Expr::tensor("conv")] };
        assert!(matches!(RowMap::compile(&unlike, &shapes), Err(ExprError::UnlikeParts { .. })));
        let reshaped = RowMap::compile(&Expr::tensor("q").reshape([7, 5]), &shapes);
        assert!(matches!(reshaped, Err(ExprError::DoesNotFit { op: "reshape", .. })), "{reshaped:?}");
    }
}
