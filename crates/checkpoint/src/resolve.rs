//! Which stored tensors make a canonical one, in the container at hand.

use model::description::Container;
use model::expr::Expr;
use model::inventory::{Inventory, Presence, TensorSpec};

/// How a canonical tensor is there.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolved<'a> {
    /// Made from stored tensors.
    Stored(&'a Expr),
    /// Not there; another tensor, made from stored ones, stands in.
    Tied {
        /// The tensor that stands in.
        to: &'a str,
        /// How that one is made.
        expr: &'a Expr,
    },
    /// Not there, and the architecture computes without it.
    Absent,
    /// Not there, though it must be.
    Missing,
}

impl Resolved<'_> {
    /// How the values are made, of whichever tensor.
    pub fn expr(&self) -> Option<&Expr> {
        match self {
            Resolved::Stored(expr) | Resolved::Tied { expr, .. } => Some(expr),
            Resolved::Absent | Resolved::Missing => None,
        }
    }
}

/// Resolves `spec` against the tensors that are `stored` in a `container`.
pub fn resolve<'a>(
    inventory: &'a Inventory,
    spec: &'a TensorSpec,
    container: Container,
    stored: &dyn Fn(&str) -> bool,
) -> Resolved<'a> {
    let form = |spec: &'a TensorSpec| spec.form(container == Container::Gguf, stored).map(|form| &form.expr);
    match (form(spec), &spec.presence) {
        (Some(expr), _) => Resolved::Stored(expr),
        (None, Presence::Required) => Resolved::Missing,
        (None, Presence::Optional) => Resolved::Absent,
        (None, Presence::TiedTo(to)) => {
            inventory.get(to).and_then(form).map_or(Resolved::Missing, |expr| Resolved::Tied { to, expr })
        }
    }
}
