//! Quantizers: recipes that give every tensor its type, and the codecs that write them.
//!
//! A quantizer starts no threads: the stage parallelises over chunks of whole rows.

use std::collections::BTreeMap;

use model::StoredType;
use model::description::GgufHeader;
use model::inventory::Role;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stage_api::{CatalogueEntry, Context, Error, Extension, ExtensionHandle, Result};
use std::sync::Arc;
use thiserror::Error;

use crate::{QUANTIZER, wire};

/// A set of presets with their codecs.
pub trait Quantizer: Send + Sync + 'static {
    /// The quantizer's name.
    fn id(&self) -> &str;

    /// Names that a pipeline may write: `q8_0`.
    fn presets(&self) -> Vec<String>;

    /// Gives every tensor of the request its type, with the reason.
    fn plan(&self, request: &RecipeRequest) -> std::result::Result<Recipe, QuantizerError>;

    /// Encodes whole rows; `importance` is empty or one weight a column. Re-entrant.
    fn encode(
        &self,
        codec: &str,
        src: &[f32],
        importance: &[f32],
        dst: &mut [u8],
    ) -> std::result::Result<(), QuantizerError>;

    /// Decodes whole rows. Re-entrant.
    fn decode(&self, codec: &str, src: &[u8], dst: &mut [f32]) -> std::result::Result<(), QuantizerError>;
}

/// What a recipe is made for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeRequest {
    /// The preset asked for, without a plugin's name.
    pub preset: String,
    /// Further parameters by the quantizer's own schema; null where none were given.
    pub params: Value,
    /// The GGUF's own keys: a recipe may depend on the architecture, on its layers, heads or experts.
    pub header: GgufHeader,
    /// The GGUF's tensors in order.
    pub tensors: Vec<TensorFacts>,
}

/// A GGUF tensor before it has a type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorFacts {
    /// The GGUF name.
    pub name: String,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// What it is for.
    pub role: Role,
    /// The layer it belongs to.
    pub layer: Option<u32>,
    /// Whether the embedding serves as head too.
    pub tied_head: bool,
}

/// A type for every tensor of a request, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// One entry a tensor.
    pub tensors: Vec<TensorRecipe>,
    /// `general.file_type` for the whole, llama.cpp's `llama_ftype`.
    pub file_type: u32,
}

/// What a tensor becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorRecipe {
    /// The GGUF name.
    pub name: String,
    /// How its values will lie.
    pub stored_type: StoredType,
    /// The codec for `encode` and `decode`.
    pub codec: String,
    /// Why this type.
    pub reason: String,
    /// Whether the preset's own type did not fit and this one stands in.
    pub fallback: bool,
}

/// Why a quantizer refuses.
#[derive(Debug, Error)]
#[allow(missing_docs)]
pub enum QuantizerError {
    #[error("no preset `{preset}`; known: {}", known.join(", "))]
    UnknownPreset { preset: String, known: Vec<String> },
    #[error("no codec `{codec}`; known: {}", known.join(", "))]
    UnknownCodec { codec: String, known: Vec<String> },
    #[error("bad parameters: {0}")]
    BadParams(String),
    /// The values cannot be written in this type: non-finite, or too large for f16.
    #[error("{message}")]
    Values { message: String, hint: Option<String> },
}

impl From<QuantizerError> for Error {
    fn from(e: QuantizerError) -> Error {
        let code = match &e {
            QuantizerError::UnknownPreset { .. } => "unknown_preset",
            QuantizerError::UnknownCodec { .. } => "unknown_codec",
            QuantizerError::BadParams(_) => "bad_parameter",
            QuantizerError::Values { .. } => "bad_values",
        };
        let error = Error::from_source(code, &e);
        match e {
            QuantizerError::Values { hint: Some(hint), .. } => error.with_help(hint),
            _ => error,
        }
    }
}

/// A quantizer as an extension.
pub(crate) struct QuantizerExtension<Q>(pub Q);

impl<Q: Quantizer> Extension for QuantizerExtension<Q> {
    fn kind(&self) -> &str {
        QUANTIZER
    }

    fn id(&self) -> &str {
        self.0.id()
    }

