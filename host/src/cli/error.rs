//! Why a command failed: in words, as JSON, as an exit code.

use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};
use stage_api::Finding;

use crate::artifact::StoreError;
use crate::exit_code;
use crate::pipeline::Problems;
use crate::planning::PlanError;
use crate::report::visible;
use crate::run::RecordError;
use crate::schedule::RunError;
use crate::worker::{WorkerError, WorkerFailure};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The pipeline file can't be read.
    #[error("pipeline file `{}` can't be read: {source}", path.display())]
    ReadPipeline {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The pipeline is wrong.
    #[error("{0}")]
    Pipeline(Problems),
    /// The plan has errors; they were printed as findings.
    #[error("the plan has {} error{}; nothing was run", errors.len(), if errors.len() == 1 { "" } else { "s" })]
    Refused {
        /// Which, each with the stage that it concerns.
        errors: Vec<(Option<String>, Finding)>,
    },
    /// Planning stopped.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The run ended early.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The cache can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run directory can't be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// There is no place for a cache.
    #[error("there is no home directory for the cache")]
    NoCache,
    /// A directory of this process can't be told or made.
    #[error("the working directory can't be used: {0}")]
    WorkingDir(io::Error),
    /// Stdout can't be written.
    #[error("stdout can't be written: {0}")]
    Stdout(io::Error),
    /// Ctrl-C can't be caught.
    #[error("Ctrl-C can't be caught: {0}")]
    Interrupt(ctrlc::Error),
}

impl CliError {
    /// The only place where an error becomes an exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ReadPipeline { .. } | Self::Pipeline(_) => exit_code::PIPELINE,
            Self::Refused { .. } => exit_code::REFUSED,
            Self::Plan(error) => of_plan(error),
            Self::Run(error) => match error {
                RunError::Worker(error) => of_worker(error),
                RunError::Plan(error) => of_plan(error),
                RunError::Refused { .. } => exit_code::REFUSED,
                RunError::InputChanged { .. } => exit_code::STAGE,
                RunError::Cancelled => exit_code::CANCELLED,
                RunError::Store(_) | RunError::Record(_) => exit_code::IO,
            },
            Self::Store(_)
            | Self::Record(_)
            | Self::NoCache
            | Self::WorkingDir(_)
            | Self::Stdout(_)
            | Self::Interrupt(_) => exit_code::IO,
        }
    }

    /// The message for people.
    pub fn render(&self, styled: bool) -> String {
        if let Self::Pipeline(problems) = self {
            return problems.render(styled);
        }
        let help = self.help().map(|h| format!("  help: {h}\n")).unwrap_or_default();
        visible(&format!("error: {self}\n{help}")).into_owned()
    }

    /// The same for scripts.
    pub fn to_json(&self) -> Value {
        let mut error = json!({ "code": self.code(), "message": self.to_string(), "help": self.help() });
        match self {
            Self::Pipeline(problems) => error["problems"] = problems.to_json(),
            Self::Refused { errors } => {
                error["findings"] = errors.iter().map(|(stage, f)| json!({ "stage": stage, "finding": f })).collect();
            }
            Self::Run(RunError::Refused { stage, findings }) => {
                error["findings"] = findings.iter().map(|f| json!({ "stage": stage, "finding": f })).collect();
            }
            _ => {}
        }
        error
    }

    fn code(&self) -> String {
        match self {
            Self::ReadPipeline { .. } | Self::Pipeline(_) => "bad_pipeline".into(),
            Self::Refused { .. } | Self::Run(RunError::Refused { .. }) => "refused".into(),
            Self::Run(RunError::Cancelled) => stage_api::Error::CANCELLED.into(),
            Self::Run(RunError::InputChanged { .. }) => "input_changed".into(),
            other => other.worker().map_or_else(|| "io".into(), |w| w.failure.code().to_owned()),
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::NoCache => Some("set `HOST_CACHE_DIR`".into()),
            Self::Run(RunError::InputChanged { .. }) => Some("run again: the files are taken as they are now".into()),
            other => other.worker()?.failure.help(),
        }
    }

    fn worker(&self) -> Option<&WorkerError> {
        match self {
            Self::Plan(PlanError::Worker(error))
            | Self::Run(RunError::Worker(error) | RunError::Plan(PlanError::Worker(error))) => Some(error),
            _ => None,
        }
    }
}

fn of_plan(error: &PlanError) -> u8 {
    match error {
        PlanError::Worker(error) => of_worker(error),
        PlanError::Content(_) | PlanError::Store(_) => exit_code::IO,
    }
}

fn of_worker(error: &WorkerError) -> u8 {
    match &error.failure {
        WorkerFailure::Cancelled => exit_code::CANCELLED,
        WorkerFailure::Files { .. } => exit_code::IO,
        WorkerFailure::Reported { error } if error.code == stage_api::Error::PANIC => exit_code::WORKER,
        WorkerFailure::Reported { error } if error.code.starts_with("plugin_") => exit_code::WORKER,
        WorkerFailure::Reported { .. } => exit_code::STAGE,
        WorkerFailure::Spawn { .. }
        | WorkerFailure::Signal { .. }
        | WorkerFailure::Exit { .. }
        | WorkerFailure::Silent { .. }
        | WorkerFailure::Stalled { .. } => exit_code::WORKER,
    }
}
