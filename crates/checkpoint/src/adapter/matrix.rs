//! A small dense matrix.

/// Row-major `f32` values.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// Rows.
    pub rows: usize,
    /// Values in a row.
    pub columns: usize,
    /// `rows · columns` values, row after row.
    pub values: Vec<f32>,
}

impl Matrix {
    /// `None` where the values do not fill the shape.
    pub fn new(rows: usize, columns: usize, values: Vec<f32>) -> Option<Self> {
        (rows.checked_mul(columns) == Some(values.len())).then_some(Self { rows, columns, values })
    }

    /// Row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.columns..(i + 1) * self.columns]
    }
}
