//! How a stored tensor may be shaped: as its canonical one, or in another way in which its values lie the same.
//!
//! Only bytes count. Dimensions of 1 change nothing, and neither does splitting rows by heads, `[heads, head_dim, hidden]`
//! for `[heads · head_dim, hidden]`. Whatever would have to be transposed is refused, and so is what cannot be told from
//! it: of two equal dimensions nobody knows which comes first. Two dimensions that are equal in the canonical shape itself
//! are taken as they are, for no checkpoint says more.

use model::inventory::TensorSpec;

/// A shape other than the canonical one, for the same values in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Respelling {
    /// More or fewer dimensions of 1.
    Singletons,
    /// A dimension in two: heads, and the features of each.
    Heads,
}

/// Why a shape does not stand for the canonical one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The canonical dimensions in another order.
    Transposed,
    /// Heads, their features and the rest in another order.
    HeadsElsewhere {
        /// The order in which they are read.
        read: Vec<u64>,
    },
    /// Heads, their features and the rest, two of them equal.
    Ambiguous {
        /// The order in which they would be read.
        read: Vec<u64>,
    },
    /// Other dimensions.
    Other,
}

impl Refusal {
    /// Why, as the rest of a sentence that names both shapes.
    pub fn reason(&self) -> String {
        match self {
            Refusal::Transposed => ": it is transposed, so its values lie in another order".into(),
            Refusal::HeadsElsewhere { read } => {
                format!(", or {read:?} by heads: its heads lie in another order, so do its values")
            }
            Refusal::Ambiguous { read } => {
                format!(", or {read:?} by heads: of equal dimensions nothing says which comes first")
            }
            Refusal::Other => String::new(),
        }
    }
}

/// Holds a stored shape against the canonical one; `None` where it is that.
///
/// # Errors
/// Where the values do not lie as the canonical tensor's do, or cannot be told to.
pub fn respelling(spec: &TensorSpec, stored: &[u64]) -> Result<Option<Respelling>, Refusal> {
    if stored == spec.shape {
        return Ok(None);
    }
    let (got, canonical) = (squeezed(stored), squeezed(&spec.shape));
    if got == canonical {
        return Ok(Some(Respelling::Singletons));
    }
    if let Some(read) = by_heads(spec) {
        let apart = squeezed(&read);
        if sorted(&got) == sorted(&apart) {
            return match got == apart {
                _ if has_twins(&apart) => Err(Refusal::Ambiguous { read }),
                true => Ok(Some(Respelling::Heads)),
                false => Err(Refusal::HeadsElsewhere { read }),
            };
        }
    }
    Err(if sorted(&got) == sorted(&canonical) { Refusal::Transposed } else { Refusal::Other })
}

/// The canonical shape with heads apart.
fn by_heads(spec: &TensorSpec) -> Option<Vec<u64>> {
    let heads = spec.heads?;
    let extent = *spec.shape.get(heads.axis)?;
    let features = extent.checked_div(heads.count).filter(|features| features * heads.count == extent)?;
    let mut shape = spec.shape.clone();
    shape.splice(heads.axis..=heads.axis, [heads.count, features]);
    Some(shape)
}

fn squeezed(shape: &[u64]) -> Vec<u64> {
    shape.iter().copied().filter(|extent| *extent != 1).collect()
}

fn sorted(shape: &[u64]) -> Vec<u64> {
    let mut shape = shape.to_vec();
    shape.sort_unstable();
    shape
}

fn has_twins(shape: &[u64]) -> bool {
    sorted(shape).windows(2).any(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use model::inventory::{Heads, Presence, Role};

    use super::*;

    fn spec(shape: &[u64], heads: Option<(usize, u64)>) -> TensorSpec {
        TensorSpec {
            name: "w".into(),
            shape: shape.to_vec(),
            role: Role::AttentionQuery,
            layer: None,
            presence: Presence::Required,
            heads: heads.map(|(axis, count)| Heads { axis, count }),
            adapter: None,
            forms: Vec::new(),
        }
    }

    #[test]
    fn dimensions_of_one_come_and_go() {
        let matrix = spec(&[8, 6], None);
        assert_eq!(respelling(&matrix, &[8, 6]), Ok(None));
        for shape in [&[8, 1, 6][..], &[1, 8, 6], &[8, 6, 1], &[1, 8, 1, 6, 1]] {
            assert_eq!(respelling(&matrix, shape), Ok(Some(Respelling::Singletons)), "{shape:?}");
        }
        for shape in [&[6, 8][..], &[6, 1, 8], &[1, 6, 8]] {
            assert_eq!(respelling(&matrix, shape), Err(Refusal::Transposed), "{shape:?}");
        }
        for shape in [&[48][..], &[], &[4, 2, 6], &[8, 7], &[0, 8, 6]] {
            assert_eq!(respelling(&matrix, shape), Err(Refusal::Other), "{shape:?}");
        }
        assert_eq!(respelling(&spec(&[8, 8], None), &[8, 1, 8]), Ok(Some(Respelling::Singletons)));
        assert_eq!(respelling(&spec(&[8, 1, 4], None), &[8, 4, 1]), Ok(Some(Respelling::Singletons)));
        assert_eq!(respelling(&spec(&[8, 1, 4], None), &[4, 1, 8]), Err(Refusal::Transposed));
        assert_eq!(respelling(&spec(&[1], None), &[]), Ok(Some(Respelling::Singletons)));
    }

    #[test]
    fn rows_are_split_by_heads_in_their_own_order() {
        let (q, o, bias) = (spec(&[8, 5], Some((0, 2))), spec(&[5, 8], Some((1, 2))), spec(&[8], Some((0, 2))));
        for (spec, shape) in [(&q, &[2, 4, 5][..]), (&q, &[2, 4, 1, 5]), (&o, &[5, 2, 4]), (&bias, &[2, 4])] {
            assert_eq!(respelling(spec, shape), Ok(Some(Respelling::Heads)), "{shape:?}");
        }
        for (spec, shape, read) in
            [(&q, &[4, 2, 5][..], [2, 4, 5]), (&q, &[5, 2, 4], [2, 4, 5]), (&o, &[2, 4, 5], [5, 2, 4])]
        {
            let refused = Err(Refusal::HeadsElsewhere { read: read.to_vec() });
            assert_eq!(respelling(spec, shape), refused, "{shape:?}");
        }
        assert_eq!(respelling(&q, &[4, 2, 1, 6]), Err(Refusal::Other));
    }

    #[test]
    fn equal_dimensions_are_not_guessed_at() {
        let square = spec(&[16, 5], Some((0, 4)));
        assert_eq!(respelling(&square, &[4, 4, 5]), Err(Refusal::Ambiguous { read: vec![4, 4, 5] }));
        let one_head = spec(&[8, 5], Some((0, 1)));
        assert_eq!(respelling(&one_head, &[1, 8, 5]), Ok(Some(Respelling::Singletons)));
        let no_heads = spec(&[8, 5], Some((0, 0)));
        assert_eq!(respelling(&no_heads, &[2, 4, 5]), Err(Refusal::Other));
    }
}
