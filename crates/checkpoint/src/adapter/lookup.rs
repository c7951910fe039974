//! LoRA on an embedding, a table `W` (entries, features) that is looked up: `W' = W + scale · (B·A)ᵀ`.
//!
//! PEFT stores `lora_embedding_A` (r, entries) and `lora_embedding_B` (features, r). Transposed and exchanged they are the
//! factors of any other weight: row `i` changes by `Aᵀ[i, :] · Bᵀ`.

use std::collections::BTreeSet;

use model::Inventory;
use model::inventory::Role;

use super::Matrix;

/// What PEFT's names end with.
pub(super) const A_SUFFIX: &str = ".lora_embedding_A";
pub(super) const B_SUFFIX: &str = ".lora_embedding_B";

/// The modules that are embeddings.
pub(super) fn embeddings(inventory: &Inventory) -> BTreeSet<String> {
    let embeddings = inventory.tensors.iter().filter(|spec| spec.role == Role::Embedding);
    embeddings.filter_map(|spec| Some(spec.adapter.as_ref()?.module.clone())).collect()
}

impl Matrix {
    /// Rows as columns.
    pub fn transposed(&self) -> Self {
        let value = |i: usize| self.values[i % self.rows * self.columns + i / self.rows];
        Self { rows: self.columns, columns: self.rows, values: (0..self.values.len()).map(value).collect() }
    }
}
