//! What a worker answers; after a run it is the attempt's `result.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stage_api::hosting::PluginInfo;
use stage_api::{CatalogueEntry, Outcome, Plan, Signature};

use super::ExtensionUse;

/// The version of this form.
pub(super) const RESULT_SCHEMA: u32 = 1;

/// The answer to a job and what it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    /// The version of this form.
    pub schema: u32,
    /// The plugin that answered.
    pub plugin: PluginInfo,
    /// The stage's id; empty for a probe.
    #[serde(default)]
    pub stage: String,
    /// The answer.
    pub answer: Answer,
    /// Extensions that were asked for, ordered.
    #[serde(default)]
    pub extensions_used: Vec<ExtensionUse>,
    /// Memory at most.
    #[serde(default)]
    pub memory: MemoryPeak,
    /// Wall time from the worker's start to the answer.
    #[serde(default)]
    pub seconds: f64,
}

impl JobResult {
    /// What a probe found.
    pub fn probe(self) -> Option<PluginDescription> {
        if let Answer::Probe(found) = self.answer { Some(found) } else { None }
    }

    /// What a stage plans.
    pub fn plan(&self) -> Option<&Plan> {
        if let Answer::Plan(plan) = &self.answer { Some(plan) } else { None }
    }

    /// What a run made.
    pub fn run(&self) -> Option<&RunAnswer> {
        if let Answer::Run(run) = &self.answer { Some(run) } else { None }
    }

    /// The document that an action returned.
    pub fn action(&self) -> Option<&Value> {
        if let Answer::Action(document) = &self.answer { Some(document) } else { None }
    }
}

/// The answer, by [`super::Mode`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// What the plugin has.
    Probe(PluginDescription),
    /// What the stage plans.
    Plan(Plan),
    /// What the stage made.
    Run(RunAnswer),
    /// A document.
    Action(Value),
}

/// What a plugin has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginDescription {
    /// Name and versions.
    pub info: PluginInfo,
    /// Its stages.
    pub stages: Vec<Signature>,
    /// Its extensions.
    pub extensions: Vec<CatalogueEntry>,
}

/// What a run made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunAnswer {
    /// What the stage returned.
    pub outcome: Outcome,
    /// The sealed outputs, by port.
    pub outputs: BTreeMap<String, SealedOutput>,
}

/// An output whose bytes are known and on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedOutput {
    /// SHA-256 over the list of files, in hex: equal for equal names and bytes, wherever they lie.
    pub digest: String,
    /// The sum of the files' bytes.
    pub bytes: u64,
    /// Where the files lie if they are not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<PathBuf>,
    /// The one file that is opened, where the output is some files of a directory that is not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// The files by path.
    pub files: Vec<SealedFile>,
}

impl SealedOutput {
    /// What the paths of the files start from; `attempt` is where the output `port` was made.
    pub fn root(&self, attempt: &Path, port: &str) -> PathBuf {
        self.reference.clone().unwrap_or_else(|| attempt.join(port))
    }

    /// What whoever uses the output is given.
    pub fn path(&self, attempt: &Path, port: &str) -> PathBuf {
        let root = self.root(attempt, port);
        match &self.entry {
            Some(entry) => root.join(entry),
            None => root,
        }
    }
}

/// One file of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedFile {
    /// Relative to the output, with `/`; empty where the output is one file.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 in hex.
    pub digest: String,
}

/// Memory at most, where the system tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPeak {
    /// Anonymous memory (also swapped out), bytes: what cannot be given back to the file system.
    #[serde(default)]
    pub anonymous: Option<u64>,
    /// Resident memory, bytes, mapped files included.
    #[serde(default)]
    pub resident: Option<u64>,
}
