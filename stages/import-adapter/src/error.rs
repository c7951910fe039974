//! What can be wrong with an adapter from elsewhere.

use std::path::PathBuf;

use checkpoint::gguf::MetadataError;
use checkpoint::{adapter, gguf, safetensors};
use model::StoredType;
use model::expr::ExprError;
use model::inventory::Role;
use stage_model::ModelInput;

use crate::found::{Found, Kind};
use crate::names::last_part;

/// Files that are no adapter, or none that can be taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("`source = \"{given}\"` has no known scheme")]
    UnknownScheme { given: String },
    #[error("`source` points at `{path}`, which does not exist", path = .path.display())]
    NotFound { path: PathBuf },
    #[error("`{path}` is no adapter: it has {has}", path = .path.display())]
    NoAdapter { path: PathBuf, has: String },
    #[error("`{path}` holds no adapter's keys, neither PEFT's `peft_type` nor mlx-lm's `fine_tune_type` or \
        `lora_parameters`; it has {}", quoted(keys), path = .path.display())]
    UnknownConfig { path: PathBuf, keys: Vec<String> },
    #[error("`{directory}` has no `{expected}` beside its configuration", directory = .directory.display())]
    NoWeights { directory: PathBuf, expected: String },
    #[error("`{path}` is a pickle, which can run any program when it is read; expected `{expected}`", path = .path.display())]
    Pickle { path: PathBuf, expected: String },
    #[error("cannot read `{path}`", path = .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("`{path}` is no file", path = .path.display())]
    NoFile { path: PathBuf },
    #[error("the adapter's files are not those that were planned with: {got}, expected {expected}")]
    Changed { got: String, expected: String },
    #[error("`{path}` is not valid JSON", path = .path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error(transparent)]
    Safetensors(Box<safetensors::Error>),
    #[error(transparent)]
    Gguf(Box<gguf::Error>),
    #[error("`{path}` cannot be taken", path = .path.display())]
    Config { path: PathBuf, source: Box<adapter::Problem> },
    #[error(transparent)]
    MetadataType(#[from] MetadataError),
    #[error("`{key}` is {}, expected `{expected}`", got.as_ref().map_or("missing".into(), |got| format!("`{got}`")))]
    Metadata { key: &'static str, got: Option<String>, expected: String },
    #[error("it counts only behind the tokens of `adapter.alora.invocation_tokens`, so no weights are the same")]
    Invocation,
    #[error("`{key}` is {got}, expected {expected}")]
    Key { key: &'static str, got: String, expected: &'static str },
    #[error("`lora_parameters` has an unknown key `{key}`, set to {got}, which may change what the adapter computes")]
    UnknownKey { key: String, got: String },
    #[error("`fine_tune_type` is \"full\": these are whole weights, no adapter")]
    FullFineTune,
    #[error(
        "`lora_parameters` has `scale` {scale} and `alpha` {alpha}: early versions of mlx-lm multiply by \
         scale · alpha / rank = {scale} · {alpha} / {rank} = {early}, later ones by {scale}"
    )]
    TwoScales { scale: f64, alpha: f64, rank: u64, early: f64 },
    #[error("`lora_parameters` has `alpha` {alpha} and no `scale`, which mlx-lm refuses")]
    AlphaAlone { alpha: f64, quotient: f64 },
    #[error("`lora_parameters` has no `scale`")]
    NoScale,
    #[error("`scale` is for adapters of mlx-lm; this one says itself what multiplies it")]
    NeedlessScale,
    #[error("tensor `{tensor}` is no factor of a LoRA as {kind} names them{}", unexpected(tensor))]
    UnexpectedTensor { kind: Kind, tensor: String },
    #[error("tensor `{tensor}` is {stored_type}, which is not decoded here")]
    Type { tensor: String, stored_type: StoredType },
    #[error("tensors `{}` and `{}` are the same factor", tensors[0], tensors[1])]
    Twice { tensors: [String; 2] },
    #[error("it holds no factor of any matrix")]
    Empty,
    #[error("`{changed}` has no {missing}")]
    MissingHalf { changed: String, missing: &'static str },
    #[error("the factors of `{changed}` do not multiply: A is {a:?} and B is {b:?}, expected {expected}")]
    Shapes { changed: String, a: Vec<u64>, b: Vec<u64>, expected: &'static str },
    #[error("the factors of `{changed}` have no values: A is {a:?} and B is {b:?}")]
    NothingInIt { changed: String, a: Vec<u64>, b: Vec<u64> },
    #[error("the lengths of `{changed}` are {got:?}, expected one for each of {expected} rows")]
    Lengths { changed: String, got: Vec<u64>, expected: u64 },
    #[error("`{changed}` is multiplied by {scale}, which is no scale")]
    Scale { changed: String, scale: f32 },
    #[error("`{changed}` has factors, and `{key}` of its configuration leaves it out")]
    LeftOut { changed: String, key: &'static str },
    #[error(
        "`{changed}` is an embedding with DoRA, whose lengths PEFT has by column and mlx-lm by row; neither is merged"
    )]
    LookupDora { changed: String },
    #[error("`{changed}` has factors of an embedding and of a linear")]
    TwoKinds { changed: String },
    #[error("`ensure_weight_tying` is true, and `{head}` is not what the embedding's factors are")]
    NotTied { head: String },
    #[error("`{tensor}` has {got} in row {row}, the model that is connected has {expected}")]
    SavedOther { tensor: String, row: u64, got: f32, expected: f32 },
    #[error(
        "`{tensor}` is a whole weight, and the connected model's own is quantized: whether the two are the same cannot be told"
    )]
    SavedBesideQuantized { tensor: String },
    #[error("`{changed}` has rank {rank}, its configuration says {configured}")]
    Rank { changed: String, rank: u64, configured: u64 },
    #[error("`{changed}` has {} lengths of rows, its configuration says that it {}",
        if *.said { "no" } else { "DoRA's" }, if *.said { "is DoRA" } else { "is not DoRA" })]
    Dora { changed: String, said: bool },
    #[error("tensor `{tensor}` cannot be decoded")]
    Decode { tensor: String, source: blocks::BlockError },
    #[error("tensor `{tensor}` has {value} as its value {at}")]
    NotFinite { tensor: String, at: usize, value: f32 },
}

