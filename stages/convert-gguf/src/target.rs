//! The GGUF that converting makes, known before it is made.

use std::collections::BTreeMap;

use model::description::{Container, MetaValue, StoredTensor};
use model::inventory::{GgufTensor, Role};
use model::{Expr, ModelDescription};
use model_api::quantizer::{self, ChosenQuantizer, Recipe, TensorFacts, TensorRecipe};
use stage_api::{Context, Finding, Result, Severity};
use stage_model::ModelInput;

use crate::header;
use crate::params::Params;

/// Headers of the output, and how each tensor is made.
pub struct Target {
    pub description: ModelDescription,
    /// Metadata without the vocabulary, in the order in which it is written.
    pub metadata: Vec<(String, MetaValue)>,
    pub quantizer: ChosenQuantizer,
    pub recipe: Recipe,
    /// The inventory's tensors, in the recipe's order.
    pub sources: Vec<GgufTensor>,
}

impl Target {
    pub fn new(ctx: &Context, params: &Params, model: &ModelInput, name: &str) -> Result<Self> {
        let reading = &model.reading;
        let sources = reading.inventory.gguf.clone();
        let tied_head = reading.architecture.is_tied();
        let facts = |t: &GgufTensor| TensorFacts {
            name: t.name.clone(),
            shape: t.shape.clone(),
            role: t.role,
            layer: t.layer,
            tied_head: tied_head && t.role == Role::Embedding,
        };
        let quantizer = quantizer::choose(ctx, params.quantizer()?)?;
        let recipe = quantizer.plan(&reading.gguf, sources.iter().map(facts).collect())?;
        let metadata = header::metadata(model, name, recipe.file_type);
        let stored = |(t, r): (&GgufTensor, &TensorRecipe)| StoredTensor {
            name: t.name.clone(),
            stored_type: r.stored_type,
            shape: t.shape.clone(),
        };
        let description = ModelDescription {
            container: Container::Gguf,
            config: None,
            metadata: metadata.iter().cloned().collect(),
            tensors: sources.iter().zip(&recipe.tensors).map(stored).collect(),
            small: small(&sources),
            tokenizer: model.description.tokenizer.clone(),
            provenance: BTreeMap::new(),
        };
        Ok(Self { description, metadata, quantizer, recipe, sources })
    }

    /// What the user should know about the types: tensors for which the preset's own type did not fit.
    pub fn findings(&self) -> Vec<Finding> {
        let fallbacks: Vec<&TensorRecipe> = self.recipe.tensors.iter().filter(|t| t.fallback).collect();
        let Some(first) = fallbacks.first() else { return Vec::new() };
        let message = format!(
            "{} of {} tensors do not take `{}` and become another type, e.g. `{}`: {}",
            fallbacks.len(),
            self.recipe.tensors.len(),
            self.quantizer.preset(),
            first.name,
            first.reason
        );
        vec![Finding::new(Severity::Warning, "fallback_types", message)]
    }
}

/// The values of tensors that are facts: those that the family computed.
fn small(tensors: &[GgufTensor]) -> BTreeMap<String, Vec<f32>> {
    let constant = |t: &GgufTensor| match &t.expr {
        Expr::Constant { values, .. } => Some((t.name.clone(), values.clone())),
        _ => None,
    };
    tensors.iter().filter_map(constant).collect()
}
