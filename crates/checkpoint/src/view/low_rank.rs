//! `W[i, :] += scale · Σₖ B[i, k] · A[k, :]` for several rows at once.
//!
//! Sums stay in registers for a tile of columns while `k` runs, and a tile of A serves all rows of the group. Each value is
//! summed in the order of `k` whatever the group and the tile are, so its bits do not depend on either.

use blocks::Vectorized;

use crate::adapter::Matrix;

/// Rows that share what is read of A.
const GROUP: usize = 4;
/// Columns of a tile: with [`GROUP`] rows of it, half of AVX2's registers.
const TILE: usize = 16;

/// Adds to `values`, one row of A's width for each row of B in `rows`; `first` is A's row for `k = 0`.
pub(super) fn add_product(a: &Matrix, first: usize, rows: &[&[f32]], scale: f32, values: &mut [f32]) {
    for (rows, values) in rows.chunks(GROUP).zip(values.chunks_mut(GROUP * a.columns)) {
        match *rows {
            [r0, r1, r2, r3] => blocks::widest(AddRows { b: [r0, r1, r2, r3], a, first, scale, values }),
            [r0, r1, r2] => blocks::widest(AddRows { b: [r0, r1, r2], a, first, scale, values }),
            [r0, r1] => blocks::widest(AddRows { b: [r0, r1], a, first, scale, values }),
            [r0, ..] => blocks::widest(AddRows { b: [r0], a, first, scale, values }),
            [] => {}
        }
    }
}

/// The sum for `ROWS` rows.
struct AddRows<'a, const ROWS: usize> {
    b: [&'a [f32]; ROWS],
    a: &'a Matrix,
    first: usize,
    scale: f32,
    values: &'a mut [f32],
}

impl<const ROWS: usize> Vectorized for AddRows<'_, ROWS> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { b, a, first, scale, values } = self;
        let (columns, rank) = (a.columns, b[0].len());
        let a = &a.values[first * columns..(first + rank) * columns];
        let whole = columns - columns % TILE;
        for start in (0..whole).step_by(TILE) {
            let mut sums = [[0.0f32; TILE]; ROWS];
            for (k, row) in a.chunks_exact(columns).enumerate() {
                let Some(tile) = row[start..].first_chunk::<TILE>() else { break };
                for r in 0..ROWS {
                    let weight = b[r][k];
                    for i in 0..TILE {
                        sums[r][i] += weight * tile[i];
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                let values = &mut values[r * columns + start..][..TILE];
                for i in 0..TILE {
                    values[i] += scale * sums[i];
                }
            }
        }
        for (r, b) in b.iter().enumerate() {
            for column in whole..columns {
                let sum = b.iter().enumerate().fold(0.0, |sum, (k, weight)| sum + weight * a[k * columns + column]);
                values[r * columns + column] += scale * sum;
            }
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
        let a = matrix(2 * rank, columns);
        for count in 1..2 * GROUP {
            let b = matrix(count, rank);
            let rows: Vec<&[f32]> = (0..count).map(|i| b.row(i)).collect();
            let base: Vec<f32> = (0..count * columns).map(|i| i as f32 / 9.0).collect();
            let mut together = base.clone();
            add_product(&a, rank, &rows, 1.5, &mut together);
            for (i, value) in together.iter().enumerate() {
                let (row, column) = (i / columns, i % columns);
                let sum = (0..rank).fold(0.0f32, |sum, k| sum + b.row(row)[k] * a.row(rank + k)[column]);
                assert_eq!(*value, base[i] + 1.5 * sum, "row {row} of {count}, column {column}");
            }
        }
    }
}