impl ImportError {
    fn code(&self) -> &'static str {
        match self {
            Self::UnknownScheme { .. } | Self::NotFound { .. } => "bad_source",
            Self::NeedlessScale => "bad_parameter",
            Self::NoAdapter { .. } | Self::UnknownConfig { .. } | Self::NoWeights { .. } => "no_adapter",
            Self::Pickle { .. } | Self::FullFineTune | Self::Invocation => "unsupported_adapter",
            Self::TwoScales { .. } | Self::AlphaAlone { .. } | Self::NoScale => "unknown_scale",
            Self::NotFinite { .. } => "bad_values",
            Self::NotTied { .. } | Self::SavedOther { .. } | Self::SavedBesideQuantized { .. } => "unfit_adapter",
            Self::LookupDora { .. } => "unsupported_adapter",
            _ => "unreadable_adapter",
        }
    }

    fn help(&self) -> Option<String> {
        let text = match self {
            Self::UnknownScheme { .. } => {
                "known: `path:DIRECTORY`, `path:FILE.safetensors` and `path:FILE.gguf`, relative \
                to the pipeline file"
            }
            Self::NotFound { .. } => "paths are relative to the pipeline file",
            Self::NoAdapter { .. } | Self::UnknownConfig { .. } | Self::NoWeights { .. } => {
                "an adapter is a directory with \
                `adapter_config.json` beside `adapter_model.safetensors` (PEFT, Unsloth) or `adapters.safetensors` \
                (mlx-lm), or a GGUF LoRA"
            }
            Self::Pickle { .. } => "save it again with `model.save_pretrained(…, safe_serialization=True)`",
            Self::FullFineTune => "save the whole model with `mlx_lm.fuse`, and `fetch` that",
            Self::Invocation => "serve it beside its base in llama.cpp; it cannot be merged",
            Self::TwoScales { early, scale, .. } => {
                return Some(format!(
                    "set `scale` of this stage to {early} or {scale}, as the version has it that trained it"
                ));
            }
            Self::AlphaAlone { quotient, alpha, .. } => {
                return Some(format!(
                    "set `scale` of this stage: {quotient} where alpha is divided by the rank, else {alpha}"
                ));
            }
            Self::NoScale => "set `scale` of this stage to what the training multiplied by",
            Self::Metadata { key: "general.type", .. } => "a whole model comes in through `fetch`",
            Self::Metadata { key: "general.architecture", .. } => "the adapter was made for another model",
            Self::Config { source, .. } => return help_for_config(source),
            Self::LeftOut { .. } => {
                "PEFT would compute without them: these are files of two adapters, or one of them was edited"
            }
            Self::NotFinite { .. } => "its training diverged, or the file is damaged",
            Self::SavedOther { .. } => {
                "it was trained beside its factors, or the adapter was made for another model; merge with PEFT's \
                `merge_and_unload` and `fetch` the result"
            }
            Self::SavedBesideQuantized { .. } => {
                "save the adapter again with `save_embedding_layers=False`, or connect the model that it was trained on"
            }
            Self::LookupDora { .. } => "merge with the tool that trained it and `fetch` the result",
            _ => return None,
        };
        Some(text.into())
    }
}

