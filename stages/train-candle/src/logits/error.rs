//! Why there are no reference logits.

use std::path::PathBuf;

use decoder::DecoderError;
use tokenizer::TokenizerError;

/// Why there are no reference logits.
#[derive(Debug, thiserror::Error)]
pub enum LogitsError {
    /// The text cannot be read, or is no UTF-8.
    #[error("cannot read the text `{}`", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing would be predicted.
    #[error("the text `{}` has not even two tokens", path.display())]
    TooShort {
        /// The file.
        path: PathBuf,
    },
    /// The text cannot be tokenized.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A logit that is no number.
    #[error("window {window}: a logit of token {token} is {value}; the weights are damaged or overflow")]
    NotFinite {
        /// The window, from 0.
        window: usize,
        /// The token in it, from 0.
        token: usize,
        /// What was computed.
        value: f32,
    },
    /// The network.
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    /// The artifact cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The host's own: cancellation.
    #[error(transparent)]
    Host(#[from] stage_api::Error),
}

impl LogitsError {
    fn code(&self) -> &'static str {
        match self {
            Self::Text { .. } | Self::TooShort { .. } => "bad_data",
            Self::Tokenizer(_) => "unreadable_tokenizer",
            Self::NotFinite { .. } => "not_finite",
            Self::Decoder(DecoderError::Unsupported { .. }) => "unsupported_layer",
            Self::Decoder(_) => "decoder",
            Self::Write { .. } => "io",
            Self::Host(_) => "host",
        }
    }
}

impl From<LogitsError> for stage_api::Error {
    fn from(error: LogitsError) -> Self {
        match error {
            LogitsError::Host(host) => host,
            other => Self::from_source(other.code(), &other),
        }
    }
}
