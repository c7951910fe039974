//! Pushes descriptions through the whole pipeline, so that what cannot work is refused before anything is made.

mod checks;
mod disks;
mod known;
mod resources;
mod stage_plan;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use serde_json::Value;
use stage_api::{Certainty, Finding, Input, Plan, Request, Severity};

use crate::artifact::{ContentError, Slot, Store, StoreError};
use crate::key::{KeyInput, KeyParts};
use crate::pipeline::{Pipeline, ResolvedStage, schema};
use crate::platform;
use crate::schedule::Executor;
use crate::worker::{CatalogueItem, Job, JobResult, Mode, PluginFile, WorkerError, WorkerFailure};

pub use disks::DiskUse;
pub use known::{Known, KnownOutputs};
pub use resources::Resources;
pub use stage_plan::{StagePlan, State};

/// Why planning stopped. What a user can fix in the pipeline is a finding instead.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A worker crashed, was cancelled or did not start.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A file among the parameters can't be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The cache can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The plan of a whole pipeline.
#[derive(Debug, Serialize)]
pub struct PipelinePlan {
    /// Stages in the order in which they run.
    pub stages: Vec<StagePlan>,
    /// What concerns no single stage.
    pub findings: Vec<Finding>,
    /// What all stages write, that of the artifacts first.
    pub disks: Vec<DiskUse>,
    /// What there is to run with.
    pub resources: Resources,
}

impl PipelinePlan {
    /// Every finding with the stage that it concerns.
    pub fn findings(&self) -> impl Iterator<Item = (Option<&str>, &Finding)> {
        let of_stages =
            self.stages.iter().flat_map(|s| s.plan.findings.iter().map(move |f| (Some(s.stage.as_str()), f)));
        of_stages.chain(self.findings.iter().map(|f| (None, f)))
    }

    /// Whether anything was found that forbids a run.
    pub fn is_refused(&self) -> bool {
        self.findings().any(|(_, f)| f.severity == Severity::Error)
    }
}

/// Plans stages.
pub struct Planner<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// Every extension that stages may ask for.
    pub catalogue: &'a [CatalogueItem],
    /// Where plan jobs are done.
    pub executor: &'a dyn Executor,
    /// What was made before.
    pub store: &'a Store,
    /// What there is to run with.
    pub resources: Resources,
    /// Whether the user asked to stop.
    pub cancel: &'a AtomicBool,
    /// Where plan jobs leave their files, one directory a stage.
    pub jobs: PathBuf,
}

