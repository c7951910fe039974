//! Model families: who turns a configuration into an architecture and an inventory.

use std::collections::BTreeMap;

use model::ModelDescription;
use model::description::Reading;
use serde_json::Value;
use stage_api::{CatalogueEntry, Context, Error, Extension, Finding, Result, Severity};
use thiserror::Error;

use crate::{FAMILY, wire};

/// A model family.
pub trait Family: Send + Sync + 'static {
    /// The family's name.
    fn id(&self) -> &str;

    /// Values of `model_type` that it handles.
    fn model_types(&self) -> Vec<String>;

    /// GGUF architectures that it owns: those whose graph in llama.cpp this family's architecture is.
    fn gguf_architectures(&self) -> Vec<String>;

    /// What the network computes and every tensor of it, from headers alone.
    fn read(&self, model: &ModelDescription) -> std::result::Result<Reading, FamilyError>;

    /// Runs an expression's custom operation on the operands' values.
    fn custom(&self, op: &str, _operands: &[Vec<f32>]) -> std::result::Result<Vec<f32>, FamilyError> {
        Err(FamilyError::Unsupported {
            what: format!("the operation `{op}`"),
            hint: "the inventory names an operation that its family does not run".into(),
        })
    }
}

/// Why a family cannot read a model.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum FamilyError {
    #[error("the configuration has no `{key}`")]
    MissingKey { key: String },
    #[error("`{key}` is {got}, expected {expected}")]
    BadKey { key: String, got: String, expected: String },
    #[error(
        "the configuration has keys that may change the computation and that this family does not know: {}",
        unknown.join(", ")
    )]
    UnknownKeys { unknown: Vec<String>, known: Vec<String> },
    #[error("{what} is not supported")]
    Unsupported { what: String, hint: String },
    #[error(transparent)]
    Expr(#[from] model::expr::ExprError),
}

impl From<FamilyError> for Error {
    fn from(e: FamilyError) -> Error {
        let (code, help) = match &e {
            FamilyError::MissingKey { .. } => ("missing_config_key", None),
            FamilyError::BadKey { .. } => ("bad_config_key", None),
            FamilyError::UnknownKeys { known, .. } => {
                ("unknown_config_key", Some(format!("known keys: {}", known.join(", "))))
            }
            FamilyError::Unsupported { hint, .. } => ("unsupported_model", Some(hint.clone())),
            FamilyError::Expr(_) => ("bad_inventory", None),
        };
        let error = Error::from_source(code, &e);
        match help {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}

/// A family as an extension.
pub(crate) struct FamilyExtension<F>(pub F);

impl<F: Family> Extension for FamilyExtension<F> {
    fn kind(&self) -> &str {
        FAMILY
    }

    fn id(&self) -> &str {
        self.0.id()
    }

    fn claims(&self) -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([
            ("model_type".into(), self.0.model_types()),
            ("gguf_architecture".into(), self.0.gguf_architectures()),
        ])
    }

    fn call(&self, op: &str, input: Value) -> Result<Value> {
        match op {
            "read" => {
                let description: ModelDescription = wire::open(input, "description", "a stage")?;
                wire::seal(&self.0.read(&description)?)
            }
            "custom" => {
                let (op, operands): (String, Vec<Vec<f32>>) = wire::open(input, "operands", "a stage")?;
                wire::seal(&self.0.custom(&op, &operands)?)
            }
            _ => Err(Error::new(Error::UNSUPPORTED, format!("family `{}` has no operation `{op}`", self.id()))),
        }
    }
}

/// Lets the family that claims `model` read it.
pub fn read(ctx: &Context, model: &ModelDescription) -> Result<Reading> {
    let entry = claimant(ctx, model)?;
    let family = ctx.extension(FAMILY, &entry.id)?;
    let reading: Reading =
        wire::open(family.call("read", wire::seal(model)?)?, "reading", &format!("family `{}`", entry.id))?;
    Ok(reading)
}

/// The one family that claims `model`.
fn claimant(ctx: &Context, model: &ModelDescription) -> Result<CatalogueEntry> {
    let Some((class, name)) = model.claim() else {
        let key = match model.container {
            model::description::Container::Safetensors => "`model_type` in `config.json`",
            model::description::Container::Gguf => "`general.architecture` in the metadata",
        };
        return Err(Error::new("unnamed_model", format!("the model has no {key}")));
    };
    let families = ctx.catalogue(FAMILY);
    let claims = |entry: &&CatalogueEntry| entry.claims.get(class).is_some_and(|names| names.iter().any(|n| n == name));
    let claimants: Vec<&CatalogueEntry> = families.iter().filter(claims).collect();
    match claimants.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let known = families.iter().filter_map(|f| f.claims.get(class)).flatten();
            let known: std::collections::BTreeSet<&String> = known.collect();
            let known = known.into_iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            Err(Error::new("unknown_family", format!("no family plugin handles {class} `{name}`; known: {known}"))
                .with_help("a family is a small plugin crate: see \"How to add a family\" in ARCHITECTURE.md"))
        }
        several => {
            let plugins: Vec<String> = several.iter().map(|e| format!("`{}` ({})", e.id, e.plugin)).collect();
            Err(Error::new(
                "ambiguous_family",
                format!("several families claim {class} `{name}`: {}", plugins.join(", ")),
            )
            .with_help("leave only one of these plugins where the host looks for plugins"))
        }
    }
}

/// What a reading has to say to the user: facts assumed and notes.
pub fn findings(reading: &Reading) -> Vec<Finding> {
    let assumed = reading.assumed.iter().map(|a| {
        let message = format!("`{}` is assumed to be {}: {}", a.fact, a.value, a.reason);
        Finding::new(Severity::Note, "assumed_fact", message)
    });
    let notes = reading.notes.iter().map(|note| Finding::new(Severity::Note, "reading", note.clone()));
    assumed.chain(notes).collect()
}
