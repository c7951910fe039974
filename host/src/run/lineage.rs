//! Where each result comes from, and where it was made: enough to make it again, or to see why it differs.

use std::collections::BTreeMap;
use std::env::consts;

use jiff::Timestamp;
use serde::Serialize;

use crate::key::{Key, KeyParts};
use crate::pipeline::ResolvedStage;
use crate::planning::StagePlan;
use crate::worker::{ExtensionUse, JobResult, PluginFile};

/// The lineage of a run.
#[derive(Debug, Serialize)]
pub struct Lineage {
    schema: u32,
    host: &'static str,
    machine: Machine,
    started: String,
    stages: BTreeMap<String, StageLineage>,
}

/// Where it ran. None of it enters a key.
#[derive(Debug, Serialize)]
struct Machine {
    os: &'static str,
    arch: &'static str,
    cpu: Option<String>,
    threads: usize,
}

#[derive(Debug, Serialize)]
struct StageLineage {
    key: Key,
    parts: KeyParts,
    plugin: PluginFile,
    plugin_version: String,
    extensions: Vec<ExtensionUse>,
    /// Content digests by output.
    outputs: BTreeMap<String, String>,
}

impl Lineage {
    /// The lineage of a run that starts now.
    pub fn new(threads: usize) -> Self {
        let machine = Machine { os: consts::OS, arch: consts::ARCH, cpu: crate::platform::cpu_name(), threads };
        let started = Timestamp::now().to_string();
        Self { schema: 1, host: env!("CARGO_PKG_VERSION"), machine, started, stages: BTreeMap::new() }
    }

    /// Adds a stage's result.
    pub fn add(&mut self, stage: &ResolvedStage, planned: &StagePlan, parts: &KeyParts, result: &JobResult) {
        let outputs = result.run().into_iter().flat_map(|r| &r.outputs);
        let lineage = StageLineage {
            key: parts.key(),
            parts: parts.clone(),
            plugin: PluginFile { path: stage.offer.path.clone(), digest: Some(stage.offer.digest.clone()) },
            plugin_version: result.plugin.version.clone(),
            extensions: planned.extensions.clone(),
            outputs: outputs.map(|(port, o)| (port.clone(), o.digest.clone())).collect(),
        };
        self.stages.insert(stage.name.clone(), lineage);
    }
}
