//! Which tensors pass through as they lie, told from headers alone.

use std::borrow::Cow;
use std::collections::BTreeMap;

use checkpoint::resolve::resolve;
use model::description::StoredTensor;
use model::row_map::Leaf;
use model::{Expr, RowMap, StoredType};

use crate::{AdapterInput, ModelInput};

/// A model and perhaps an adapter, asked what a view of them will copy.
#[derive(Debug)]
pub struct PassThrough<'a> {
    model: &'a ModelInput,
    adapter: Option<&'a AdapterInput>,
    stored: BTreeMap<&'a str, &'a StoredTensor>,
}

impl<'a> PassThrough<'a> {
    /// Of a model with the adapter that is merged into it.
    pub fn new(model: &'a ModelInput, adapter: Option<&'a AdapterInput>) -> Self {
        let stored = model.description.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        Self { model, adapter, stored }
    }

    /// The one type in which all rows of an expression over canonical tensors lie, where nothing changes them: what
    /// [`RowReader::stored_type`](checkpoint::RowReader::stored_type) will say.
    pub fn stored_type(&self, expr: &Expr) -> Option<StoredType> {
        if expr.tensors().into_iter().any(|name| self.is_changed(name)) {
            return None;
        }
        let shapes = |name: &str| Some(self.stored.get(name)?.shape.clone());
        let map = RowMap::compile(&expr.substitute(&|name| self.made_of(name)), &shapes).ok()?;
        let mut types = map.sources.iter().map(|source| match &source.leaf {
            Leaf::Tensor(name) => Some(self.stored.get(name.as_str())?.stored_type),
            Leaf::GroupAffine(_) | Leaf::Constant(_) => None,
        });
        let first = types.next()??;
        (map.only_moves_rows() && types.all(|other| other == Some(first))).then_some(first)
    }

    /// How a canonical tensor is made of stored ones.
    fn made_of(&self, name: &str) -> Option<Expr> {
        let inventory = &self.model.reading.inventory;
        let shapes = |name: &str| Some(self.stored.get(name)?.shape.clone());
        let resolved = resolve(inventory, inventory.get(name)?, self.model.description.container, &shapes);
        resolved.expr().map(Cow::into_owned)
    }

    fn is_changed(&self, name: &str) -> bool {
        let facts = self.model.reading.inventory.get(name).and_then(|spec| spec.adapter.as_ref());
        facts.zip(self.adapter).is_some_and(|(facts, adapter)| adapter.description.modules.contains_key(&facts.module))
    }
}
