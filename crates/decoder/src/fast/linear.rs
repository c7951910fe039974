//! Products with a mapped matrix: rows are decoded into a thread's scratch and used at once.
//!
//! Forward, a panel of rows gives outputs of its own. Backward, rows are what is summed over: each task owns some
//! columns, decodes only these of every row, and adds panels of [`SUMMED_ROWS`] rows in canonical order. So neither
//! needs another thread's work, and results depend neither on threads nor on the container.

use std::ops::Range;

use super::activations::Activations;
use super::pool::{Shared, with_scratch};
use super::{Fast, TILE};
use crate::backend::Side;
use crate::error::Result;
use crate::mapped::MappedMatrix;
use crate::matmul::{self, Left, Rows, RowsMut, Store};

/// Rows that are decoded and summed together on the way back. Part of the result: sums are rounded panel by panel.
pub(crate) const SUMMED_ROWS: usize = 128;

/// Values of the summed dimension that are multiplied at once on the way forward, so that they stay in a core's cache.
/// Part of the result, as above.
const SUMMED_COLUMNS: usize = 1024;

/// Values of a decoded panel, at most: a part of a core's second-level cache.
const PANEL_VALUES: usize = 64 * 1024;

/// Outputs come in multiples of the micro-kernel's rows.
const KERNEL_ROWS: usize = 6;

/// A frozen matrix of the fast path.
#[derive(Debug)]
pub struct Mapped {
    matrix: MappedMatrix,
}

impl Mapped {
    pub(crate) fn new(matrix: MappedMatrix) -> Self {
        Self { matrix }
    }

    /// Where the values lie.
    pub(crate) fn matrix(&self) -> &MappedMatrix {
        &self.matrix
    }

    /// `y = x · Wᵀ + side`
    pub(super) fn multiply(
        &self,
        fast: &Fast,
        x: &Activations,
        side: Option<Side<'_, Fast>>,
        mut y: Activations,
    ) -> Result<Activations> {
        let (rows, columns) = (self.matrix.rows(), self.matrix.columns());
        let panel = forward_panel(rows, columns, fast.threads());
        let tiles = TileShapes::of(&y);
        let out = Shared::new(y.values_mut());
        fast.pool
            .each(rows.div_ceil(panel), |task| {
                let own = task * panel..rows.min((task + 1) * panel);
                with_scratch([own.len() * columns], |[decoded]| {
                    self.matrix.decode(own.clone(), 0..columns, decoded)?;
                    for t in 0..tiles.count {
                        // SAFETY: each task has rows of its own in every tile.
                        let c = unsafe { tiles.rows(&out, t, own.clone()) };
                        let x = Rows { data: x.tile(t), stride: tiles.width(t) };
                        forward_tile(decoded, columns, x, c, tiles.width(t), own.len());
                        if let Some(side) = &side {
                            let (factor, rank) = (side.factor.values(), side.factor.columns());
                            let a = Rows { data: &factor[own.start * rank..own.end * rank], stride: rank };
                            add_product(a, Left::Plain, side.input.tile(t), c, (own.len(), tiles.width(t), rank));
                        }
                    }
                    Ok(())
                })
            })
            .map_err(|error: crate::mapped::MatrixError| error.into())
            .map(|()| y)
    }

    /// `dx = onto + dy · W + side`
    pub(super) fn multiply_back(
        &self,
        fast: &Fast,
        dy: &Activations,
        side: Option<Side<'_, Fast>>,
        onto: Option<Activations>,
    ) -> Result<Activations> {
        let (rows, columns) = (self.matrix.rows(), self.matrix.columns());
        let chunk = backward_chunk(columns, self.matrix.granularity(), fast.threads());
        let first = if onto.is_some() { Store::Add } else { Store::Replace };
        let mut dx = onto.unwrap_or_else(|| fast.take(columns, dy.tokens()));
        let tiles = TileShapes::of(&dx);
        let out = Shared::new(dx.values_mut());
        fast.pool
            .each(columns.div_ceil(chunk), |task| {
                let own = task * chunk..columns.min((task + 1) * chunk);
                with_scratch([SUMMED_ROWS.min(rows) * own.len()], |[decoded]| {
                    for start in (0..rows).step_by(SUMMED_ROWS) {
                        let panel = start..rows.min(start + SUMMED_ROWS);
                        let decoded = &mut decoded[..panel.len() * own.len()];
                        self.matrix.decode(panel.clone(), own.clone(), decoded)?;
                        let store = if start == 0 { first } else { Store::Add };
                        for t in 0..tiles.count {
                            let width = tiles.width(t);
                            // SAFETY: each task has rows (columns of W) of its own in every tile.
                            let c = unsafe { tiles.rows(&out, t, own.clone()) };
                            let a = Rows { data: decoded, stride: own.len() };
                            let b = Rows { data: &dy.tile(t)[panel.start * width..], stride: width };
                            let dims = (own.len(), width, panel.len());
                            matmul::product(dims, Left::Transposed, a, b, RowsMut { data: c, stride: width }, store);
                        }
                    }
                    for (t, side) in (0..tiles.count).flat_map(|t| side.as_ref().map(|side| (t, side))) {
                        let a = Rows { data: &side.factor.values()[own.start..], stride: columns };
                        // SAFETY: as above.
                        let c = unsafe { tiles.rows(&out, t, own.clone()) };
                        add_product(
                            a,
                            Left::Transposed,
                            side.input.tile(t),
                            c,
                            (own.len(), tiles.width(t), side.factor.rows()),
                        );
                    }
                    Ok(())
                })
            })
            .map_err(|error: crate::mapped::MatrixError| error.into())
            .map(|()| dx)
    }
}

