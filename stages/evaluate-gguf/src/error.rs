//! Everything that can end an evaluation, and what the host is told about it.

use std::path::PathBuf;

use crate::adapter::AdapterError;
use crate::chats::ChatError;
use crate::llama::LlamaError;
use crate::prompts::PromptError;
use crate::questions::QuestionError;
use crate::reference::ReferenceError;

/// Why an evaluation has no report.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    #[error(transparent)]
    Llama(#[from] LlamaError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    Questions(#[from] QuestionError),
    #[error(transparent)]
    Chats(#[from] ChatError),
    /// The plain text cannot be read, or is no UTF-8.
    #[error("cannot read the text `{}`", path.display())]
    Text { path: PathBuf, source: std::io::Error },
    /// The plain text has not even two tokens.
    #[error("the text `{}` is too short: its first token is predicted by nothing", path.display())]
    TooShort { path: PathBuf },
    /// The report cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    /// A figure is on the wrong side of what the pipeline demands.
    #[error("{figure} is {got:.4}, but `{parameter}` demands at {demand} {bound}")]
    Gate { figure: &'static str, got: f64, parameter: &'static str, demand: &'static str, bound: f64 },
    /// The host's own: cancellation, bad parameters.
    #[error(transparent)]
    Host(#[from] stage_api::Error),
}

impl EvaluateError {
    fn code(&self) -> &'static str {
        match self {
            Self::Llama(LlamaError::Processor { .. }) => "unsupported_processor",
            Self::Llama(LlamaError::Load { .. } | LlamaError::Adapter { .. }) => "llama_cpp_refuses",
            Self::Llama(LlamaError::NotFinite { .. }) => "not_finite",
            Self::Llama(_) => "llama_cpp",
            Self::Adapter(_) => "bad_adapter",
            Self::Reference(_) => "bad_reference",
            Self::Prompt(_) => "bad_prompt",
            Self::Questions(_) | Self::Chats(_) | Self::Text { .. } | Self::TooShort { .. } => "bad_data",
            Self::Write { .. } => "io",
            Self::Gate { .. } => "gate",
            Self::Host(_) => "host",
        }
    }

    fn help(&self) -> Option<&'static str> {
        match self {
            Self::Llama(LlamaError::Load { .. }) => {
                Some("if the file was downloaded, fetch it again; if it was converted here, please report it")
            }
            Self::Llama(LlamaError::Adapter { .. }) => {
                Some("an adapter fits only the model whose names and shapes it was converted for")
            }
            Self::Llama(LlamaError::UnknownToken { .. }) => {
                Some("reference logits must come from a model with the same tokenizer")
            }
            Self::Llama(LlamaError::Context { .. }) => Some("lower `window` or `max_tokens`"),
            Self::Gate { .. } => Some("the report was written before this check; the attempt's directory has it"),
            _ => None,
        }
    }
}

impl From<EvaluateError> for stage_api::Error {
    fn from(error: EvaluateError) -> Self {
        let error = match error {
            EvaluateError::Host(host) | EvaluateError::Prompt(PromptError::Tokenizer(host)) => return host,
            error => error,
        };
        let data = Self::from_source(error.code(), &error);
        match error.help() {
            Some(help) => data.with_help(help),
            None => data,
        }
    }
}
