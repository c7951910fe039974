//! Which stored tensors make a canonical one, in the container at hand.

use std::borrow::Cow;

use model::description::Container;
use model::expr::Expr;
use model::inventory::{Inventory, Presence, TensorSpec};
use model::row_map::Shapes;

use crate::stored_shape::respelling;

/// How a canonical tensor is there.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolved<'a> {
    /// Made from stored tensors.
    Stored(Cow<'a, Expr>),
    /// Not there; another tensor, made from stored ones, stands in.
    Tied {
        /// The tensor that stands in.
        to: &'a str,
        /// How that one is made.
        expr: Cow<'a, Expr>,
    },
    /// Not there, and the architecture computes without it.
    Absent,
    /// Not there, though it must be.
    Missing,
}

impl<'a> Resolved<'a> {
    /// How the values are made, of whichever tensor.
    pub fn expr(self) -> Option<Cow<'a, Expr>> {
        match self {
            Resolved::Stored(expr) | Resolved::Tied { expr, .. } => Some(expr),
            Resolved::Absent | Resolved::Missing => None,
        }
    }
}

/// Resolves `spec` against the stored tensors of a `container`, whose shapes are `stored`.
pub fn resolve<'a>(
    inventory: &'a Inventory,
    spec: &'a TensorSpec,
    container: Container,
    stored: &Shapes<'_>,
) -> Resolved<'a> {
    let form = |spec: &'a TensorSpec| {
        let form = spec.form(container == Container::Gguf, &|name| stored(name).is_some())?;
        Some(as_stored(spec, &form.expr, container, stored))
    };
    match (form(spec), &spec.presence) {
        (Some(expr), _) => Resolved::Stored(expr),
        (None, Presence::Required) => Resolved::Missing,
        (None, Presence::Optional) => Resolved::Absent,
        (None, Presence::TiedTo(to)) => {
            inventory.get(to).and_then(form).map_or(Resolved::Missing, |expr| Resolved::Tied { to, expr })
        }
    }
}

/// The expression, with a stored tensor that only has another shape brought into its own. A GGUF's shapes are those that
/// llama.cpp asks for.
fn as_stored<'a>(spec: &TensorSpec, expr: &'a Expr, container: Container, stored: &Shapes<'_>) -> Cow<'a, Expr> {
    let respelled = || {
        let Expr::Tensor(name) = expr else { return None };
        respelling(spec, &stored(name)?).ok().flatten()
    };
    match container {
        Container::Safetensors if respelled().is_some() => Cow::Owned(expr.clone().reshape(spec.shape.as_slice())),
        _ => Cow::Borrowed(expr),
    }
}
