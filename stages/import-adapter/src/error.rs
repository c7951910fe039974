//! What can be wrong with an adapter from elsewhere.

use std::path::PathBuf;

use checkpoint::gguf::MetadataError;
use checkpoint::{adapter, gguf, safetensors};
use model::StoredType;

use crate::found::Kind;

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
    #[error("`ensure_weight_tying` is true, and `{head}` has factors that the embedding lacks")]
    HeadAlone { head: String },
    #[error(
        "`ensure_weight_tying` is true, and patterns of ranks or alphas give the head the scale {head}, the embedding \
         {embedding}: the two are no longer one matrix"
    )]
    TiedScales { head: f32, embedding: f32 },
    #[error("`{tensor}` has {got} in row {row}, the model that is connected has {expected}")]
    SavedOther { tensor: String, row: u64, got: f32, expected: f32 },
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
            Self::NotTied { .. } | Self::HeadAlone { .. } | Self::TiedScales { .. } | Self::SavedOther { .. } => {
                "unfit_adapter"
            }
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
                "the library that it is of would compute without them, or refuse them: these are files of two adapters, or \
                one of them was edited"
            }
            Self::NotFinite { .. } => "its training diverged, or the file is damaged",
            Self::SavedOther { .. } => {
                "it was trained beside its factors, or the adapter was made for another model; merge with PEFT's \
                `merge_and_unload` and `fetch` the result"
            }
            Self::LookupDora { .. } => "merge with the tool that trained it and `fetch` the result",
            _ => return None,
        };
        Some(text.into())
    }
}

/// Why a part of PEFT that is known is not merged.
fn help_for_config(problem: &adapter::Problem) -> Option<String> {
    if let adapter::Problem::NoTargets = problem {
        return Some(
            "name the modules of the factors in `target_modules`, as PEFT does when it saves an adapter".into(),
        );
    }
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

/// Names for a message.
pub fn quoted(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}
