//! What can become of a worker, said so that a person knows what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use super::super::{Job, MemoryPeak, Mode};
use crate::platform::{signal_name, terminating_signal};

/// A job that has no answer.
#[derive(Debug)]
pub struct WorkerError {
    /// What was asked of whom: ``stage `train` ``, ``planning stage `train` ``, ``plugin `/…/libtrain.so` ``.
    pub subject: String,
    /// The plugin's file.
    pub plugin: PathBuf,
    /// What happened.
    pub failure: WorkerFailure,
    /// The last lines that the worker wrote to stderr.
    pub stderr: Vec<String>,
}

/// What happened to a worker.
#[derive(Debug, thiserror::Error)]
pub enum WorkerFailure {
    /// The job's directory cannot be written.
    #[error("cannot write into `{}`: {source}", dir.display())]
    Files {
        /// The job's directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The process did not start.
    #[error("worker `{}` did not start: {source}", program.display())]
    Spawn {
        /// What was started.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The plugin, or the worker for it, said what is wrong.
    #[error("{error}")]
    Reported {
        /// What is wrong.
        error: Box<stage_api::Error>,
    },
    /// Stopped on request.
    #[error("stopped on request")]
    Cancelled,
    /// A signal that we did not send.
    #[error("the worker was ended by {} ({signal})", signal_name(*signal))]
    Signal {
        /// Its number.
        signal: i32,
        /// The last measurement.
        peak: MemoryPeak,
    },
    /// The plugin ended the process.
    #[error("the worker exited with code {code} and without an answer")]
    Exit {
        /// The exit code.
        code: i32,
    },
    /// No sign of life.
    #[error("the worker gave no sign of life for {seconds} s")]
    Silent {
        /// For how long.
        seconds: u64,
    },
    /// Life without deeds.
    #[error("the stage did nothing for {seconds} s: no progress, no processor time")]
    Stalled {
        /// For how long.
        seconds: u64,
    },
}

impl WorkerFailure {
    pub(super) fn of_status(status: Option<ExitStatus>, peak: MemoryPeak) -> Self {
        match status.and_then(terminating_signal) {
            Some(signal) => Self::Signal { signal, peak },
            None => Self::Exit { code: status.and_then(|s| s.code()).unwrap_or(-1) },
        }
    }

    /// A stable identifier for scripts.
    pub fn code(&self) -> &str {
        match self {
            Self::Files { .. } => "io",
            Self::Spawn { .. } => "worker_start",
            Self::Reported { error } => &error.code,
            Self::Cancelled => stage_api::Error::CANCELLED,
            Self::Signal { .. } => "worker_signal",
            Self::Exit { .. } => "worker_exit",
            Self::Silent { .. } => "worker_silent",
            Self::Stalled { .. } => "worker_stalled",
        }
    }

    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Reported { error } => return error.help.clone(),
            Self::Signal { signal, peak } => signal_help(*signal, *peak),
            Self::Exit { code: 0 } => "something in the plugin ended the process before the stage returned".into(),
            Self::Exit { .. } => "something in the plugin called exit; a plugin must return an error instead".into(),
            Self::Silent { .. } => "the process was stopped from outside, or the machine is out of memory and swaps; \
                 `HOST_WORKER_SILENCE_SECONDS` sets the limit"
                .into(),
            Self::Stalled { .. } => {
                "a deadlock in the plugin, or something that it waits for; `HOST_WORKER_STALL_SECONDS` sets the limit"
                    .into()
            }
            Self::Files { .. } | Self::Spawn { .. } | Self::Cancelled => return None,
        })
    }
}

fn signal_help(signal: i32, peak: MemoryPeak) -> String {
    match signal_name(signal) {
        "SIGKILL" => {
            let used = peak.anonymous.map(|b| format!(" (it had {} MiB)", b >> 20)).unwrap_or_default();
            format!("often the system does this when memory runs out{used}; the kernel's log would say so")
        }
        "SIGABRT" => "an allocation failed, the stack overflowed, or a panic could not be caught".into(),
        "SIGBUS" => {
            "the plugin's file or a file that it had mapped is shorter than it should be: build or copy it again".into()
        }
        "SIGTERM" | "SIGHUP" | "SIGINT" => "somebody ended the process".into(),
        _ => "a fault in the plugin's native code; report it to the plugin's author".into(),
    }
}

impl WorkerError {
    pub(super) fn new(job: &Job, failure: WorkerFailure) -> Self {
        let name = if job.request.stage.is_empty() { &job.stage } else { &job.request.stage };
        let subject = match &job.mode {
            Mode::Probe => format!("plugin `{}`", job.plugin.path.display()),
            Mode::Plan => format!("planning stage `{name}`"),
            Mode::Run => format!("stage `{name}`"),
            Mode::Action(action) => format!("`{action}` of stage `{name}`"),
        };
        Self { subject, plugin: job.plugin.path.clone(), failure, stderr: Vec::new() }
    }

    /// Whether it was stopped on request.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.failure, WorkerFailure::Cancelled)
    }

    /// Whether the worker's stderr says more than the failure does.
    pub fn stderr_matters(&self) -> bool {
        !matches!(self.failure, WorkerFailure::Reported { .. } | WorkerFailure::Cancelled) && !self.stderr.is_empty()
    }
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.subject, self.failure)?;
        if self.stderr_matters() {
            write!(f, "\nthe worker's last words:")?;
            for line in &self.stderr {
                write!(f, "\n  {line}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for WorkerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.failure)
    }
}
