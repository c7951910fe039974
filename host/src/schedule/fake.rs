//! An executor without processes, for tests: each stage is a pair of functions.

#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use stage_api::hosting::PluginInfo;
use stage_api::{Description, Error, Estimate, Finding, Outcome, Plan, Port, Request, Severity, Signature};

use super::Executor;
use crate::artifact::Store;
use crate::pipeline::{Offer, OutputRef, Pipeline, ResolvedStage};
use crate::planning::{Planner, Resources};
use crate::platform::Disk;
use crate::worker::{
    Answer, Event, Job, JobResult, MemoryPeak, Mode, RunAnswer, SealedFile, SealedOutput, WorkerError, WorkerFailure,
};

/// Stages that behave as their parameters say:
/// `{"text": …}` is the output; `"unknown": true` plans an unknown output; `"memory"`, `"disk"`, `"disk_at"`,
/// `"finding"`, `"resolved"` go into the plan; `"fail"` fails the run, `"fail_plan"` the planning, `"crash"` crashes.
#[derive(Default)]
pub struct FakeWorkers {
    /// `plan stage` and `run stage`, as they came.
    pub jobs: RefCell<Vec<String>>,
}

impl FakeWorkers {
    /// What was done since the last call.
    pub fn take_jobs(&self) -> Vec<String> {
        self.jobs.take()
    }
}

impl Executor for FakeWorkers {
    fn execute(
        &self,
        job: &Job,
        _dir: &Path,
        _on_event: &mut dyn FnMut(&Event),
        _cancel: &AtomicBool,
    ) -> Result<JobResult, WorkerError> {
        let word = if job.mode == Mode::Run { "run" } else { "plan" };
        self.jobs.borrow_mut().push(format!("{word} {}", job.request.stage));
        let failed = |failure| WorkerError {
            subject: job.request.stage.clone(),
            plugin: PathBuf::new(),
            failure,
            stderr: Vec::new(),
        };
        let params = &job.request.params;
        let fault = if job.mode == Mode::Run { "fail" } else { "fail_plan" };
        if let Some(message) = params[fault].as_str() {
            return Err(failed(WorkerFailure::Reported { error: Box::new(Error::new("bad", message)) }));
        }
        if params["crash"] == json!(true) {
            return Err(failed(WorkerFailure::Exit { code: 3 }));
        }
        let answer = match job.mode {
            Mode::Run => Answer::Run(run(job)),
            _ => Answer::Plan(plan(&job.request)),
        };
        let plugin = PluginInfo { name: "fake".into(), version: "1".into(), abi: "0".into() };
        let result = JobResult {
            schema: 1,
            plugin,
            stage: job.stage.clone(),
            answer,
            extensions_used: Vec::new(),
            memory: MemoryPeak::default(),
            seconds: 0.0,
        };
        if let Some(attempt) = &job.request.attempt {
            std::fs::write(attempt.join("result.json"), serde_json::to_vec(&result).unwrap()).unwrap();
        }
        Ok(result)
    }
}

/// The output is the stage's own text after that of its inputs.
fn text(request: &Request) -> String {
    let inputs = request.inputs.values().map(|i| i.description.body.as_str().unwrap_or_default());
    inputs.chain(request.params["text"].as_str()).collect::<Vec<_>>().join("+")
}

fn description(text: &str) -> Description {
    Description::exact("model", text.into()).with_bytes(text.len() as u64).with_fact("container", "text")
}

fn plan(request: &Request) -> Plan {
    let params = &request.params;
    let output = match params["unknown"].as_bool() {
        Some(true) => Description::unknown("model"),
        _ => description(&text(request)),
    };
    let (memory, disk) = (params["memory"].as_u64(), params["disk"].as_u64());
    let disk_at = params["disk_at"].as_str().map(PathBuf::from);
    let finding = params["finding"].as_str().map(|m| Finding::new(Severity::Error, "found", m));
    Plan {
        outputs: BTreeMap::from([("model".into(), output)]),
        estimate: Estimate { memory, disk, disk_at, ..Estimate::default() },
        findings: finding.into_iter().collect(),
        resolved: params["resolved"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        ..Plan::default()
    }
}

fn run(job: &Job) -> RunAnswer {
    let text = text(&job.request);
    let attempt = job.request.attempt.as_ref().unwrap();
    std::fs::write(attempt.join("model"), &text).unwrap();
    let (bytes, digest) = (text.len() as u64, format!("digest of {text}"));
    let file = SealedFile { path: String::new(), bytes, digest: digest.clone() };
    let sealed = SealedOutput { digest, bytes, reference: None, entry: None, files: vec![file] };
    let outcome = Outcome { outputs: BTreeMap::from([("model".into(), description(&text))]), ..Outcome::default() };
    RunAnswer { outcome, outputs: BTreeMap::from([("model".into(), sealed)]) }
}

/// A stage that takes models in ports named like the stages that they come from.
pub fn stage(name: &str, inputs: &[&str], params: Value) -> ResolvedStage {
    let schema = json!({ "properties": { "data": { "format": "path" } } });
    let signature = Signature {
        id: "fake".into(),
        summary: String::new(),
        revision: Some(1),
        inputs: inputs.iter().map(|i| Port::new(i, "model", "")).collect(),
        outputs: vec![Port::new("model", "model", "")],
        params: schema,
    };
    let offer = Offer { plugin: "fake".into(), path: "/fake.so".into(), digest: "d".into(), signature };
    let from = |i: &&str| ((*i).to_owned(), OutputRef { stage: (*i).into(), output: "model".into() });
    let inputs = inputs.iter().map(from).collect();
    ResolvedStage { name: name.into(), offer, inputs, after: Vec::new(), params }
}

/// A pipeline, a cache and workers without processes.
pub struct Bench {
    /// Holds the cache.
    pub dir: tempfile::TempDir,
    /// The cache.
    pub store: Store,
    /// The stages.
    pub pipeline: Pipeline,
    /// The workers.
    pub workers: FakeWorkers,
    /// What there is.
    pub resources: Resources,
    /// Whether the user asked to stop.
    pub cancel: AtomicBool,
}

impl Bench {
    /// A pipeline of `stages` with an empty cache.
    pub fn new(stages: Vec<ResolvedStage>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let pipeline = Pipeline { name: "p".into(), file: "/p/p.toml".into(), base_dir: "/p".into(), stages };
        // No real disk has this number.
        let (memory, disk) = (Some(1000), Some(Disk { device: u64::MAX, free: 1000 }));
        let resources = Resources { threads: 1, memory, memory_is_limit: false, disk, offline: true };
        Self { dir, store, pipeline, workers: FakeWorkers::default(), resources, cancel: AtomicBool::new(false) }
    }

    /// A planner of all that.
    pub fn planner(&self) -> Planner<'_> {
        Planner {
            pipeline: &self.pipeline,
            catalogue: &[],
            executor: &self.workers,
            store: &self.store,
            resources: self.resources.clone(),
            cancel: &self.cancel,
            jobs: self.dir.path().join("plan"),
        }
    }
}