/// Outputs of some decoded rows for `width` tokens.
pub(super) fn forward_tile(decoded: &[f32], columns: usize, x: Rows<'_>, c: &mut [f32], width: usize, rows: usize) {
    for start in (0..columns).step_by(SUMMED_COLUMNS) {
        let k = SUMMED_COLUMNS.min(columns - start);
        let a = Rows { data: &decoded[start..], stride: columns };
        let b = Rows { data: &x.data[start * x.stride..], stride: x.stride };
        let store = if start == 0 { Store::Replace } else { Store::Add };
        matmul::product((rows, width, k), Left::Plain, a, b, RowsMut { data: c, stride: width }, store);
    }
}

/// Adds `A·B`, or `Aᵀ·B`, of an adapter.
fn add_product(a: Rows<'_>, left: Left, b: &[f32], c: &mut [f32], (m, n, k): (usize, usize, usize)) {
    let (b, c) = (Rows { data: b, stride: n }, RowsMut { data: c, stride: n });
    matmul::product((m, n, k), left, a, b, c, Store::Add);
}

/// Tiles of a result that tasks share by rows.
struct TileShapes {
    features: usize,
    tokens: usize,
    count: usize,
}

impl TileShapes {
    fn of(x: &Activations) -> Self {
        Self { features: x.features(), tokens: x.tokens(), count: x.tiles() }
    }

    fn width(&self, t: usize) -> usize {
        super::activations::width_of(self.tokens - t * TILE)
    }

    /// Some rows of tile `t`.
    ///
    /// # Safety
    /// Nobody else touches them while the slice lives.
    unsafe fn rows<'a>(&self, out: &Shared<'a>, t: usize, rows: Range<usize>) -> &'a mut [f32] {
        let width = self.width(t);
        // SAFETY: passed on to the caller.
        unsafe { out.slice(t * TILE * self.features + rows.start * width, rows.len() * width) }
    }
}

/// Rows of a forward task.
pub(crate) fn forward_panel(rows: usize, columns: usize, threads: usize) -> usize {
    let most = (PANEL_VALUES / columns.max(1) / KERNEL_ROWS).max(1);
    even_share(rows.div_ceil(KERNEL_ROWS), threads, most) * KERNEL_ROWS
}

/// Columns of a backward task.
pub(crate) fn backward_chunk(columns: usize, granularity: usize, threads: usize) -> usize {
    let unit = granularity.max(32);
    let most = (PANEL_VALUES / SUMMED_ROWS / unit).max(1);
    even_share(columns.div_ceil(unit), threads, most) * unit
}

/// How many of `units` a task gets, at most `most`, so that the busiest thread has as little as possible and there are
/// as many tasks as that allows, up to four a thread: other work on the machine then delays the whole less.
fn even_share(units: usize, threads: usize, most: usize) -> usize {
    if threads == 1 {
        return most.min(units).max(1);
    }
    let busiest = |share: usize| share * units.div_ceil(share).div_ceil(threads);
    let fewest = units.div_ceil(most).max(threads);
    let shares = (fewest..=fewest.max(4 * threads)).map(|tasks| units.div_ceil(tasks).max(1));
    shares.min_by_key(|share| (busiest(*share), *share)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_bounded() {
        assert_eq!(even_share(18, 2, 16), 3);
        assert_eq!(even_share(5, 1, 100), 5);
        assert_eq!(even_share(1000, 2, 10), 10);
        for (rows, columns) in [(576, 576), (49152, 576), (192, 576), (14336, 4096), (7, 3)] {
            let panel = forward_panel(rows, columns, 2);
            assert!(panel.is_multiple_of(6) && panel * columns <= PANEL_VALUES.max(6 * columns));
            let chunk = backward_chunk(columns, 256, 2);
            assert!(chunk.is_multiple_of(256) && chunk * SUMMED_ROWS <= PANEL_VALUES.max(256 * SUMMED_ROWS));
        }
    }
}
