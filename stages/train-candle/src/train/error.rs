//! Why a training has no adapter.

use decoder::DecoderError;

/// Why a training has no adapter.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Names that match no linear.
    #[error(
        "`target_modules` has {}, which no linear of this model is named; it has {}",
        quoted(unknown),
        quoted(known)
    )]
    UnknownTargets {
        /// Names without a linear.
        unknown: Vec<String>,
        /// The last parts of all linears' names.
        known: Vec<String>,
    },
    /// Names that match no parameter.
    #[error(
        "`target_parameters` has {}, which no parameter of this model that can be adapted is named; it has {}",
        quoted(unknown),
        if known.is_empty() { "none".to_owned() } else { quoted(known) }
    )]
    UnknownParameters {
        /// Names without a parameter.
        unknown: Vec<String>,
        /// The last parts of all parameters' paths.
        known: Vec<String>,
    },
    /// Empty lists of targets.
    #[error("`target_modules` and `target_parameters` name nothing: there is nothing to train")]
    NoTargets,
    /// Dropout where PEFT has none.
    #[error("`dropout` is {dropout}, and PEFT has none where it adapts parameters, here {}", quoted(parameters))]
    DropoutOnParameters {
        /// The share.
        dropout: f64,
        /// The parameters by the adapter's names.
        parameters: Vec<String>,
    },
    /// The adapter to go on from.
    #[error("`init_adapter` cannot be read")]
    InitAdapter(#[source] checkpoint::adapter::Error),
    /// An adapter to go on from that was made for another model.
    #[error("`init_adapter` does not fit this model: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    UnfitInitAdapter {
        /// What does not fit.
        problems: Vec<checkpoint::adapter::Problem>,
    },
    /// An adapter to go on from that has lengths of rows.
    #[error(
        "`init_adapter` is DoRA: `{module}` has lengths of rows, which are not trained here; fuse it into the base and \
         train a new adapter on that"
    )]
    DoraInitAdapter {
        /// The first such module.
        module: String,
    },
    /// A module of no layer.
    #[error(
        "`init_adapter` changes `{module}`, and only modules of layers are trained here; fuse it into the base and train a \
         new adapter on that"
    )]
    OutsideInitAdapter {
        /// The first such module.
        module: String,
    },
    /// The configuration gives a module no scale.
    #[error("the adapter's configuration gives `{module}` no scale")]
    Scale {
        /// The module.
        module: String,
        /// Why.
        source: checkpoint::adapter::Problem,
    },
    /// A step could not be computed.
    #[error("step {step} of {steps} failed")]
    Step {
        /// Counted from 1.
        step: u64,
        /// All.
        steps: u64,
        /// Why.
        source: DecoderError,
    },
    /// The held-out loss could not be computed.
    #[error("the held-out loss after step {step} failed")]
    Evaluation {
        /// Steps done.
        step: u64,
        /// Why.
        source: DecoderError,
    },
    /// Gradients that are no numbers.
    #[error("the gradient of step {step} of {steps} has norm {norm}")]
    NonFiniteGradient {
        /// Counted from 1.
        step: u64,
        /// All.
        steps: u64,
        /// What was computed.
        norm: f64,
    },
    /// A network or adapter that the decoder refuses.
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    /// The adapter cannot be written.
    #[error("cannot write the adapter")]
    Write(#[source] checkpoint::adapter::Error),
    /// The host's own: cancellation.
    #[error(transparent)]
    Host(#[from] stage_api::Error),
}

impl TrainError {
    fn code(&self) -> &'static str {
        match self {
            Self::UnknownTargets { .. } => "unknown_target_module",
            Self::UnknownParameters { .. } => "unknown_target_parameter",
            Self::NoTargets => "no_targets",
            Self::DropoutOnParameters { .. } => "dropout_on_parameters",
            Self::InitAdapter(_)
            | Self::UnfitInitAdapter { .. }
            | Self::DoraInitAdapter { .. }
            | Self::OutsideInitAdapter { .. }
            | Self::Scale { .. } => "bad_init_adapter",
            Self::Step { source, .. } | Self::Evaluation { source, .. } | Self::Decoder(source) => decoder_code(source),
            Self::NonFiniteGradient { .. } => "diverged",
            Self::Write(error) if matches!(error.problem, checkpoint::adapter::Problem::NotFinite { .. }) => "diverged",
            Self::Write(_) => "io",
            Self::Host(_) => "host",
        }
    }

    fn help(&self) -> Option<&'static str> {
        if let Self::InitAdapter(_) = self {
            return Some(
                "`init_adapter` is a directory as PEFT and this stage write it; mlx-lm's adapters and GGUF LoRAs become \
                 one through the stage `import-adapter`",
            );
        }
        match self.code() {
            "diverged" => Some(
                "nothing was kept; lower `learning_rate`, raise `warmup_ratio`, or check the base with `validate-arch`",
            ),
            "dropout_on_parameters" => Some(
                "leave `dropout` at 0, or train without them: `target_modules` that name the other linears, and no \
                 `target_parameters`",
            ),
            "unsupported_layer" => Some("it can be checked, fused and converted, but not trained here"),
            _ => None,
        }
    }
}

fn decoder_code(error: &DecoderError) -> &'static str {
    match error {
        DecoderError::NonFiniteLoss { .. } => "diverged",
        DecoderError::Unsupported { .. } => "unsupported_layer",
        DecoderError::UnknownToken { .. } => "unknown_token",
        _ => "decoder",
    }
}

impl From<TrainError> for stage_api::Error {
    fn from(error: TrainError) -> Self {
        if let TrainError::Host(host) = error {
            return host;
        }
        let data = Self::from_source(error.code(), &error);
        match error.help() {
            Some(help) => data.with_help(help),
            None => data,
        }
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
