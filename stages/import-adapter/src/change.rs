//! What an adapter's file says about one matrix: headers of the factors, and what they are for.

use std::collections::BTreeMap;

use model::description::StoredTensor;

use crate::error::ImportError;

/// How a format keeps the factors of a linear. A square matrix looks the same either way, so shapes never tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lies {
    /// A `(rank, in)`, B `(out, rank)`: PEFT and GGUF.
    Rows,
    /// A `(in, rank)`, B `(rank, out)`: mlx-lm.
    Columns,
    /// Of all experts together, A `(experts · rank, in)` and B `(out, rank · experts)`: PEFT's parameters.
    Parameter { experts: u64 },
    /// Of an embedding, a table whose rows are looked up: A has its entries, B its features.
    Lookup(Lookup),
}

/// How a format keeps the factors of an embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// A `(rank, entries)`, B `(features, rank)`.
    Peft,
    /// A `(entries, rank)`, B `(rank, features)`.
    Mlx,
    /// A `(entries, rank)`, B `(features, rank)`.
    Gguf,
}

impl Lies {
    /// For messages.
    pub fn expected(self) -> &'static str {
        match self {
            Lies::Rows => "(rank, in) and (out, rank)",
            Lies::Columns => "(in, rank) and (rank, out)",
            Lies::Parameter { .. } => "(experts · rank, in) and (out, rank · experts)",
            Lies::Lookup(Lookup::Peft) => "(rank, entries) and (features, rank)",
            Lies::Lookup(Lookup::Mlx) => "(entries, rank) and (rank, features)",
            Lies::Lookup(Lookup::Gguf) => "(entries, rank) and (features, rank)",
        }
    }
}

/// The change of one stored matrix, or of the matrices of all experts.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub a: StoredTensor,
    pub b: StoredTensor,
    /// DoRA's lengths of rows.
    pub magnitude: Option<StoredTensor>,
    pub lies: Lies,
    pub size: Size,
    /// Multiplies `B·A`.
    pub scale: f32,
}

impl Change {
    /// Whether it is of a table that is looked up.
    pub fn is_lookup(&self) -> bool {
        matches!(self.lies, Lies::Lookup(_))
    }
}

/// What factors are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Linears with factors of their own; `None` for a plain matrix.
    pub experts: Option<u64>,
    pub rank: u64,
    pub in_features: u64,
    pub out_features: u64,
}

impl Size {
    /// `None` where the factors do not multiply. Stacked factors lie as `(experts, rank, in)` and `(experts, out, rank)`
    /// everywhere; older mlx-lm has the first two dimensions of A in one.
    fn of(lies: Lies, a: &[u64], b: &[u64]) -> Option<Size> {
        let (experts, [rank, in_features], [out_features, b_rank]) = match (lies, a, b) {
            (Lies::Rows, &[rank, x], &[y, b_rank]) => (None, [rank, x], [y, b_rank]),
            (Lies::Columns, &[x, rank], &[b_rank, y]) => (None, [rank, x], [y, b_rank]),
            (Lies::Parameter { experts }, &[ranks, x], &[y, b_ranks]) => {
                let each = |ranks: u64| ranks.checked_div(experts).filter(|rank| rank * experts == ranks);
                (Some(experts), [each(ranks)?, x], [y, each(b_ranks)?])
            }
            (Lies::Lookup(Lookup::Peft), &[rank, entries], &[features, b_rank])
            | (Lies::Lookup(Lookup::Mlx), &[entries, rank], &[b_rank, features])
            | (Lies::Lookup(Lookup::Gguf), &[entries, rank], &[features, b_rank]) => {
                (None, [rank, features], [entries, b_rank])
            }
            (Lies::Parameter { .. } | Lies::Lookup(_), ..) => return None,
            (_, &[experts, rank, x], &[b_experts, y, b_rank]) if experts == b_experts => {
                (Some(experts), [rank, x], [y, b_rank])
            }
            (Lies::Columns, &[rows, x], &[experts, y, b_rank]) if Some(rows) == experts.checked_mul(b_rank) => {
                (Some(experts), [b_rank, x], [y, b_rank])
            }
            _ => return None,
        };
        (rank == b_rank).then_some(Size { experts, rank, in_features, out_features })
    }

    /// The matrix that is changed.
    pub fn shape(&self) -> Vec<u64> {
        self.experts.into_iter().chain([self.out_features, self.in_features]).collect()
    }
}

/// A tensor's part in a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    A,
    B,
    Magnitude,
}

/// Tensors as they turn up, by what they change.
#[derive(Default)]
pub struct Parts(BTreeMap<String, BTreeMap<Part, StoredTensor>>);

impl Parts {
    pub fn add(&mut self, changed: &str, part: Part, tensor: StoredTensor) -> Result<(), ImportError> {
        if blocks::decoder(tensor.stored_type).is_none() {
            return Err(ImportError::Type { tensor: tensor.name, stored_type: tensor.stored_type });
        }
        match self.0.entry(changed.to_owned()).or_default().insert(part, tensor.clone()) {
            None => Ok(()),
            Some(other) => Err(ImportError::Twice { tensors: [other.name, tensor.name] }),
        }
    }

