//! What `plan` takes and gives: descriptions, estimates, findings, pins.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How much a planned description binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// `run` gives this very description, byte for byte; anything else is a broken promise.
    Exact,
    /// Sizes are upper bounds; what depends on it can be planned.
    Bounded,
    /// Known only after the run; what depends on it is planned again before it runs.
    Unknown,
}

/// What is known about an artifact without its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The artifact kind, see [`crate::kind`].
    pub kind: String,
    /// How much this description binds.
    pub certainty: Certainty,
    /// Bytes on disk; for a reference artifact the bytes it points at.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Short string facts that port constraints compare, e.g. `container = "gguf"`. They are part of the key of every
    /// stage that takes the artifact: what its bytes alone do not tell, and changes results, is a fact.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// What the kind's crates know about it (`model` puts its model description here). The host never looks inside.
    #[serde(default)]
    pub body: Value,
}

impl Description {
    /// A description that binds to the byte.
    pub fn exact(kind: &str, body: Value) -> Self {
        Self { kind: kind.into(), certainty: Certainty::Exact, bytes: None, facts: BTreeMap::new(), body }
    }

    /// A description of which only the kind is known before the run.
    pub fn unknown(kind: &str) -> Self {
        Self { certainty: Certainty::Unknown, ..Self::exact(kind, Value::Null) }
    }

    /// Weakens or strengthens what the description promises.
    pub fn with_certainty(mut self, certainty: Certainty) -> Self {
        self.certainty = certainty;
        self
    }

    /// Adds a fact for port constraints.
    pub fn with_fact(mut self, name: &str, value: impl Into<String>) -> Self {
        self.facts.insert(name.into(), value.into());
        self
    }

    /// Sets the bytes on disk.
    pub fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }
}

/// What a stage expects to use. Every figure is about this stage alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Peak anonymous memory of the process, bytes: what cannot be given back to the file system.
    #[serde(default)]
    pub memory: Option<u64>,
    /// Bytes of mapped files that are touched again and again: slower, but not fatal, where they do not fit.
    #[serde(default)]
    pub mapped: Option<u64>,
    /// Peak memory of other devices, bytes, by device name.
    #[serde(default)]
    pub device_memory: BTreeMap<String, u64>,
    /// Bytes that the outputs take on disk.
    #[serde(default)]
    pub disk: Option<u64>,
    /// The directory that takes them, made or not, where it is not the attempt's: what is downloaded goes into the cache
    /// of its hub.
    #[serde(default)]
    pub disk_at: Option<PathBuf>,
    /// Bytes of scratch files during the run.
    #[serde(default)]
    pub scratch: Option<u64>,
    /// Arithmetic, floating-point operations.
    #[serde(default)]
    pub flops: Option<f64>,
    /// A first guess of the time, seconds.
    #[serde(default)]
    pub seconds: Option<f64>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The pipeline is refused.
    Error,
    /// The pipeline runs, and the user is told.
    Warning,
    /// Something that could be better.
    Advice,
    /// Something worth knowing.
    Note,
}

/// Something that planning found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable identifier: `missing_tensor`, `assumed_fact`, …
    pub code: String,
    /// What, where, got and expected.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Finding {
    /// A finding without help.
    pub fn new(severity: Severity, code: &str, message: impl Into<String>) -> Self {
        Self { severity, code: code.into(), message: message.into(), help: None }
    }

    /// Adds what to do about it.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What `plan` returns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Descriptions by output port.
    pub outputs: BTreeMap<String, Description>,
    /// Where outputs lie that are there already, because they refer to files that are not ours: planning on them may
    /// read those files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locations: BTreeMap<String, PathBuf>,
    /// What the run is expected to use.
    #[serde(default)]
    pub estimate: Estimate,
    /// What the user should know; any [`Severity::Error`] refuses the pipeline.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What was looked up outside and must enter the key: a commit, file digests.
    #[serde(default)]
    pub pins: BTreeMap<String, String>,
    /// Parameters whose value was `auto` or left out and that were decided here; they override the given ones, in the
    /// key too.
    #[serde(default)]
    pub resolved: BTreeMap<String, Value>,
    /// Compute and storage dtype (`f32/bf16`), which enter the key; where it ran does not.
    #[serde(default)]
    pub numeric_mode: Option<String>,
}

/// What `run` returns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// True descriptions by output port.
    pub outputs: BTreeMap<String, Description>,
    /// Final figures for the summary, by name.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// What the user should know after the run.
    #[serde(default)]
    pub findings: Vec<Finding>,
}
