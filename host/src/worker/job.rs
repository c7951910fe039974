//! The job file: everything that a worker must know, nothing that it could look up elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stage_api::hosting::Level;
use stage_api::{CatalogueEntry, Description, Request};

/// The version of the job file's form.
pub const JOB_SCHEMA: u32 = 1;

/// One job of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// [`JOB_SCHEMA`].
    pub schema: u32,
    /// What to do.
    pub mode: Mode,
    /// The plugin that has the stage.
    pub plugin: PluginFile,
    /// The stage's id; empty for a probe.
    #[serde(default)]
    pub stage: String,
    /// What the stage is asked. A run needs `attempt`.
    #[serde(default)]
    pub request: Request,
    /// Every extension that the stage may ask for.
    #[serde(default)]
    pub catalogue: Vec<CatalogueItem>,
    /// What `plan` promised, by output port; a run that breaks it is not sealed.
    #[serde(default)]
    pub promises: BTreeMap<String, Description>,
    /// The extensions that `plan` used. A run may use no others; `None` allows the whole catalogue.
    #[serde(default)]
    pub extensions: Option<Vec<ExtensionUse>>,
    /// The processes that do this job together.
    #[serde(default)]
    pub group: Group,
    /// The least important events that are worth sending; `None` sends no log.
    #[serde(default)]
    pub log_level: Option<Level>,
    /// A hard limit on private memory, bytes: an allocation beyond it aborts the worker. Mapped files do not count.
    #[serde(default)]
    pub memory_limit: Option<u64>,
    /// Whether nobody holds the other end of stdin, so that its end means nothing.
    #[serde(default)]
    pub detached: bool,
}

impl Job {
    /// A job with nothing optional.
    pub fn new(mode: Mode, plugin: PluginFile, stage: &str, request: Request) -> Self {
        Self {
            schema: JOB_SCHEMA,
            mode,
            plugin,
            stage: stage.into(),
            request,
            catalogue: Vec::new(),
            promises: BTreeMap::new(),
            extensions: None,
            group: Group::default(),
            log_level: Some(Level::Info),
            memory_limit: None,
            detached: false,
        }
    }
}

/// What a worker is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Say what the plugin has.
    Probe,
    /// Plan a stage.
    Plan,
    /// Run a stage and seal its outputs.
    Run,
    /// Ask a stage for a document.
    Action(String),
}

/// A plugin's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginFile {
    /// Absolute.
    pub path: PathBuf,
    /// SHA-256 in hex. A run refuses another file under this path.
    #[serde(default)]
    pub digest: Option<String>,
}

/// An extension and where it lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueItem {
    /// Kind, id, plugin and claims.
    pub entry: CatalogueEntry,
    /// The plugin's file.
    pub file: PluginFile,
}

/// An extension that a stage used; the digest is its plugin's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionUse {
    /// `family`, `quantizer`, …
    pub kind: String,
    /// The name within the kind.
    pub id: String,
    /// The plugin that has it.
    pub plugin: String,
    /// SHA-256 of the plugin's file, in hex.
    #[serde(default)]
    pub digest: Option<String>,
}

/// The processes that do a job together; one today.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// This process's number; rank 0 seals.
    pub rank: u32,
    /// How many there are.
    pub size: u32,
    /// Where they meet.
    #[serde(default)]
    pub rendezvous: Option<String>,
}

impl Default for Group {
    fn default() -> Self {
        Self { rank: 0, size: 1, rendezvous: None }
    }
}
