//! Products of tokens with the experts that they chose, and with the experts' adapters: tasks are rows, or columns, of
//! one expert.
//!
//! As in [`super::linear`] rows are decoded into scratch, and what is summed is summed in canonical order; so a token's
//! values depend neither on threads nor on who else chose the expert.

use super::activations::Activations;
use super::linear::{Mapped, SUMMED_ROWS, backward_chunk, forward_panel, forward_tile};
use super::pool::with_scratch;
use super::project::OuterSum;
use super::target::Target;
use super::{Fast, TILE};
use crate::backend::Side;
use crate::error::Result;
use crate::mapped::MatrixError;
use crate::matmul::{self, Left, Rows, RowsMut, Store};
use crate::matrix::Matrix;
use crate::routing::{GROUP, Group, Routing};
use crate::simd;

/// Slots for which an expert's columns are decoded once on the way back.
const SLOTS: usize = 2 * TILE;

/// Values of scratch that a forward task takes: decoded rows, and a tile's outputs.
pub(crate) fn forward_scratch(rows: usize, columns: usize) -> [usize; 2] {
    let panel = forward_panel(rows, columns, 1).min(rows);
    [panel * columns, panel * TILE]
}

/// Values of scratch that a backward task takes: decoded columns, and sums.
pub(crate) fn backward_scratch(rows: usize, columns: usize, granularity: usize) -> [usize; 2] {
    let chunk = backward_chunk(columns, granularity, 1).min(columns);
    [SUMMED_ROWS.min(rows) * chunk, chunk * SLOTS]
}

/// Where the rows of a slot's product with `x` begin.
fn columns_from(x: &Activations, row: usize, slot: usize) -> Rows<'_> {
    let (t, width) = (slot / TILE, x.width(slot / TILE));
    Rows { data: &x.tile(t)[row * width + slot % TILE..], stride: width }
}

impl Fast {
    /// `y = x · Wᵀ + side` with the matrices of each slot's expert.
    pub(super) fn multiply_by_experts(
        &self,
        experts: &[Mapped],
        x: &Activations,
        side: Option<Side<'_, Fast>>,
        routing: &Routing,
    ) -> Result<Activations> {
        let [rows, columns, _] = shape(experts);
        let mut y = self.zeros(rows, x.tokens());
        let (out, panel) = (Target::new(&mut y), forward_panel(rows, columns, 1));
        let panels = rows.div_ceil(panel);
        self.pool.each(routing.groups().len() * panels, |task| {
            let (group, start) = (&routing.groups()[task / panels], task % panels * panel);
            let own = start..rows.min(start + panel);
            with_scratch(forward_scratch(rows, columns), |[decoded, product]| {
                let decoded = &mut decoded[..own.len() * columns];
                experts[group.expert].matrix().decode(own.clone(), 0..columns, decoded)?;
                for (slot, count) in Activations::runs(group.slots.clone()) {
                    let width = count.next_multiple_of(GROUP);
                    forward_tile(decoded, columns, columns_from(x, 0, slot), product, width, own.len());
                    if let Some(Side { factor, input }) = &side {
                        let rank = factor.columns();
                        let from = (group.expert * rows + own.start) * rank;
                        let a = Rows { data: &factor.values()[from..], stride: rank };
                        let (dims, b) = ((own.len(), width, rank), columns_from(input, 0, slot));
                        let c = RowsMut { data: &mut *product, stride: width };
                        matmul::product(dims, Left::Plain, a, b, c, Store::Add);
                    }
                    // SAFETY: each task has rows of its own of its expert's slots.
                    unsafe { out.write_rows(own.clone(), slot..slot + count, product, width) };
                }
                Ok::<(), MatrixError>(())
            })
        })?;
        Ok(y)
    }

    /// `dx = dy · W + side` with the matrices of each slot's expert.
    pub(super) fn multiply_back_by_experts(
        &self,
        experts: &[Mapped],
        dy: &Activations,
        side: Option<Side<'_, Fast>>,
        routing: &Routing,
    ) -> Result<Activations> {
        let [rows, columns, granularity] = shape(experts);
        let mut dx = self.zeros(columns, dy.tokens());
        let (out, chunk) = (Target::new(&mut dx), backward_chunk(columns, granularity, 1));
        let chunks = columns.div_ceil(chunk);
        self.pool.each(routing.groups().len() * chunks, |task| {
            let (group, start) = (&routing.groups()[task / chunks], task % chunks * chunk);
            let own = start..columns.min(start + chunk);
            with_scratch(backward_scratch(rows, columns, granularity), |[decoded, sums]| {
                for first in group.slots.clone().step_by(SLOTS) {
                    let slots = first..group.slots.end.min(first + SLOTS);
                    for start in (0..rows).step_by(SUMMED_ROWS) {
                        let panel = start..rows.min(start + SUMMED_ROWS);
                        let decoded = &mut decoded[..panel.len() * own.len()];
                        experts[group.expert].matrix().decode(panel.clone(), own.clone(), decoded)?;
                        let store = if start == 0 { Store::Replace } else { Store::Add };
                        for (slot, count) in Activations::runs(slots.clone()) {
                            let a = Rows { data: decoded, stride: own.len() };
                            let b = columns_from(dy, panel.start, slot);
                            let c = RowsMut { data: &mut sums[slot - first..], stride: SLOTS };
                            let dims = (own.len(), count.next_multiple_of(GROUP), panel.len());
                            matmul::product(dims, Left::Transposed, a, b, c, store);
                        }
                    }
                    if let Some(Side { factor, input }) = &side {
                        let rank = factor.rows() / experts.len();
                        let from = group.expert * rank * columns + own.start;
                        let a = Rows { data: &factor.values()[from..], stride: columns };
                        for (slot, count) in Activations::runs(slots.clone()) {
                            let dims = (own.len(), count.next_multiple_of(GROUP), rank);
                            let c = RowsMut { data: &mut sums[slot - first..], stride: SLOTS };
                            matmul::product(dims, Left::Transposed, a, columns_from(input, 0, slot), c, Store::Add);
                        }
                    }
                    // SAFETY: each task has rows (columns of W) of its own of its expert's slots.
                    unsafe { out.write_rows(own.clone(), slots, sums, SLOTS) };
                }
                Ok::<(), MatrixError>(())
            })
        })?;
        Ok(dx)
    }