    /// Every change with both factors; `lies` knows how a format keeps them, `scale` what multiplies those of a rank.
    pub fn finish(
        self,
        lies: impl Fn(&str) -> Lies,
        scale: impl Fn(&str, u64) -> Result<f32, ImportError>,
    ) -> Result<BTreeMap<String, Change>, ImportError> {
        if self.0.is_empty() {
            return Err(ImportError::Empty);
        }
        let change = |(changed, mut parts): (String, BTreeMap<Part, StoredTensor>)| {
            let lies = lies(&changed);
            let mut take = |part, missing| {
                parts.remove(&part).ok_or_else(|| ImportError::MissingHalf { changed: changed.clone(), missing })
            };
            let (a, b) = (take(Part::A, "A")?, take(Part::B, "B")?);
            let magnitude = parts.remove(&Part::Magnitude);
            let unlike = || ImportError::Shapes {
                changed: changed.clone(),
                a: a.shape.clone(),
                b: b.shape.clone(),
                expected: lies.expected(),
            };
            let size = Size::of(lies, &a.shape, &b.shape).ok_or_else(unlike)?;
            if size.rank == 0 || size.shape().contains(&0) {
                return Err(ImportError::NothingInIt { changed: changed.clone(), a: a.shape, b: b.shape });
            }
            if matches!(lies, Lies::Lookup(_)) && magnitude.is_some() {
                return Err(ImportError::LookupDora { changed: changed.clone() });
            }
            check_lengths(&changed, magnitude.as_ref(), &size)?;
            let scale = scale(&changed, size.rank)?;
            if !scale.is_finite() || scale == 0.0 {
                return Err(ImportError::Scale { changed: changed.clone(), scale });
            }
            Ok((changed, Change { a, b, magnitude, lies, size, scale }))
        };
        self.0.into_iter().map(change).collect()
    }
}

/// One length a row.
fn check_lengths(changed: &str, magnitude: Option<&StoredTensor>, size: &Size) -> Result<(), ImportError> {
    let rows = size.experts.unwrap_or(1).checked_mul(size.out_features);
    match magnitude {
        Some(lengths) if Some(lengths.values()) != rows => Err(ImportError::Lengths {
            changed: changed.to_owned(),
            got: lengths.shape.clone(),
            expected: size.out_features,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orientation_goes_by_format() {
        let square = [4, 4];
        for lies in [Lies::Rows, Lies::Columns] {
            let size = Size { experts: None, rank: 4, in_features: 4, out_features: 4 };
            assert_eq!(Size::of(lies, &square, &square), Some(size));
        }
        let size = Size { experts: None, rank: 2, in_features: 3, out_features: 5 };
        assert_eq!(Size::of(Lies::Rows, &[2, 3], &[5, 2]), Some(size));
        assert_eq!(Size::of(Lies::Columns, &[3, 2], &[2, 5]), Some(size));
        assert_eq!(Size::of(Lies::Columns, &[2, 3], &[5, 2]), None);
        assert_eq!(Size::of(Lies::Rows, &[2, 3], &[5, 4]), None);
    }

    #[test]
    fn stacked_factors_lie_the_same_everywhere() {
        let size = Size { experts: Some(6), rank: 2, in_features: 3, out_features: 5 };
        for lies in [Lies::Rows, Lies::Columns] {
            assert_eq!(Size::of(lies, &[6, 2, 3], &[6, 5, 2]), Some(size));
        }
        assert_eq!(Size::of(Lies::Columns, &[12, 3], &[6, 5, 2]), Some(size));
        assert_eq!(Size::of(Lies::Rows, &[12, 3], &[6, 5, 2]), None);
    }

    #[test]
    fn an_embedding_is_a_matrix_of_entries() {
        let size = Size { experts: None, rank: 2, in_features: 3, out_features: 5 };
        for (lookup, a, b) in
            [(Lookup::Peft, [2, 5], [3, 2]), (Lookup::Mlx, [5, 2], [2, 3]), (Lookup::Gguf, [5, 2], [3, 2])]
        {
            assert_eq!(Size::of(Lies::Lookup(lookup), &a, &b), Some(size), "{lookup:?}");
        }
        for lookup in [Lookup::Peft, Lookup::Mlx] {
            assert_eq!(Size::of(Lies::Lookup(lookup), &[3, 2], &[5, 2]), None, "{lookup:?}");
        }
    }

    #[test]
    fn a_parameter_has_the_ranks_of_all_experts_in_one_dimension() {
        let size = Size { experts: Some(6), rank: 2, in_features: 3, out_features: 5 };
        let of = |experts, a: &[u64], b: &[u64]| Size::of(Lies::Parameter { experts }, a, b);
        assert_eq!(of(6, &[12, 3], &[5, 12]), Some(size));
        for (experts, a, b) in [(5, [12, 3], [5, 12]), (6, [12, 3], [5, 6]), (0, [12, 3], [5, 12])] {
            assert_eq!(of(experts, &a, &b), None);
        }
        assert_eq!(of(6, &[6, 2, 3], &[6, 5, 2]), None);
    }
}
