//! A module's factors, put together from those of the adapter's file.

use checkpoint::adapter::{LoraModule, Matrix, by_expert};

use crate::change::{Change, Lies, Lookup};
use crate::error::ImportError;
use crate::found::Found;
use crate::place::{Piece, Placed};

/// The factors of a module as the model's adapter has them.
pub fn assemble(found: &Found, placed: &Placed) -> Result<LoraModule, ImportError> {
    let (experts, rank) = (placed.shape.experts as usize, placed.rank as usize);
    let (columns, out) = (placed.shape.in_features as usize, placed.shape.out_features as usize);
    let mut a = vec![0.0; experts * rank * columns];
    let mut b = vec![0.0; experts * out * rank];
    let mut magnitude = placed.dora.then(|| vec![0.0; experts * out]);
    let mut read = Read::default();
    for (expert, pieces) in placed.pieces.iter().enumerate() {
        for (at, piece) in pieces.iter().enumerate() {
            let factors = read.of(found, piece)?;
            let (ranks, first) = (factors.rank, piece.first as usize);
            let from = piece.expert as usize * ranks * columns;
            let to = (expert * rank + first) * columns;
            a[to..to + ranks * columns].copy_from_slice(&factors.a[from..from + ranks * columns]);
            let rows = placed.rows[expert * out..(expert + 1) * out].iter().enumerate();
            for (i, row) in rows.filter_map(|(i, row)| row.filter(|(of, _)| *of == at).map(|(_, row)| (i, row))) {
                let source = piece.expert as usize * factors.out + row as usize;
                let to = &mut b[(expert * out + i) * rank + first..][..ranks];
                to.iter_mut().zip(&factors.b[source * ranks..]).for_each(|(to, from)| *to = piece.bake * from);
                if let (Some(lengths), Some(from)) = (&mut magnitude, &factors.magnitude) {
                    lengths[expert * out + i] = from[source];
                }
            }
        }
    }
    let matrix = |rows, columns, values| Matrix { rows, columns, values };
    Ok(LoraModule {
        a: matrix(experts * rank, columns, a),
        b: matrix(experts * out, rank, b),
        scale: placed.scale,
        experts,
        magnitude,
    })
}

/// One change's factors in memory: those of the piece before, for experts come one after the other.
#[derive(Default)]
struct Read {
    change: String,
    factors: Factors,
}

impl Read {
    fn of(&mut self, found: &Found, piece: &Piece) -> Result<&Factors, ImportError> {
        if self.change != piece.change {
            let change = found.changes.get(&piece.change).ok_or(ImportError::Empty)?;
            self.factors = Factors::read(found, change)?;
            self.change.clone_from(&piece.change);
        }
        Ok(&self.factors)
    }
}

/// Whether two changes have the same factors.
pub fn are_same(found: &Found, one: &Change, other: &Change) -> Result<bool, ImportError> {
    Ok(Factors::read(found, one)? == Factors::read(found, other)?)
}

/// A change's values, A `(experts · rank, in)` and B `(experts · out, rank)`.
#[derive(Default, PartialEq)]
struct Factors {
    rank: usize,
    out: usize,
    a: Vec<f32>,
    b: Vec<f32>,
    magnitude: Option<Vec<f32>>,
}

impl Factors {
    fn read(found: &Found, change: &Change) -> Result<Self, ImportError> {
        let size = change.size;
        let (rank, out, columns) = (size.rank as usize, size.out_features as usize, size.in_features as usize);
        let (mut a, mut b) = (found.weights.values(&change.a)?, found.weights.values(&change.b)?);
        match (change.lies, size.experts) {
            (Lies::Columns, None) => (a, b) = (transposed(a, columns, rank), transposed(b, rank, out)),
            // A has a row for each entry, as B has one for each feature that a linear makes.
            (Lies::Lookup(Lookup::Peft), _) => (a, b) = (transposed(b, columns, rank), transposed(a, rank, out)),
            (Lies::Lookup(Lookup::Gguf), _) => (a, b) = (transposed(b, columns, rank), a),
            (Lies::Lookup(Lookup::Mlx), _) => (a, b) = (b, a),
            (Lies::Parameter { .. }, Some(experts)) => {
                let experts = experts as usize;
                b = by_expert(&Matrix { rows: out, columns: rank * experts, values: b }, experts, rank).values;
            }
            // Stacked factors lie alike everywhere.
            _ => {}
        }
        let magnitude = change.magnitude.as_ref().map(|tensor| found.weights.values(tensor)).transpose()?;
        Ok(Self { rank, out, a, b, magnitude })
    }
}

/// A `(rows, columns)` matrix as `(columns, rows)`.
fn transposed(values: Vec<f32>, rows: usize, columns: usize) -> Vec<f32> {
    Matrix { rows, columns, values }.transposed().values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_matrix_is_transposed_too() {
        assert_eq!(transposed(vec![1.0, 2.0, 3.0, 4.0], 2, 2), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(transposed(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
