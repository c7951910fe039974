//! Asks the plugin what the job asks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use stage_api::hosting::{LoadedPlugin, LoadedStage, Services};
use stage_api::{Error, Outcome, Result, Signature};

use super::super::result::RESULT_SCHEMA;
use super::super::{Answer, Job, JobResult, MemoryPeak, Mode, PluginDescription, RunAnswer};
use super::reporter::Reporter;
use super::services::WorkerServices;
use super::watch::Watch;
use super::{promise, seal};

pub(super) fn answer(job: Arc<Job>, reporter: Arc<Reporter>, watch: &Watch) -> Result<JobResult> {
    let services = WorkerServices::new(job.clone(), reporter, watch.clone());
    let plugin = services.plugin(&job.plugin)?;
    let (lent, request) = (services.shared()?, &job.request);
    let stage = || find_stage(&plugin, &job.stage);
    let answer = match &job.mode {
        Mode::Probe => Answer::Probe(describe(&plugin)?),
        Mode::Plan => Answer::Plan(stage()?.plan(&lent, request)?),
        Mode::Run => Answer::Run(run(&stage()?, &job, &lent)?),
        Mode::Action(name) => Answer::Action(stage()?.action(name, &lent, request)?),
    };
    Ok(JobResult {
        schema: RESULT_SCHEMA,
        plugin: plugin.info().clone(),
        stage: job.stage.clone(),
        answer,
        extensions_used: services.extensions_used(),
        memory: MemoryPeak::default(),
        seconds: 0.0,
    })
}

fn run(stage: &LoadedStage, job: &Job, services: &Arc<dyn Services>) -> Result<RunAnswer> {
    let outcome = stage.run(services, &job.request)?;
    // A stage that returned early on request may call half of its work an outcome.
    if services.cancelled() {
        return Err(Error::cancelled());
    }
    seal_run(stage.signature(), job, outcome)
}

fn describe(plugin: &LoadedPlugin) -> Result<PluginDescription> {
    let stages: Vec<Signature> = plugin.stages()?.iter().map(|s| s.signature().clone()).collect();
    for signature in &stages {
        promise::check_port_names(signature)?;
    }
    let extensions = plugin.extensions()?.iter().map(|e| e.entry().clone()).collect();
    Ok(PluginDescription { info: plugin.info().clone(), stages, extensions })
}

fn find_stage(plugin: &LoadedPlugin, id: &str) -> Result<LoadedStage> {
    let stages = plugin.stages()?;
    let known: Vec<_> = stages.iter().map(|s| format!("`{}`", s.signature().id)).collect();
    let known = known.join(", ");
    stages.into_iter().find(|s| s.signature().id == id).ok_or_else(|| {
        Error::new("unknown_stage", format!("plugin `{}` has no stage `{id}`; known: {known}", plugin.info().name))
    })
}

/// Only rank 0 seals; the others' outputs are in the same directory.
fn seal_run(signature: &Signature, job: &Job, outcome: Outcome) -> Result<RunAnswer> {
    promise::check(&job.stage, signature, &job.promises, &outcome)?;
    let attempt = job.request.attempt.as_deref().unwrap_or_else(|| Path::new("."));
    let mut outputs = BTreeMap::new();
    if job.group.rank == 0 {
        for (port, description) in &outcome.outputs {
            let sealed = seal::seal(attempt, port).map_err(|e| e.into_stage_error(&job.stage, port))?;
            promise::check_bytes(&job.stage, port, description, &sealed)?;
            outputs.insert(port.clone(), sealed);
        }
    }
    Ok(RunAnswer { outcome, outputs })
}
