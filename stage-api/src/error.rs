//! Errors that cross the plugin boundary: data with help, never a host's enum.

use serde::{Deserialize, Serialize};

/// What went wrong in a plugin, as data that any host can print.
///
/// Messages are lowercase fragments without a final stop, names in backticks. `help` says what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// A stable identifier for scripts: `missing_tensor`, `bad_parameter`, `cancelled`, `panic`, …
    pub code: String,
    /// What, where, got and expected.
    pub message: String,
    /// What the user can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The chain of underlying causes, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
}

/// A result whose error can cross the plugin boundary.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with a stable code and a message.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), help: None, causes: Vec::new() }
    }

    /// The error of a run that was asked to stop.
    pub fn cancelled() -> Self {
        Self::new(Self::CANCELLED, "stopped on request")
    }

    /// The code of [`Error::cancelled`].
    pub const CANCELLED: &'static str = "cancelled";
    /// The code of a panic that was caught at the boundary.
    pub const PANIC: &'static str = "panic";
    /// The code of an operation that this plugin's version does not know.
    pub const UNSUPPORTED: &'static str = "unsupported_operation";

    /// Adds what the user can do about it.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds an underlying cause.
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Turns a typed error and its chain of sources into data.
    pub fn from_source(code: impl Into<String>, error: &dyn std::error::Error) -> Self {
        let mut out = Self::new(code, error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            out.causes.push(cause.to_string());
            source = cause.source();
        }
        out
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
