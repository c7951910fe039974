//! An adapter's own products: down to its rank, back up, and the outer products that are its gradients.

use super::activations::Activations;
use super::pool::{Shared, with_scratch};
use super::{Fast, TILE};
use crate::matmul::{self, Left, Rows, RowsMut, Store, TilePair};
use crate::matrix::Matrix;
use crate::simd;

/// Features whose gradients one task sums.
const CHUNK: usize = 96;

impl Fast {
    /// `z = scale · x · Aᵀ`
    pub(super) fn project_tokens(&self, x: &Activations, a: &Matrix, scale: f32) -> Activations {
        let left = Rows { data: a.values(), stride: a.columns() };
        self.narrow(x, a.rows(), Left::Plain, left, scale)
    }

    /// `z = scale · y · B`
    pub(super) fn project_tokens_back(&self, y: &Activations, b: &Matrix, scale: f32) -> Activations {
        let left = Rows { data: b.values(), stride: b.columns() };
        self.narrow(y, b.columns(), Left::Transposed, left, scale)
    }

    /// A product with few outputs: tasks are tiles.
    fn narrow(&self, x: &Activations, outputs: usize, left: Left, a: Rows<'_>, scale: f32) -> Activations {
        let mut z = self.take(outputs, x.tokens());
        self.tiles(&mut z, |t, c| {
            let width = x.width(t);
            let b = Rows { data: x.tile(t), stride: width };
            let dims = (outputs, width, x.features());
            matmul::product(dims, left, a, b, RowsMut { data: &mut *c, stride: width }, Store::Replace);
            simd::run(|| c.iter_mut().for_each(|value| *value *= scale));
        });
        z
    }

    /// `Σ_tokens yᵀ · x`, `(features of y, features of x)`.
    pub(super) fn sum_outer_products(&self, y: &Activations, x: &Activations) -> Matrix {
        let mut sums = Matrix::zeros(y.features(), x.features());
        let runs = (0..x.tiles()).map(|t| (t * TILE, x.width(t))).collect();
        self.sum_outer_into(&mut sums, y, x, &[OuterSum { first_row: 0, runs }]);
        sums
    }

    /// Sums into `sums` block by block, each of as many rows as `y` has features: tasks are chunks of the side that has
    /// more features.
    pub(super) fn sum_outer_into(&self, sums: &mut Matrix, y: &Activations, x: &Activations, blocks: &[OuterSum]) {
        let columns = x.features();
        let x_is_wide = x.features() >= y.features();
        let (narrow, wide) = if x_is_wide { (y, x) } else { (x, y) };
        let few = narrow.features();
        let chunks = wide.features().div_ceil(CHUNK);
        let out = Shared::new(sums.values_mut());
        let done = self.pool.each(blocks.len() * chunks, |task| {
            let (OuterSum { first_row, runs }, start) = (&blocks[task / chunks], task % chunks * CHUNK);
            let many = CHUNK.min(wide.features() - start);
            let tile = |&(token, width): &(usize, usize)| TilePair {
                a: narrow.position(0, token),
                b: wide.position(start, token),
                stride: wide.width(token / TILE),
                width,
            };
            let tiles: Vec<TilePair> = runs.iter().map(tile).collect();
            with_scratch([few * many], |[products]| {
                let c = RowsMut { data: &mut *products, stride: many };
                matmul::sum_over_tokens((few, many), &tiles, narrow.values(), wide.values(), c);
                let first = first_row * columns;
                if x_is_wide {
                    for (row, products) in products.chunks_exact(many).enumerate() {
                        // SAFETY: each task has columns of its own block's rows.
                        unsafe { out.slice(first + row * columns + start, many) }.copy_from_slice(products);
                    }
                } else {
                    // SAFETY: each task has rows of its own.
                    let rows = unsafe { out.slice(first + start * columns, many * columns) };
                    for (i, value) in rows.iter_mut().enumerate() {
                        *value = products[i % columns * many + i / columns];
                    }
                }
            });
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(()) = done;
    }
}

/// A block of sums of outer products.
pub(super) struct OuterSum {
    /// Where it begins in the result.
    pub(super) first_row: usize,
    /// The tokens that are summed, within a tile each: the first, and how many vectors of them are wide.
    pub(super) runs: Vec<(usize, usize)>,
}

// A tile of the widest adapter's rank stays small beside a tile of activations.
const _: () = assert!(CHUNK.is_multiple_of(6) && TILE.is_multiple_of(matmul::COLUMN_MULTIPLE));
