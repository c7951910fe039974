//! Embedding and head that are one matrix, and an adapter that changes one of them alone: what comes of it has two.

use checkpoint::gguf;
use model::ModelDescription;
use model::description::{Container, StoredTensor};
use model::inventory::{Form, Presence};
use serde_json::Value;
use stage_api::{Context, Error, Finding, Result, Severity};

use crate::{AdapterInput, ModelInput};

/// What transformers calls a head.
pub const HEAD: &str = "lm_head";
/// By which a family says that it has no such model.
const REFUSALS: [&str; 4] = ["bad_config_key", "missing_config_key", "unknown_config_key", "unsupported_model"];

impl ModelInput {
    /// The model as the adapter makes it: with a head of its own where the adapter changes only one of the two that are
    /// one matrix here, else as it is.
    ///
    /// # Errors
    /// Where it would need a head of its own, and the family has no such models, or has one that the adapter's base did
    /// not have.
    pub fn changed_by(self, ctx: &Context, adapter: Option<&AdapterInput>) -> Result<Self> {
        let Some(AdapterInput { description }) = adapter else { return Ok(self) };
        if !description.keeps_tie {
            return self.untied_where(ctx, description.modules.keys().map(String::as_str));
        }
        if self.reading.architecture.is_tied() { Ok(self) } else { Err(apart()) }
    }

    /// The same where only the names of `changed` modules are known.
    ///
    /// # Errors
    /// As [`ModelInput::changed_by`].
    pub fn untied_where<'a>(self, ctx: &Context, changed: impl Iterator<Item = &'a str>) -> Result<Self> {
        let architecture = &self.reading.architecture;
        if !architecture.is_tied() {
            return Ok(self);
        }
        let known = architecture.modules();
        let outside: Vec<&str> = changed.filter(|name| known.iter().all(|module| module.path != *name)).collect();
        if outside.is_empty() {
            return Ok(self);
        }
        let changes = |module: &str| outside.contains(&module);
        let embedding = module_of(&architecture.embedding.weight);
        match self.untied(ctx)? {
            Ok(untied) if changes(embedding) || changes(module_of(&untied.reading.architecture.head.weight)) => {
                Ok(untied)
            }
            Err(why) if changes(embedding) || changes(HEAD) => Err(why),
            _ => Ok(self),
        }
    }

    /// What the family makes of the model when it is told that the head is a matrix of its own, for which the embedding
    /// stands in; within it, why the family has no such model.
    fn untied(&self, ctx: &Context) -> Result<Result<Self>> {
        let (inventory, embedding) = (&self.reading.inventory, &self.reading.architecture.embedding.weight);
        let forms = inventory.get(embedding).map(|spec| spec.forms.as_slice()).unwrap_or_default();
        let mut reading = match model_api::family::read(ctx, &with_a_head(&self.description, forms)) {
            Ok(reading) if reading.architecture.is_tied() => return Ok(Err(self.inseparable())),
            Err(error) if REFUSALS.contains(&error.code.as_str()) => {
                return Ok(Err(self.inseparable().with_cause(error.to_string())));
            }
            other => other?,
        };
        let head = reading.architecture.head.weight.clone();
        for spec in reading.inventory.tensors.iter_mut().filter(|spec| spec.name == head) {
            spec.presence = Presence::TiedTo(embedding.clone());
        }
        reading.inventory.ignored.clone_from(&inventory.ignored);
        reading.notes.clone_from(&self.reading.notes);
        Ok(Ok(Self { description: self.description.clone(), reading }))
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

fn module_of(weight: &str) -> &str {
    weight.strip_suffix(".weight").unwrap_or(weight)
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
            model.tensors.extend(stored.map(|stored| StoredTensor { name: gguf::HEAD.into(), ..stored }));
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
