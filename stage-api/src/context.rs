//! What a stage is lent while it plans or runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Description, Error, Result};

/// One input as the stage sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// What is known about the artifact.
    pub description: Description,
    /// Where the data lies; `None` while planning on an artifact that does not exist yet. A reference artifact's path
    /// is the path it refers to.
    #[serde(default)]
    pub path: Option<PathBuf>,
}

/// Everything about a call that is known before it starts; plain data, part of the job file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The stage's name in the pipeline; for messages and for names that people see, never for results.
    pub stage: String,
    /// The pipeline's name: `general.name` and kin come from it.
    #[serde(default)]
    pub pipeline: String,
    /// The directory of the pipeline file: what a relative `path:` source starts from.
    #[serde(default)]
    pub base_dir: PathBuf,
    /// Resolved parameters: paths absolute, defaults not filled in.
    pub params: Value,
    /// Connected inputs by port name.
    #[serde(default)]
    pub inputs: BTreeMap<String, Input>,
    /// The directory that outputs go into, one entry a port; `None` while planning.
    #[serde(default)]
    pub attempt: Option<PathBuf>,
    /// A directory that survives failure and is deleted on success; `None` while planning.
    #[serde(default)]
    pub scratch: Option<PathBuf>,
    /// Threads that the stage may keep busy.
    pub threads: usize,
    /// Bytes of anonymous memory that the stage may use; `None` where nobody set a limit.
    #[serde(default)]
    pub memory_budget: Option<u64>,
    /// Whether network use is forbidden.
    #[serde(default)]
    pub offline: bool,
}

/// An extension in the catalogue, whether loaded or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogueEntry {
    /// `family`, `quantizer`, …
    pub kind: String,
    /// The name within the kind.
    pub id: String,
    /// The plugin that has it.
    pub plugin: String,
    /// Names claimed, by class.
    pub claims: BTreeMap<String, Vec<String>>,
}

/// A loaded extension of whatever plugin; see [`crate::Extension`] for the meaning of each call.
pub trait ExtensionHandle: Send + Sync {
    /// The name within the kind.
    fn id(&self) -> &str;
    /// An operation on JSON, defined by the kind.
    fn call(&self, op: &str, input: Value) -> Result<Value>;
    /// Encodes whole rows.
    fn encode(&self, op: &str, src: &[f32], importance: &[f32], dst: &mut [u8]) -> Result<()>;
    /// Decodes whole rows.
    fn decode(&self, op: &str, src: &[u8], dst: &mut [f32]) -> Result<()>;
}

/// What the host does for a stage. The plugin macro supplies it over the ABI; tests can supply their own.
pub trait Host: Send + Sync {
    /// Shows how far the work is: `done` of `total` (0 where unknown) in `unit`s, e.g. `("tokens", 512, 4096)`.
    fn progress(&self, unit: &str, done: u64, total: u64);
    /// Records one point of a series.
    fn metric(&self, name: &str, step: u64, value: f64);
    /// Whether the run was asked to stop.
    fn cancelled(&self) -> bool;
    /// Everything that `extension` can give.
    fn catalogue(&self) -> Vec<CatalogueEntry>;
    /// Loads an extension, once.
    fn extension(&self, kind: &str, id: &str) -> Result<Arc<dyn ExtensionHandle>>;
}

/// What a stage is lent: its request and the host. Cheap to clone; usable from the stage's own threads.
#[derive(Clone)]
pub struct Context {
    request: Arc<Request>,
    host: Arc<dyn Host>,
}

impl Context {
    /// Puts a request and a host together; for tests and for the boundary.
    pub fn new(request: Request, host: Arc<dyn Host>) -> Self {
        Self { request: Arc::new(request), host }
    }

    /// Everything known before the call.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The parameters, typed. The host has checked them against the stage's schema already.
    pub fn params<P: DeserializeOwned>(&self) -> Result<P> {
        serde_json::from_value(self.request.params.clone()).map_err(|e| {
            Error::new("bad_parameter", format!("the parameters of stage `{}` do not fit: {e}", self.request.stage))
        })
    }