    fn claims(&self) -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([("preset".into(), self.0.presets())])
    }

    fn call(&self, op: &str, input: Value) -> Result<Value> {
        match op {
            "plan" => {
                let request: RecipeRequest = wire::open(input, "request", "a stage")?;
                wire::seal(&self.0.plan(&request)?)
            }
            _ => Err(Error::new(Error::UNSUPPORTED, format!("quantizer `{}` has no operation `{op}`", self.id()))),
        }
    }

    fn encode(&self, op: &str, src: &[f32], importance: &[f32], dst: &mut [u8]) -> Result<()> {
        Ok(self.0.encode(op, src, importance, dst)?)
    }

    fn decode(&self, op: &str, src: &[u8], dst: &mut [f32]) -> Result<()> {
        Ok(self.0.decode(op, src, dst)?)
    }
}

/// A pipeline's `quantizer = …`.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The plugin asked for, where one was.
    pub plugin: Option<String>,
    /// The preset.
    pub preset: String,
    /// Parameters beside `use`.
    pub params: Value,
}

impl Choice {
    /// Reads `"q8_0"`, `"plugin/q8_0"` or `{ use = "plugin/mix", … }`.
    pub fn parse(value: &Value) -> Result<Choice> {
        let bad = || {
            Error::new("bad_parameter", format!("`quantizer` is {value}"))
                .with_help("write `\"q8_0\"`, `\"plugin/q8_0\"` or `{ use = \"plugin/mix\", … }`")
        };
        let (name, params) = match value {
            Value::String(name) => (name.clone(), Value::Null),
            Value::Object(table) => {
                let mut params = table.clone();
                let name = params.remove("use").and_then(|n| n.as_str().map(str::to_owned)).ok_or_else(bad)?;
                (name, Value::Object(params))
            }
            _ => return Err(bad()),
        };
        Ok(match name.split_once('/') {
            Some((plugin, preset)) => Choice { plugin: Some(plugin.into()), preset: preset.into(), params },
            None => Choice { plugin: None, preset: name, params },
        })
    }
}

/// A loaded quantizer with the preset that was asked for.
#[derive(Clone)]
pub struct ChosenQuantizer {
    handle: Arc<dyn ExtensionHandle>,
    choice: Choice,
}

/// Finds and loads the quantizer that claims the preset.
pub fn choose(ctx: &Context, choice: Choice) -> Result<ChosenQuantizer> {
    let quantizers = ctx.catalogue(QUANTIZER);
    let presets = |q: &CatalogueEntry| q.claims.get("preset").cloned().unwrap_or_default();
    let fits = |q: &&CatalogueEntry| {
        let named = choice.plugin.as_ref().is_none_or(|plugin| *plugin == q.plugin || *plugin == q.id);
        named && presets(q).contains(&choice.preset)
    };
    let claimants: Vec<&CatalogueEntry> = quantizers.iter().filter(fits).collect();
    match claimants.as_slice() {
        [one] => Ok(ChosenQuantizer { handle: ctx.extension(QUANTIZER, &one.id)?, choice }),
        [] => {
            let known: Vec<String> = quantizers.iter().flat_map(presets).map(|p| format!("`{p}`")).collect();
            let message = format!("no quantizer offers `{}`; known: {}", choice.preset, known.join(", "));
            Err(Error::new("unknown_preset", message))
        }
        several => {
            let spelled: Vec<String> = several.iter().map(|q| format!("`{}/{}`", q.id, choice.preset)).collect();
            Err(Error::new("ambiguous_preset", format!("several quantizers offer `{}`", choice.preset))
                .with_help(format!("write one of {}", spelled.join(", "))))
        }
    }
}

impl ChosenQuantizer {
    /// The preset.
    pub fn preset(&self) -> &str {
        &self.choice.preset
    }

    /// A type for every tensor of a GGUF with that header.
    pub fn plan(&self, header: &GgufHeader, tensors: Vec<TensorFacts>) -> Result<Recipe> {
        let (preset, params) = (self.choice.preset.clone(), self.choice.params.clone());
        let names: Vec<String> = tensors.iter().map(|t| t.name.clone()).collect();
        let from = format!("quantizer `{}`", self.handle.id());
        let request = wire::seal(&RecipeRequest { preset, params, header: header.clone(), tensors })?;
        let recipe: Recipe = wire::open(self.handle.call("plan", request)?, "recipe", &from)?;
        if recipe.tensors.iter().map(|t| &t.name).ne(names.iter()) {
            return Err(Error::new("bad_recipe", format!("the recipe of {from} does not list the tensors asked for")));
        }
        Ok(recipe)
    }

    /// Encodes whole rows.
    pub fn encode(&self, codec: &str, src: &[f32], importance: &[f32], dst: &mut [u8]) -> Result<()> {
        self.handle.encode(codec, src, importance, dst)
    }
}