/// Why a part of PEFT that is known is not merged.
fn help_for_config(problem: &adapter::Problem) -> Option<String> {
    let adapter::Problem::NotYet { key, .. } = problem else { return None };
    let text = match key.as_str() {
        "modules_to_save" | "trainable_token_indices" => {
            "whole modules or rows trained beside the LoRA, mostly \
            embeddings and heads, are not merged; train without them, or merge with PEFT's `merge_and_unload` and \
            `fetch` the result"
        }
        _ => "merge with PEFT's `merge_and_unload` and `fetch` the result",
    };
    Some(text.into())
}

impl From<ImportError> for stage_api::Error {
    fn from(error: ImportError) -> Self {
        let data = Self::from_source(error.code(), &error);
        match error.help() {
            Some(help) => data.with_help(help),
            None => data,
        }
    }
}

/// Factors that are no module's of the model.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("`{}` and `{}` are the same module", names[0], names[1])]
    Same { names: [String; 2] },
    #[error("the model has no matrix `{name}`; it has {}", quoted(similar))]
    Unknown { name: String, similar: Vec<String> },
    #[error("`{tensor}` is the weight of an embedding or a head that the model does not have")]
    SavedNowhere { tensor: String },
    #[error("`{tensor}` is {got:?}, the model's own {expected:?}: the vocabulary was resized before training")]
    Resized { tensor: String, got: Vec<u64>, expected: Vec<u64> },
    #[error("`{name}` is {}", if *is_embedding { "an embedding, and its factors are a linear's" }
        else { "no embedding, and its factors are one's" })]
    OtherKind { name: String, is_embedding: bool },
    #[error("`{name}` is the embedding and the head, and llama.cpp aborts on such an adapter: nobody has run it")]
    TiedGguf { name: String },
    #[error("`{name}` is {what}, which is not merged: {why}")]
    NoMatrix { name: String, what: &'static str, why: &'static str },
    #[error("`{module}` is {got:?} in the adapter, {expected:?} in the model")]
    Shape { module: String, got: Vec<u64>, expected: Vec<u64> },
    #[error("the parts of `{module}` do not fit each other: {source}")]
    Unplaceable { module: String, source: ExprError },
    #[error("`{module}` is computed from what is stored, not moved, so no factors are its own")]
    Computed { module: String },
    #[error("only part of `{module}` has DoRA's lengths: `{with}` has them, {}",
        without.as_ref().map_or("the rest is not adapted".to_owned(), |name| format!("`{name}` has none")))]
    HalfDora { module: String, with: String, without: Option<String> },
}

