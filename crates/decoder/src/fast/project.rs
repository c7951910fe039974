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

    /// `Σ_tokens yᵀ · x`, `(features of y, features of x)`: tasks are chunks of the side that has more features.
    pub(super) fn sum_outer_products(&self, y: &Activations, x: &Activations) -> Matrix {
        let mut sums = Matrix::zeros(y.features(), x.features());
        let columns = x.features();
        let x_is_wide = x.features() >= y.features();
        let (narrow, wide) = if x_is_wide { (y, x) } else { (x, y) };
        let few = narrow.features();
        let out = Shared::new(sums.values_mut());
        let done = self.pool.each(wide.features().div_ceil(CHUNK), |task| {
            let start = task * CHUNK;
            let many = CHUNK.min(wide.features() - start);
            let tile = |t| (narrow.tile_start(t), wide.tile_start(t) + start * wide.width(t), wide.width(t));
            let tiles: Vec<TilePair> = (0..wide.tiles()).map(tile).collect();
            with_scratch([few * many], |[products]| {
                let c = RowsMut { data: &mut *products, stride: many };
                matmul::sum_over_tokens((few, many), &tiles, narrow.values(), wide.values(), c);
                if x_is_wide {
                    for (row, products) in products.chunks_exact(many).enumerate() {
                        // SAFETY: each task has columns of its own.
                        unsafe { out.slice(row * columns + start, many) }.copy_from_slice(products);
                    }
                } else {
                    // SAFETY: each task has rows of its own.
                    let rows = unsafe { out.slice(start * columns, many * columns) };
                    for (i, value) in rows.iter_mut().enumerate() {
                        *value = products[i % columns * many + i / columns];
                    }
                }
            });
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(()) = done;
        sums
    }
}

// A tile of the widest adapter's rank stays small beside a tile of activations.
const _: () = assert!(CHUNK.is_multiple_of(6) && TILE.is_multiple_of(matmul::COLUMN_MULTIPLE));