    /// `z = scale · x · Aᵀ` with each slot's expert's A, `(rank, features)`.
    pub(super) fn project_by_experts(&self, x: &Activations, a: &Matrix, scale: f32, routing: &Routing) -> Activations {
        let rank = a.rows() / routing.experts();
        let of = |expert: usize| Rows { data: &a.values()[expert * rank * a.columns()..], stride: a.columns() };
        self.narrow_by_experts(x, rank, Left::Plain, of, scale, routing)
    }

    /// `z = scale · y · B` with each slot's expert's B, `(features, rank)`.
    pub(super) fn project_back_by_experts(
        &self,
        y: &Activations,
        b: &Matrix,
        scale: f32,
        routing: &Routing,
    ) -> Activations {
        let (rows, rank) = (b.rows() / routing.experts(), b.columns());
        let of = |expert: usize| Rows { data: &b.values()[expert * rows * rank..], stride: rank };
        self.narrow_by_experts(y, rank, Left::Transposed, of, scale, routing)
    }

    /// A product with few outputs: tasks are runs of an expert's slots within a tile.
    fn narrow_by_experts<'a>(
        &self,
        x: &Activations,
        outputs: usize,
        left: Left,
        factor: impl Fn(usize) -> Rows<'a> + Sync + Send,
        scale: f32,
        routing: &Routing,
    ) -> Activations {
        let mut z = self.zeros(outputs, x.tokens());
        let out = Target::new(&mut z);
        let runs_of = |group: &Group| Activations::runs(group.slots.clone()).map(|run| (group.expert, run)).collect();
        let runs: Vec<(usize, (usize, usize))> = routing.groups().iter().flat_map::<Vec<_>, _>(runs_of).collect();
        let done = self.pool.each(runs.len(), |task| {
            let (expert, (slot, count)) = runs[task];
            let width = count.next_multiple_of(GROUP);
            with_scratch([outputs * width], |[product]| {
                let dims = (outputs, width, x.features());
                let c = RowsMut { data: &mut *product, stride: width };
                matmul::product(dims, left, factor(expert), columns_from(x, 0, slot), c, Store::Replace);
                simd::run(|| product.iter_mut().for_each(|value| *value *= scale));
                // SAFETY: each task has slots of its own.
                unsafe { out.write_rows(0..outputs, slot..slot + count, product, width) };
            });
            Ok::<(), std::convert::Infallible>(())
        });
        let Ok(()) = done;
        z
    }

    /// `Σ_slots yᵀ · x` of every expert, one after the other. Slots that nobody has are zero in `x` or in `y`.
    pub(super) fn sum_outer_by_experts(&self, y: &Activations, x: &Activations, routing: &Routing) -> Matrix {
        let mut sums = Matrix::zeros(routing.experts() * y.features(), x.features());
        let block = |group: &Group| {
            let runs = Activations::runs(group.slots.clone());
            let runs = runs.map(|(slot, count)| (slot, count.next_multiple_of(GROUP))).collect();
            OuterSum { first_row: group.expert * y.features(), runs }
        };
        self.sum_outer_into(&mut sums, y, x, &routing.groups().iter().map(block).collect::<Vec<_>>());
        sums
    }
}

/// Rows, columns and granularity; all experts have the same rows and columns.
fn shape(experts: &[Mapped]) -> [usize; 3] {
    let first = experts.first().map_or((0, 0), |expert| (expert.matrix().rows(), expert.matrix().columns()));
    // Blocks are powers of two, so the longest is a multiple of all.
    let granularity = experts.iter().map(|expert| expert.matrix().granularity()).max().unwrap_or(1);
    [first.0, first.1, granularity]
}

// A group's vectors are the product's.
const _: () = assert!(GROUP.is_multiple_of(matmul::COLUMN_MULTIPLE) && TILE.is_multiple_of(GROUP));