impl Planner<'_> {
    /// Plans every stage in order. Nothing is made.
    pub fn pipeline(&self) -> Result<PipelinePlan, PlanError> {
        let mut known = KnownOutputs::default();
        let mut stages = Vec::new();
        for stage in &self.pipeline.stages {
            let plan = self.stage(stage, &known)?;
            known.take_plan(stage, &plan);
            stages.push(plan);
        }
        let disks = disks::disk_uses(&stages, self.resources.disk, platform::disk_of);
        let findings = disks.iter().filter_map(checks::disk).collect();
        Ok(PipelinePlan { stages, findings, disks, resources: self.resources.clone() })
    }

    /// Plans one stage on what is known about its inputs.
    pub fn stage(&self, stage: &ResolvedStage, known: &KnownOutputs) -> Result<StagePlan, PlanError> {
        let inputs = known.inputs(stage);
        if let Some(from) = known.missing(stage) {
            let plan = Plan { findings: vec![checks::not_made(&from)], ..Plan::default() };
            return Ok(StagePlan::new(stage, plan, Vec::new(), inputs));
        }
        let unknown = inputs.iter().find(|(_, i)| i.description.certainty == Certainty::Unknown);
        if let Some((port, _)) = unknown {
            let waits_for = stage.inputs.get(port).map(|o| o.stage.clone()).unwrap_or_default();
            return Ok(StagePlan::later(stage, waits_for, inputs));
        }
        let job = self.job(stage, Mode::Plan, inputs.clone(), stage.params.clone());
        let result = self.executor.execute(&job, &self.jobs.join(&stage.name), &mut |_| (), self.cancel);
        let (mut plan, extensions) = match result {
            Ok(result) => (result.plan().cloned().unwrap_or_default(), result.extensions_used),
            Err(error) => (refused(error)?, Vec::new()),
        };
        plan.findings.extend(checks::constraints(stage, &inputs));
        let mut planned = StagePlan::new(stage, plan, extensions, inputs);
        self.look_up(stage, known, &mut planned)?;
        if !planned.is_cached() {
            planned.plan.findings.extend(checks::memory(&planned.plan.estimate, self.resources.memory));
        }
        Ok(planned)
    }

    /// Plans a stage again now that its inputs exist: as before where they are what was planned.
    pub fn again(
        &self,
        stage: &ResolvedStage,
        known: &KnownOutputs,
        earlier: &StagePlan,
    ) -> Result<StagePlan, PlanError> {
        let now = known.inputs(stage);
        let same = now.len() == earlier.inputs.len()
            && now.iter().zip(&earlier.inputs).all(|((_, a), (_, b))| a.description == b.description);
        if !same || matches!(earlier.state, State::Later { .. }) {
            return self.stage(stage, known);
        }
        let mut planned = StagePlan { inputs: now, ..earlier.clone() };
        self.look_up(stage, known, &mut planned)?;
        Ok(planned)
    }

    /// The place of a stage whose key is known.
    pub fn slot(&self, parts: &KeyParts) -> Slot {
        self.store.slot(&parts.key())
    }

    /// A job for a stage, with everything that planning and running share.
    pub fn job(&self, stage: &ResolvedStage, mode: Mode, inputs: BTreeMap<String, Input>, params: Value) -> Job {
        let request = Request {
            stage: stage.name.clone(),
            pipeline: self.pipeline.name.clone(),
            base_dir: self.pipeline.base_dir.clone(),
            params,
            inputs,
            threads: self.resources.threads,
            memory_budget: self.resources.memory,
            offline: self.resources.offline,
            ..Request::default()
        };
        let plugin = PluginFile { path: stage.offer.path.clone(), digest: Some(stage.offer.digest.clone()) };
        let mut job = Job::new(mode, plugin, &stage.offer.signature.id, request);
        job.catalogue = self.catalogue.to_vec();
        job
    }

    /// Finds out whether the stage's result is there already, as soon as its key can be told.
    fn look_up(&self, stage: &ResolvedStage, known: &KnownOutputs, planned: &mut StagePlan) -> Result<(), PlanError> {
        let contents = match known.contents(stage) {
            Ok(contents) => contents,
            Err(missing) => {
                planned.state = State::Run { why: format!("`{missing}` is made before it"), key: None };
                return Ok(());
            }
        };
        if planned.is_refused() {
            return Ok(());
        }
        let mut paths = BTreeMap::new();
        for pointer in schema::marked(&stage.offer.signature.params, &stage.params, schema::is_path) {
            if let Some(path) = stage.params.pointer(&pointer).and_then(Value::as_str) {
                paths.insert(pointer, self.store.digests().content(path.as_ref())?);
            }
        }
        let parts = KeyParts::new(KeyInput {
            signature: &stage.offer.signature,
            plugin_digest: &stage.offer.digest,
            params: &stage.params,
            paths: &paths,
            inputs: contents,
            plan: &planned.plan,
            extensions: &planned.extensions,
        });
        planned.state = match self.slot(&parts).artifact() {
            Some((attempt, result)) => State::Cached { key: parts, attempt, result: Box::new(result) },
            None => State::Run { why: self.why(&stage.name, &parts), key: Some(parts) },
        };
        Ok(())
    }

    fn why(&self, stage: &str, parts: &KeyParts) -> String {
        if let Some(file) = self.slot(parts).changed_reference() {
            return format!("`{}` changed", file.display());
        }
        match self.store.last_key(&self.pipeline.file, stage) {
            None => "it was never made".into(),
            Some(last) => parts.difference(&last).unwrap_or_else(|| "its result is gone".into()),
        }
    }
}

/// A stage that says that it can't be planned is a finding, so that the others are still looked at.
fn refused(error: WorkerError) -> Result<Plan, PlanError> {
    let WorkerFailure::Reported { error: reported } = &error.failure else { return Err(error.into()) };
    if reported.code == stage_api::Error::PANIC || reported.code.starts_with("plugin_") {
        return Err(error.into());
    }
    let mut finding = Finding::new(Severity::Error, &reported.code, reported.to_string());
    finding.help = reported.help.clone();
    Ok(Plan { findings: vec![finding], ..Plan::default() })
}

/// An artifact's place and what its worker said about it.
pub fn known_of(attempt: &std::path::Path, result: &JobResult) -> BTreeMap<String, Known> {
    let Some(run) = result.run() else { return BTreeMap::new() };
    let known = |(port, sealed): (&String, &crate::worker::SealedOutput)| {
        // What was made is what it is, whatever was known before.
        let description = run.outcome.outputs.get(port)?.clone().with_certainty(Certainty::Exact);
        let path = Some(sealed.path(attempt, port));
        Some((port.clone(), Known { description, path, content: Some(sealed.digest.clone()) }))
    };
    run.outputs.iter().filter_map(known).collect()
}

#[cfg(test)]
mod tests;