    /// A required input.
    pub fn input(&self, port: &str) -> Result<&Input> {
        self.optional_input(port).ok_or_else(|| {
            Error::new("missing_input", format!("stage `{}` has no input `{port}`", self.request.stage))
                .with_help(format!("add `inputs = {{ {port} = \"…\" }}` to the stage"))
        })
    }

    /// An input that the pipeline may have left out.
    pub fn optional_input(&self, port: &str) -> Option<&Input> {
        self.request.inputs.get(port)
    }

    /// The path of a required input's data.
    pub fn input_path(&self, port: &str) -> Result<&Path> {
        self.input(port)?.path.as_deref().ok_or_else(|| {
            Error::new("no_data_yet", format!("input `{port}` of stage `{}` is planned, not made", self.request.stage))
        })
    }

    /// Where output `port` goes: a path that does not exist yet, to be made a file or a directory. The worker seals it
    /// after `run` returned.
    pub fn output(&self, port: &str) -> Result<PathBuf> {
        let attempt = self.request.attempt.as_ref().ok_or_else(|| {
            Error::new("no_output_yet", format!("stage `{}` may write nothing while it plans", self.request.stage))
        })?;
        Ok(attempt.join(port))
    }

    /// Makes output `port` a reference to files that are not ours: no copy, no link. Their digests are verified
    /// whenever the artifact is used.
    pub fn output_reference(&self, port: &str, target: &Path) -> Result<()> {
        self.output_reference_with(port, target, &[])
    }

    /// As [`Context::output_reference`], to a file that is whole only with others of its directory, such as the parts
    /// of a split model; `beside` are their names.
    pub fn output_reference_with(&self, port: &str, target: &Path, beside: &[String]) -> Result<()> {
        let at = self.output(port)?;
        let text = serde_json::json!({ "reference": target, "beside": beside });
        let failed = |e: std::io::Error| Error::from_source("io", &e).with_cause(at.display().to_string());
        std::fs::create_dir_all(&at).map_err(failed)?;
        std::fs::write(at.join(REFERENCE_FILE), format!("{text:#}\n")).map_err(failed)
    }

    /// A directory that survives failure, keyed like the stage, deleted on success: what a resume needs lives there.
    pub fn scratch(&self) -> Result<PathBuf> {
        let dir = self.request.scratch.clone().ok_or_else(|| {
            Error::new("no_scratch_yet", format!("stage `{}` may write nothing while it plans", self.request.stage))
        })?;
        std::fs::create_dir_all(&dir).map_err(|e| Error::from_source("io", &e))?;
        Ok(dir)
    }

    /// Shows how far the work is; cheap, call it as often as you like.
    pub fn progress(&self, unit: &str, done: u64, total: u64) {
        self.host.progress(unit, done, total);
    }

    /// Records one point of a series.
    pub fn metric(&self, name: &str, step: u64, value: f64) {
        self.host.metric(name, step, value);
    }

    /// Fails with [`Error::cancelled`] once the run was asked to stop; call it between blocks of work.
    pub fn check_cancelled(&self) -> Result<()> {
        if self.host.cancelled() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// Threads that the stage may keep busy, at least one.
    pub fn threads(&self) -> usize {
        self.request.threads.max(1)
    }

    /// Bytes of anonymous memory that the stage may use.
    pub fn memory_budget(&self) -> Option<u64> {
        self.request.memory_budget
    }

    /// Every extension of `kind` that some plugin offers.
    pub fn catalogue(&self, kind: &str) -> Vec<CatalogueEntry> {
        self.host.catalogue().into_iter().filter(|e| e.kind == kind).collect()
    }

    /// Loads an extension. What `plan` asked for enters the key, and `run` may use only that.
    pub fn extension(&self, kind: &str, id: &str) -> Result<Arc<dyn ExtensionHandle>> {
        self.host.extension(kind, id)
    }
}

/// The file that makes an artifact directory a reference.
pub const REFERENCE_FILE: &str = "reference.json";
