//! `W[i, :] += scale · Σₖ B[i, k] · A[k, :]` for several rows at once.
//!
//! Sums stay in registers for a tile of columns while `k` runs, and a tile of A serves all rows of the group. Each value is
//! summed in the order of `k` whatever the group and the tile are, so its bits do not depend on either.

use crate::adapter::Matrix;

/// Rows that share what is read of A.
pub(super) const GROUP: usize = 4;
/// Columns of a tile.
const TILE: usize = 16;

/// Adds to `values`, one row of A's width for each row of B in `rows`; `first` is A's row for `k = 0`.
pub(super) fn add_product(a: &Matrix, first: usize, rows: &[&[f32]], scale: f32, values: &mut [f32]) {
    blocks::widest(|| match rows {
        [r0, r1, r2, r3] => add_rows([*r0, *r1, *r2, *r3], a, first, scale, values),
        _ => rows.iter().zip(values.chunks_exact_mut(a.columns)).for_each(|(row, values)| {
            add_rows([*row], a, first, scale, values);
        }),
    });
}

#[inline(always)]
fn add_rows<const ROWS: usize>(b: [&[f32]; ROWS], a: &Matrix, first: usize, scale: f32, values: &mut [f32]) {
    let columns = a.columns;
    let whole = columns - columns % TILE;
    for start in (0..whole).step_by(TILE) {
        let mut sums = [[0.0f32; TILE]; ROWS];
        for k in 0..b[0].len() {
            let tile: &[f32] = &a.row(first + k)[start..start + TILE];
            for (sums, row) in sums.iter_mut().zip(b) {
                let weight = row[k];
                (0..TILE).for_each(|i| sums[i] += weight * tile[i]);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            let values = &mut values[row * columns + start..][..TILE];
            (0..TILE).for_each(|i| values[i] += scale * sums[i]);
        }
    }
    for (row, b) in b.iter().enumerate() {
        for column in whole..columns {
            let sum = b.iter().enumerate().fold(0.0, |sum, (k, weight)| sum + weight * a.row(first + k)[column]);
            values[row * columns + column] += scale * sum;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn matrix(rows: usize, columns: usize) -> Matrix {
        Matrix::new(rows, columns, (0..rows * columns).map(|i| (i as f32 * 0.7).sin()).collect()).unwrap()
    }

    #[test]
    fn groups_and_tiles_do_not_show() {
        let (rank, columns) = (5, 3 * TILE + 7);
        let (a, b) = (matrix(2 * rank, columns), matrix(GROUP, rank));
        let rows: Vec<&[f32]> = (0..GROUP).map(|i| b.row(i)).collect();
        let base: Vec<f32> = (0..GROUP * columns).map(|i| i as f32 / 9.0).collect();
        let mut together = base.clone();
        add_product(&a, rank, &rows, 1.5, &mut together);
        for (i, value) in together.iter().enumerate() {
            let (row, column) = (i / columns, i % columns);
            let sum = (0..rank).fold(0.0f32, |sum, k| sum + b.row(row)[k] * a.row(rank + k)[column]);
            assert_eq!(*value, base[i] + 1.5 * sum);
        }
        let mut apart = base.clone();
        for (row, values) in rows.iter().zip(apart.chunks_exact_mut(columns)) {
            add_product(&a, rank, &[row], 1.5, values);
        }
        assert_eq!(apart, together);
    }
}
