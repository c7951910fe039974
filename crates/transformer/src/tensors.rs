//! The list of tensors that a builder fills.

use model::inventory::{AdapterFacts, Dialect, Form, GgufTensor, Heads, Presence, Role, TensorSpec};
use model::{Expr, Inventory};

use crate::place::Place;

/// Canonical tensors and what a GGUF makes of them.
#[derive(Debug, Default)]
pub(crate) struct Tensors {
    tensors: Vec<TensorSpec>,
    gguf: Vec<GgufTensor>,
}

/// A canonical tensor that is more than one GGUF tensor, or another shape there.
pub(crate) struct Canonical<'a> {
    pub(crate) name: &'a str,
    pub(crate) layer: Option<u32>,
    pub(crate) role: Role,
    pub(crate) shape: &'a [u64],
    pub(crate) adapter: Option<AdapterFacts>,
    pub(crate) heads: Option<Heads>,
    /// Beside the published one.
    pub(crate) forms: Vec<Form>,
}

/// What adapters know of a linear.
pub(crate) fn linear_adapter(module: &str) -> AdapterFacts {
    AdapterFacts { module: module.into(), input_axis: 1, output_axis: 0, expert_axis: None, parameter: None }
}

impl Tensors {
    /// A projection of a layer, with its bias where it has one; adapters may change the weight.
    pub(crate) fn linear(&mut self, place: &Place, role: Role, shape: [u64; 2], bias: bool) {
        let adapter = AdapterFacts { parameter: place.parameter.clone(), ..linear_adapter(&place.module) };
        self.push(place, "weight", role, &shape, Some(adapter));
        if bias {
            self.push(place, "bias", Role::Bias, &shape[..1], None);
        }
    }

    /// The embedding or the head. An adapter changes a row of the table as it changes a row of a linear's weight.
    pub(crate) fn table(&mut self, place: &Place, role: Role, shape: [u64; 2]) {
        self.push(place, "weight", role, &shape, Some(linear_adapter(&place.module)));
    }

    /// Any other tensor called `weight` that both spellings have.
    pub(crate) fn weight(&mut self, place: &Place, role: Role, shape: &[u64]) {
        self.push(place, "weight", role, shape, None);
    }

    /// A canonical tensor with the GGUF tensor of the same values.
    fn push(&mut self, place: &Place, part: &str, role: Role, shape: &[u64], adapter: Option<AdapterFacts>) {
        let name = format!("{}.{part}", place.module);
        let columns = shape.get(1).copied();
        let from_gguf = place.published(part, columns);
        let gguf = GgufTensor {
            name: format!("{}.{part}", place.gguf),
            shape: shape.to_vec(),
            role,
            layer: place.layer,
            expr: place.gguf(&name, columns),
        };
        let from_mlx = place.stored_by_mlx(part).map(|expr| Form { dialect: Dialect::Mlx, expr });
        let forms = from_gguf.into_iter().map(|expr| Form { dialect: Dialect::Gguf, expr }).chain(from_mlx).collect();
        let heads = place.heads.filter(|heads| heads.axis < shape.len());
        self.canonical(Canonical { name: &name, layer: place.layer, role, shape, adapter, heads, forms });
        self.gguf(gguf);
    }

    /// A canonical tensor, stored under its own name in a checkpoint, with other ways to make it.
    pub(crate) fn canonical(&mut self, tensor: Canonical<'_>) {
        let Canonical { name, layer, role, shape, adapter, heads, forms } = tensor;
        let published = Form { dialect: Dialect::Published, expr: Expr::tensor(name) };
        self.tensors.push(TensorSpec {
            name: name.into(),
            shape: shape.to_vec(),
            role,
            layer,
            presence: Presence::Required,
            heads,
            adapter,
            forms: std::iter::once(published).chain(forms).collect(),
        });
    }

    /// A GGUF tensor made of canonical ones or of values.
    pub(crate) fn gguf(&mut self, tensor: GgufTensor) {
        self.gguf.push(tensor);
    }

    pub(crate) fn finish(self, ignored: Vec<model::inventory::IgnoredTensor>) -> Inventory {
        Inventory { tensors: self.tensors, ignored, gguf: self.gguf }
    }
}
