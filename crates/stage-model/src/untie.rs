//! Embedding and head that are one matrix, and an adapter that changes one of them alone: what comes of it has two.

use model::ModelDescription;
use model::description::{Container, StoredTensor};
use model::inventory::{Form, IgnoredTensor, Presence};
use serde_json::Value;
use stage_api::{Context, Error, Finding, Result, Severity};

use crate::{AdapterInput, ModelInput};

/// A GGUF's head; where it has none, llama.cpp takes the embedding.
const GGUF_HEAD: &str = "output.weight";

impl ModelInput {
    /// The model as the adapter makes it: with a head of its own where the adapter changes only one of the two that are
    /// one matrix here, else as it is.
    ///
    /// # Errors
    /// Where it would need a head of its own, and the family has no such models, or has one that the adapter's base did
    /// not have.
    pub fn changed_by(self, ctx: &Context, adapter: Option<&AdapterInput>) -> Result<Self> {
        let tied = self.reading.architecture.is_tied();
        match adapter {
            Some(adapter) if !adapter.description.keeps_tie => {
                self.untied_where(ctx, &|module| adapter.description.modules.contains_key(module))
            }
            Some(_) if !tied => Err(apart()),
            _ => Ok(self),
        }
    }

    /// The same where only the names of changed modules are known: `changes` says whether one of them is a module.
    ///
    /// # Errors
    /// As [`ModelInput::changed_by`].
    pub fn untied_where(self, ctx: &Context, changes: &dyn Fn(&str) -> bool) -> Result<Self> {
        let architecture = &self.reading.architecture;
        let weight = architecture.embedding.weight.clone();
        let changes = |weight: &str| weight.strip_suffix(".weight").is_some_and(changes);
        if !architecture.is_tied() {
            return Ok(self);
        }
        let repeats = |i: &&IgnoredTensor| i.copy_of.as_ref() == Some(&weight);
        match self.untied(ctx) {
            Ok(untied) if changes(&weight) || changes(&untied.reading.architecture.head.weight) => Ok(untied),
            Err(error)
                if changes(&weight)
                    || self.reading.inventory.ignored.iter().filter(repeats).any(|i| changes(&i.name)) =>
            {
                Err(error)
            }
            _ => Ok(self),
        }
    }

    /// What the family makes of the model when it is told that the head is a matrix of its own, for which the embedding
    /// stands in.
    fn untied(&self, ctx: &Context) -> Result<Self> {
        let (inventory, embedding) = (&self.reading.inventory, &self.reading.architecture.embedding.weight);
        let forms = inventory.get(embedding).map(|spec| spec.forms.as_slice()).unwrap_or_default();
        let mut reading = model_api::family::read(ctx, &with_a_head(&self.description, forms))
            .ok()
            .filter(|reading| !reading.architecture.is_tied())
            .ok_or_else(|| self.inseparable())?;
        let head = reading.architecture.head.weight.clone();
        for spec in reading.inventory.tensors.iter_mut().filter(|spec| spec.name == head) {
            spec.presence = Presence::TiedTo(embedding.clone());
        }
        reading.inventory.ignored.clone_from(&inventory.ignored);
        reading.notes.clone_from(&self.reading.notes);
        Ok(Self { description: self.description.clone(), reading })
    }

    fn inseparable(&self) -> Error {
        let message = format!(
            "the adapter changes embedding or head apart from the other; they are one matrix here, and no model of the \
             family `{}` has two",
            self.reading.family
        );
        Error::new("tied_head", message).with_help(
            "train without the embedding and the head, or change both as one: with PEFT's `ensure_weight_tying`, or in \
             mlx-lm",
        )
    }
}

fn apart() -> Error {
    let message =
        "the adapter changes embedding and head as the one matrix that they are in its base, and this model has two";
    Error::new("unfit_adapter", message).with_help("import the adapter for this model, which says what it means for it")
}

/// The description of the same model with a head.
fn with_a_head(model: &ModelDescription, embedding: &[Form]) -> ModelDescription {
    let mut model = model.clone();
    match model.container {
        Container::Safetensors => {
            if let Some(config) = model.config.as_mut().and_then(Value::as_object_mut) {
                config.insert("tie_word_embeddings".into(), Value::Bool(false));
            }
        }
        Container::Gguf => {
            let names = embedding.iter().flat_map(|form| form.expr.tensors());
            let stored = names.filter_map(|name| model.tensor(name)).next().cloned();
            model.tensors.extend(stored.map(|stored| StoredTensor { name: GGUF_HEAD.into(), ..stored }));
        }
    }
    model
}

/// That what comes out has a matrix more than what goes in: `after` is `before` as the adapter makes it.
pub fn untied_note(before: &ModelInput, after: &ModelInput) -> Option<Finding> {
    if before.reading.architecture.is_tied() == after.reading.architecture.is_tied() {
        return None;
    }
    let (rows, columns) = (after.reading.architecture.vocab_size, after.reading.architecture.hidden_size);
    let message = format!(
        "embedding and head are one matrix in the base, and the adapter changes one apart from the other: what comes out \
         has both, a matrix of {rows} × {columns} more"
    );
    Some(Finding::new(Severity::Note, "untied_head", message))
}
