//! Models and adapters on a stage's input ports.

use std::path::{Path, PathBuf};

use checkpoint::Checkpoint;
use checkpoint::adapter::Adapter;
use checkpoint::resolve::resolve;
use checkpoint::view::module_shapes;
use model::description::Reading;
use model::inventory::TensorSpec;
use model::{AdapterDescription, ModelDescription, StoredType};
use serde::de::DeserializeOwned;
use stage_api::{Context, Description, Error, Result};

use crate::stage_error;

/// A model as a stage plans on it.
#[derive(Debug, Clone)]
pub struct ModelInput {
    /// Headers.
    pub description: ModelDescription,
    /// What the family makes of them.
    pub reading: Reading,
}

impl ModelInput {
    /// The model on `port`, which must be connected.
    pub fn of(ctx: &Context, port: &str) -> Result<Self> {
        Self::read(ctx, body(&ctx.input(port)?.description, port)?)
    }

    /// The model on `port`, where the pipeline connected one.
    pub fn optional(ctx: &Context, port: &str) -> Result<Option<Self>> {
        ctx.optional_input(port).is_some().then(|| Self::of(ctx, port)).transpose()
    }

    /// Lets the family that claims the model read it.
    pub fn read(ctx: &Context, description: ModelDescription) -> Result<Self> {
        if let Some((name, value)) = description.not_finite() {
            return Err(Error::new("bad_values", format!("`{name}` of the model is {value}, expected a number"))
                .with_help("the file is damaged; fetch it again"));
        }
        let reading = model_api::family::read(ctx, &description)?;
        Ok(Self { description, reading })
    }

    /// Maps the model's files and holds their headers against the description: what was planned is what is read.
    pub fn open(&self, ctx: &Context, port: &str) -> Result<Checkpoint> {
        let path = model_path(ctx.input_path(port)?)?;
        let checkpoint = Checkpoint::open(&path).map_err(stage_error("unreadable_model"))?;
        let found: Vec<_> = checkpoint.tensors().into_iter().cloned().collect();
        if found != self.description.tensors {
            return Err(Error::new("changed_model", format!("`{}` is not the model that was planned", path.display()))
                .with_help("its tensors changed since planning; run the pipeline again"));
        }
        self.check_copies(&checkpoint)?;
        Ok(checkpoint)
    }

    /// The type of the first stored tensor behind a canonical one; `None` where the model has none.
    pub fn stored_type(&self, spec: &TensorSpec) -> Option<StoredType> {
        let shapes = |name: &str| Some(self.description.tensor(name)?.shape.clone());
        let expr = resolve(&self.reading.inventory, spec, self.description.container, &shapes).expr()?;
        let first = *expr.tensors().first()?;
        Some(self.description.tensor(first)?.stored_type)
    }

    /// A tensor that is not read because it repeats another one does repeat it.
    fn check_copies(&self, checkpoint: &Checkpoint) -> Result<()> {
        for ignored in &self.reading.inventory.ignored {
            let stored = |name: &String| checkpoint.tensor(name);
            let Some((copy, original)) = stored(&ignored.name).zip(ignored.copy_of.as_ref().and_then(stored)) else {
                continue;
            };
            if copy != original && (copy.0.stored_type, copy.1) != (original.0.stored_type, original.1) {
                let (name, of) = (&ignored.name, &original.0.name);
                let message = format!("`{name}` is not read, for it repeats `{of}`, but its values are others");
                return Err(Error::new("unlike_copy", message).with_help(
                    "set `tie_word_embeddings` to false in `config.json` where both are used, or remove the one that is not",
                ));
            }
        }
        Ok(())
    }
}

/// An adapter as a stage plans on it.
#[derive(Debug, Clone)]
pub struct AdapterInput {
    /// Headers.
    pub description: AdapterDescription,
}

impl AdapterInput {
    /// The adapter on `port`, where the pipeline connected one.
    pub fn optional(ctx: &Context, port: &str) -> Result<Option<Self>> {
        let Some(input) = ctx.optional_input(port) else { return Ok(None) };
        Ok(Some(Self { description: body(&input.description, port)? }))
    }

    /// The adapter's weights, checked against the modules of the model that it changes.
    pub fn open(&self, ctx: &Context, port: &str, reading: &Reading) -> Result<Adapter> {
        let path = ctx.input_path(port)?;
        let inventory = &reading.inventory;
        let adapter = Adapter::read_for(inventory, path).map_err(stage_error("unreadable_adapter"))?;
        let problems = adapter.check_modules(&module_shapes(inventory));
        match problems.as_slice() {
            [] => Ok(adapter),
            [first, rest @ ..] => {
                let mut error = Error::from_source("unfit_adapter", first);
                error.causes.extend(rest.iter().map(ToString::to_string));
                Err(error.with_help("the adapter was made for another model"))
            }
        }
    }
}

/// The model's path within an artifact: a converted GGUF lies in a directory of its own beside its `Modelfile`.
pub fn model_path(artifact: &Path) -> Result<PathBuf> {
    let io = |e: std::io::Error| Error::from_source("io", &e).with_cause(artifact.display().to_string());
    if !artifact.is_dir() || artifact.join(checkpoint::hf_directory::CONFIG_FILE).exists() {
        return Ok(artifact.to_owned());
    }
    let mut ggufs = Vec::new();
    for entry in std::fs::read_dir(artifact).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|e| e == "gguf") {
            ggufs.push(path);
        }
    }
    ggufs.sort();
    // Of a split model only the first part is opened; it names the others.
    Ok(ggufs.into_iter().next().unwrap_or_else(|| artifact.to_owned()))
}

fn body<T: DeserializeOwned>(description: &Description, port: &str) -> Result<T> {
    serde_json::from_value(description.body.clone()).map_err(|e| {
        Error::new("bad_description", format!("the description on input `{port}` does not fit: {e}"))
            .with_help("the stage that made it was built with another version of the `model` crate")
    })
}