impl Problem {
    /// A name that no module takes.
    pub fn unknown(name: &str, found: &Found, model: &ModelInput) -> Self {
        let stored = if found.kind == Kind::Gguf { name.to_owned() } else { format!("{name}.weight") };
        let is_it = |known: &str| found.kind.key_of(known) == found.kind.key_of(&stored);
        let inventory = &model.reading.inventory;
        let in_gguf = inventory.gguf.iter().map(|t| (t.name.as_str(), t.role));
        let role = match found.kind {
            Kind::Gguf => in_gguf.clone().find(|(known, _)| is_it(known)),
            _ => inventory.tensors.iter().map(|t| (t.name.as_str(), t.role)).find(|(known, _)| is_it(known)),
        };
        if let Some((what, why)) = role.and_then(|(_, role)| no_matrix(role)) {
            return Self::NoMatrix { name: name.to_owned(), what, why };
        }
        let modules = inventory.tensors.iter().filter_map(|t| Some(t.adapter.as_ref()?.module.as_str()));
        let known: Vec<&str> = match found.kind {
            Kind::Gguf => in_gguf.filter(|(_, role)| role.is_matrix()).map(|(name, _)| name).collect(),
            _ => modules.collect(),
        };
        Self::Unknown { name: name.to_owned(), similar: similar(name, &known) }
    }

    pub fn help(&self) -> &'static str {
        match self {
            Self::Same { .. } => "two adapters lie in one file; save one of them alone",
            Self::NoMatrix { .. } => "train without it, or merge with the tool that trained it and `fetch` the result",
            Self::TiedGguf { .. } => "import the adapter that it was converted from",
            Self::Resized { .. } => {
                "save the resized base, or merge with PEFT's `merge_and_unload`, and `fetch` the result"
            }
            Self::HalfDora { .. } => "the model keeps both parts in one matrix; train both with DoRA, or neither",
            _ => "the adapter was made for another model",
        }
    }
}

impl From<Problem> for stage_api::Error {
    fn from(problem: Problem) -> Self {
        Self::from_source("unfit_adapter", &problem).with_help(problem.help())
    }
}

/// Tensors that trainers change and that no product with a module's input is.
fn no_matrix(role: Role) -> Option<(&'static str, &'static str)> {
    match role {
        Role::Norm => Some(("a norm", "it is no matrix, and llama.cpp reads over it")),
        Role::Bias | Role::StateSpace => {
            Some(("no matrix of a product", "llama.cpp loads such an adapter and computes without it"))
        }
        Role::Frequencies => Some(("a fact of the architecture", "nothing learns it")),
        _ => None,
    }
}

/// Names of the same last part, else the last parts that there are.
fn similar(name: &str, known: &[&str]) -> Vec<String> {
    let alike: Vec<String> =
        known.iter().filter(|known| last_part(known) == last_part(name)).take(3).map(|k| (*k).to_owned()).collect();
    if !alike.is_empty() {
        return alike;
    }
    let mut lasts: Vec<String> = Vec::new();
    for last in known.iter().map(|known| last_part(known)) {
        if !lasts.iter().any(|known| known == last) {
            lasts.push(last.to_owned());
        }
    }
    lasts
}

fn unexpected(tensor: &str) -> &'static str {
    if tensor.ends_with("_norm.weight") {
        ": it is a whole norm, which llama.cpp reads over"
    } else if tensor.ends_with("lora_a") || tensor.ends_with("lora_b") {
        ": it is mlx-lm's, and the configuration is not"
    } else if tensor.contains("lora_A") || tensor.contains("lora_B") {
        ": it is PEFT's, and the configuration is not"
    } else {
        ": whole trained tensors are not merged"
    }
}

fn quoted(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}
