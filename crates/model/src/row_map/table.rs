//! An evaluated expression as one (source, row) for each row, and how operations move these.

use super::segment::{RowSegment, Rows};
use crate::expr::ExprError;

/// More single values than this are not mapped one by one.
const MAX_ROWS: u64 = 1 << 26;

/// Rows in order.
pub(super) struct Table {
    /// Dimensions, outermost first; the innermost one is a row.
    pub shape: Vec<u64>,
    /// (source, row of it).
    pub rows: Vec<(u32, u32)>,
}

impl Table {
    /// All rows of a source of that shape, which has at least one dimension.
    ///
    /// Rows of no values are refused, for a file needs no byte to claim any number of them.
    pub fn whole(source: u32, shape: Vec<u64>) -> Result<Table, ExprError> {
        if shape.contains(&0) {
            return Err(ExprError::Empty { shape });
        }
        let count = rows_of(&shape)?;
        Ok(Table { rows: (0..count as u32).map(|row| (source, row)).collect(), shape })
    }

    pub fn concat(axis: usize, tables: &[Table]) -> Result<Table, ExprError> {
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
            let longer = shape[axis].checked_add(other.shape[axis]);
            shape[axis] = longer.ok_or_else(|| ExprError::TooLarge { shape: other.shape.clone() })?;
        }
        rows_of(&shape)?;
        let outer: u64 = shape[..axis].iter().product();
        let mut rows = Vec::with_capacity(tables.iter().map(|t| t.rows.len()).sum());
        for o in 0..outer as usize {
            for table in tables {
                let inner = table.rows.len() / outer as usize;
                rows.extend_from_slice(&table.rows[o * inner..(o + 1) * inner]);
            }
        }
        Ok(Table { shape, rows })
    }

    /// Parts along a new outermost dimension.
    pub fn stack(tables: &[Table]) -> Result<Table, ExprError> {
        if let [first, others @ ..] = tables
            && let Some(other) = others.iter().find(|other| other.shape != first.shape)
        {
            let (first, other) = (first.shape.clone(), other.shape.clone());
            return Err(ExprError::UnlikeParts { op: "stack", first, other });
        }
        let Table { mut shape, rows } = Table::concat(0, tables)?;
        let parts = tables.len() as u64;
        shape[0] /= parts;
        shape.insert(0, parts);
        Ok(Table { shape, rows })
    }

    pub fn slice(self, axis: usize, start: u64, len: u64) -> Result<Table, ExprError> {
        check_row_axis("slice", &self.shape, axis)?;
        let extent = self.shape[axis];
        if start.checked_add(len).is_none_or(|end| end > extent) {
            let argument = format!("{len} from {start} of axis {axis}");
            return Err(ExprError::DoesNotFit { op: "slice", shape: self.shape, argument });
        }
        let outer: u64 = self.shape[..axis].iter().product();
        let inner: u64 = self.shape[axis + 1..self.shape.len() - 1].iter().product();
        let mut rows = Vec::with_capacity((outer * len * inner) as usize);
        for o in 0..outer {
            let from = ((o * extent + start) * inner) as usize;
            rows.extend_from_slice(&self.rows[from..from + (len * inner) as usize]);
        }
        let mut shape = self.shape;
        shape[axis] = len;
        Ok(Table { shape, rows })
    }

    pub fn reshape(self, target: Vec<u64>) -> Result<Table, ExprError> {
        if !same_count(&self.shape, &target) {
            return Err(ExprError::DoesNotFit { op: "reshape", shape: self.shape, argument: format!("{target:?}") });
        }
        if target.last() != self.shape.last() {
            return Err(ExprError::NotRows { op: "reshape".into() });
        }
        Ok(Table { shape: target, rows: self.rows })
    }

    pub fn permute(self, axes: &[usize]) -> Result<Table, ExprError> {
        let dims = self.shape.len();
        let mut seen = axes.to_vec();
        seen.sort_unstable();
        if seen != (0..dims).collect::<Vec<_>>() {
            let argument = format!("axes {axes:?}");
            return Err(ExprError::DoesNotFit { op: "permute", shape: self.shape, argument });
        }
        if axes.last() != Some(&(dims - 1)) {
            return Err(ExprError::NotRows { op: "permute".into() });
        }
        let outer = &self.shape[..dims - 1];
        let strides: Vec<u64> = (0..outer.len()).map(|i| outer[i + 1..].iter().product()).collect();
        let shape: Vec<u64> = axes.iter().map(|a| self.shape[*a]).collect();
        let rows = (0..self.rows.len() as u64).map(|mut i| {
            let mut from = 0;
            for (axis, extent) in axes[..dims - 1].iter().zip(&shape).rev() {
                from += i % extent * strides[*axis];
                i /= extent;
            }
            self.rows[from as usize]
        });
        Ok(Table { rows: rows.collect(), shape })
    }

    /// Neighbouring rows of one source joined.
    pub fn segments(&self) -> Vec<RowSegment> {
        let mut out = Vec::new();
        let mut rest = self.rows.as_slice();
        while let Some((source, first)) = rest.first().copied() {
            let same = rest.iter().take_while(|(s, _)| *s == source).count();
            let (run, tail) = rest.split_at(same);
            let consecutive =
                run.iter().enumerate().all(|(i, (_, row))| u64::from(*row) == u64::from(first) + i as u64);
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
}

/// Whether shapes hold equally many values.
pub(super) fn same_count(a: &[u64], b: &[u64]) -> bool {
    let count = |shape: &[u64]| shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
    count(a).is_some() && count(a) == count(b)
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
