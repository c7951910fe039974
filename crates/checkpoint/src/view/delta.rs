//! What an adapter adds to rows that were moved: `scale · B[row, :] · A`, with `row` the canonical row behind each and `A`
//! that of the row's expert; DoRA then makes the sum `magnitude[row]` long.

use std::ops::Range;

use model::RowMap;
use model::expr::Expr;
use model::row_map::Leaf;

use super::low_rank::add_product;
use super::runs::runs;
use super::{ModelView, ViewError};
use crate::adapter::LoraModule;

/// An expression over canonical tensors, and the module that changes each.
#[derive(Debug)]
pub(super) struct Delta<'a> {
    map: RowMap,
    /// By source of the map.
    modules: Vec<Option<&'a LoraModule>>,
}

impl<'a> Delta<'a> {
    /// `None` where the adapter changes nothing that the expression reads.
    pub(super) fn new(view: &'a ModelView, name: &str, expr: &Expr) -> Result<Option<Self>, ViewError> {
        if !expr.tensors().into_iter().any(|tensor| view.is_changed(tensor)) {
            return Ok(None);
        }
        let shapes = |tensor: &str| Some(view.inventory.get(tensor)?.shape.clone());
        let map =
            RowMap::compile(expr, &shapes).map_err(|error| ViewError::Expression { name: name.to_owned(), error })?;
        let mut modules = Vec::new();
        for source in &map.sources {
            let module = match &source.leaf {
                Leaf::Tensor(tensor) => view.change_of(tensor),
                Leaf::GroupAffine(_) | Leaf::Constant(_) => None,
            };
            if module.is_some_and(|module| !source.ops.is_empty() || module.a.columns as u64 != map.columns) {
                return Err(ViewError::ChangedInsideFunction { name: name.to_owned() });
            }
            modules.push(module);
        }
        Ok(Some(Self { map, modules }))
    }

    /// Adds to the values of the rows of `range`, which hold the base.
    pub(super) fn add(&self, range: Range<u64>, values: &mut [f32]) {
        let columns = self.map.columns as usize;
        let rows: Vec<(usize, usize)> = runs(&self.map, range)
            .iter()
            .flat_map(|run| (run.row..run.row + run.count).map(|row| (run.source, row as usize)))
            .collect();
        let same = |a: &(usize, usize), b: &(usize, usize)| self.factors_of(*a) == self.factors_of(*b);
        let mut rest = values;
        for alike in rows.chunk_by(same) {
            let (now, behind) = rest.split_at_mut(alike.len() * columns);
            rest = behind;
            let Some(module) = self.modules[alike[0].0] else { continue };
            add_rows(module, alike, now);
        }
    }

    /// Which factors change a row of a source: those of its module's expert.
    fn factors_of(&self, (source, row): (usize, usize)) -> (usize, usize) {
        (source, self.modules[source].map_or(0, |module| row / module.rows_of_expert()))
    }
}

/// Changes rows of one module's expert, whose numbers are given beside their source.
fn add_rows(module: &LoraModule, rows: &[(usize, usize)], values: &mut [f32]) {
    let first = rows[0].1 / module.rows_of_expert() * module.rank();
    let factors: Vec<&[f32]> = rows.iter().map(|(_, row)| module.b.row(*row)).collect();
    add_product(&module.a, first, &factors, module.scale, values);
    if let Some(magnitude) = &module.magnitude {
        for ((_, row), values) in rows.iter().zip(values.chunks_exact_mut(module.a.columns)) {
            set_length(values, magnitude[*row]);
        }
    }
}

fn set_length(row: &mut [f32], length: f32) {
    let squares: f64 = row.iter().map(|value| f64::from(*value).powi(2)).sum();
    let factor = length / squares.sqrt() as f32;
    row.iter_mut().for_each(|value| *value *= factor);
}
