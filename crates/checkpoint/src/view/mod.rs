//! A model as a view: a base, and perhaps an adapter, read by canonical name and by the block.
//!
//! Merged rows are `f32`: `W'[i, :] = W[i, :] + scale · (Σₖ B[i, k] · A[k, :])`, the sum in the order of `k`, then the
//! product, then the base row; DoRA then gives the row its length. Each row depends on nothing but itself, so the bits are
//! the same however rows are grouped into blocks or blocks given to threads.

mod delta;
mod error;
mod low_rank;
mod reader;
mod runs;

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::description::{Container, StoredTensor};
use model::expr::Expr;
use model::inventory::{Inventory, TensorSpec};

use crate::adapter::{Adapter, LoraModule, ModuleShape};
use crate::checkpoint::Checkpoint;
use crate::resolve::{Resolved, resolve};

pub use error::ViewError;
pub use reader::{RawRows, RowReader, StoredBytes, StoredSegment};

/// A checkpoint read through its inventory, with an optional adapter.
#[derive(Debug)]
pub struct ModelView {
    checkpoint: Checkpoint,
    inventory: Inventory,
    adapter: Option<Adapter>,
}

impl ModelView {
    /// Puts the parts together; every module of the adapter must be the model's.
    pub fn new(checkpoint: Checkpoint, inventory: Inventory, adapter: Option<Adapter>) -> Result<Self, ViewError> {
        if let Some(adapter) = &adapter {
            let problems = adapter.check_modules(&module_shapes(&inventory));
            if !problems.is_empty() {
                return Err(ViewError::Adapter { problems });
            }
        }
        Ok(Self { checkpoint, inventory, adapter })
    }

    /// The base.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Every canonical tensor.
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    /// What is merged into the base.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }

    /// The canonical tensors that this model has, in the inventory's order: stored ones and those that only the adapter
    /// tells apart from the tensor that they are tied to.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorSpec> {
        self.inventory.tensors.iter().filter(|spec| match self.resolved(spec) {
            Resolved::Stored(_) => true,
            Resolved::Tied { .. } => self.is_changed(&spec.name),
            Resolved::Absent | Resolved::Missing => false,
        })
    }

    /// How the canonical tensor of that name is there.
    pub fn resolve(&self, name: &str) -> Result<Resolved<'_>, ViewError> {
        Ok(self.resolved(self.spec(name)?))
    }

    /// Whether the adapter changes the canonical tensor of that name.
    pub fn is_changed(&self, name: &str) -> bool {
        self.change_of(name).is_some()
    }

    /// The rows of the canonical tensor of that name; of the tensor that it is tied to, where it is not stored.
    pub fn rows(&self, name: &str) -> Result<RowReader<'_>, ViewError> {
        self.evaluate(name, &Expr::tensor(name))
    }

    /// The rows of a tensor made from canonical ones, such as one of [`Inventory::gguf`]; `name` is for messages.
    ///
    /// The expression is joined with the one that makes the canonical tensors from stored ones, so that an operation
    /// that meets its inverse cancels and rows pass through as they lie.
    pub fn evaluate(&self, name: &str, expr: &Expr) -> Result<RowReader<'_>, ViewError> {
        RowReader::new(self, name, expr)
    }

    /// All values of a small canonical tensor.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, ViewError> {
        let reader = self.rows(name)?;
        let mut values = vec![0.0; reader.rows() as usize * reader.columns()];
        reader.read_finite(0..reader.rows(), &mut values)?;
        Ok(values)
    }

    /// The stored tensor of that name and its bytes as they lie.
    pub fn stored(&self, name: &str) -> Option<(&StoredTensor, &[u8])> {
        self.checkpoint.tensor(name)
    }

    /// How the canonical tensor is made from stored ones.
    fn stored_expr(&self, name: &str) -> Result<Cow<'_, Expr>, ViewError> {
        let spec = self.spec(name)?;
        match self.resolved(spec) {
            Resolved::Stored(expr) | Resolved::Tied { expr, .. } => Ok(expr),
            Resolved::Absent | Resolved::Missing => Err(ViewError::Absent { name: name.to_owned() }),
        }
    }

    /// What the adapter adds to the canonical tensor.
    fn change_of(&self, name: &str) -> Option<&LoraModule> {
        let facts = self.inventory.get(name)?.adapter.as_ref()?;
        self.adapter.as_ref()?.modules.get(&facts.module)
    }

    fn spec(&self, name: &str) -> Result<&TensorSpec, ViewError> {
        self.inventory.get(name).ok_or_else(|| ViewError::Unknown { name: name.to_owned() })
    }

    fn resolved<'a>(&'a self, spec: &'a TensorSpec) -> Resolved<'a> {
        let container: Container = self.checkpoint.container();
        resolve(&self.inventory, spec, container, &|name| Some(self.checkpoint.tensor(name)?.0.shape.clone()))
    }
}

/// The linears that a LoRA can change, by module.
pub fn module_shapes(inventory: &Inventory) -> BTreeMap<String, ModuleShape> {
    let shape = |spec: &TensorSpec| Some((spec.adapter.as_ref()?.module.clone(), module_shape(spec)?));
    inventory.tensors.iter().filter_map(shape).collect()
}

/// The linear that a LoRA can change: a weight of [out, in], or of [experts, out, in].
pub fn module_shape(spec: &TensorSpec) -> Option<ModuleShape> {
    let facts = spec.adapter.as_ref()?;
    // Transposed weights need another product; no family has them yet.
    match (facts.expert_axis, facts.output_axis, facts.input_axis, spec.shape.as_slice()) {
        (None, 0, 1, &[out_features, in_features]) => Some(ModuleShape { experts: 1, in_features, out_features }),
        (Some(0), 1, 2, &[experts, out_features, in_features]) => {
            Some(ModuleShape { experts, in_features, out_features })
        }
        _ => None,
    }
}
