//! What an adapter adds to rows that were moved: `scale · B[row, :] · A`, with `row` the canonical row behind each and `A`
//! that of the row's expert; DoRA then makes the sum `magnitude[row]` long.

use std::ops::Range;

use model::RowMap;
use model::expr::Expr;
use model::row_map::Leaf;

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
                Leaf::Constant(_) => None,
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
        let mut product = vec![0.0; columns];
        let mut rest = values;
        for run in runs(&self.map, range) {
            let (run_values, behind) = rest.split_at_mut(run.count as usize * columns);
            rest = behind;
            let Some(module) = self.modules[run.source] else {
                continue;
            };
            for (row, values) in (run.row as usize..).zip(run_values.chunks_exact_mut(columns)) {
                row_product(module, row, &mut product);
                for (value, change) in values.iter_mut().zip(&product) {
                    *value += module.scale * change;
                }
                if let Some(magnitude) = &module.magnitude {
                    set_length(values, magnitude[row]);
                }
            }
        }
    }
}

/// `Σₖ B[row, k] · A[k, :]` in the order of `k`.
fn row_product(module: &LoraModule, row: usize, product: &mut [f32]) {
    product.fill(0.0);
    let expert = row / (module.b.rows / module.experts);
    for (k, weight) in module.b.row(row).iter().enumerate() {
        for (sum, a) in product.iter_mut().zip(module.a.row(expert * module.rank() + k)) {
            *sum += weight * a;
        }
    }
}

fn set_length(row: &mut [f32], length: f32) {
    let squares: f64 = row.iter().map(|value| f64::from(*value).powi(2)).sum();
    let factor = length / squares.sqrt() as f32;
    row.iter_mut().for_each(|value| *value *= factor);
}
