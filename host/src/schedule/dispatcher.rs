//! Takes a planned pipeline to its end: what is there is used, what is missing is made, in order.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use stage_api::{Finding, Input};

use super::{Progress, ready};
use crate::artifact::{Slot, SlotLock, StoreError, changed_file};
use crate::key::KeyParts;
use crate::pipeline::ResolvedStage;
use crate::planning::{KnownOutputs, PipelinePlan, PlanError, Planner, StagePlan, State};
use crate::report::{Screen, StageReport};
use crate::run::{RecordError, RunRecord};
use crate::worker::{JobResult, Mode, WorkerError};

/// How often a key that another process works on is looked at.
const POLL: Duration = Duration::from_millis(200);

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A stage failed, crashed or was cancelled.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// A stage that had to wait can't be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A stage that had to wait must not run, now that its inputs are known.
    #[error("stage `{stage}` can't run on what it was given")]
    Refused {
        /// The stage.
        stage: String,
        /// Why not, among others.
        findings: Vec<Finding>,
    },
    /// Files that an artifact points at are not what they were.
    #[error("`{}` changed while the pipeline ran, and `{stage}` needs it as it was", file.display())]
    InputChanged {
        /// The stage that needs it.
        stage: String,
        /// The file.
        file: PathBuf,
    },
    /// The user asked to stop between two stages.
    #[error("stopped on request")]
    Cancelled,
    /// The cache can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run directory can't be written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Runs one planned pipeline.
pub struct Dispatcher<'a> {
    planner: &'a Planner<'a>,
    record: &'a mut RunRecord,
    screen: &'a mut Screen,
    known: KnownOutputs,
    /// Where each stage's result lies.
    results: BTreeMap<String, (PathBuf, JobResult)>,
}

impl<'a> Dispatcher<'a> {
    /// A run that leaves its traces in `record` and on `screen`.
    pub fn new(planner: &'a Planner<'a>, record: &'a mut RunRecord, screen: &'a mut Screen) -> Self {
        Self { planner, record, screen, known: KnownOutputs::default(), results: BTreeMap::new() }
    }

    /// Runs to the end or to the first failure. Reports of finished stages are in the record either way.
    pub fn run(mut self, plan: &PipelinePlan) -> Result<(), RunError> {
        let stages = &self.planner.pipeline.stages;
        let index = |name: &str| stages.iter().position(|s| s.name == name);
        let needs: Vec<Vec<usize>> = stages.iter().map(|s| s.needs().filter_map(index).collect()).collect();
        let mut progress = vec![Progress::Waiting; stages.len()];
        while let Some(&next) = ready(&needs, &progress).first() {
            self.check_cancelled()?;
            self.stage(&stages[next], &plan.stages[next])?;
            progress[next] = Progress::Done;
        }
        Ok(())
    }

    fn stage(&mut self, stage: &ResolvedStage, planned: &StagePlan) -> Result<(), RunError> {
        let planned = match planned.state {
            State::Cached { .. } => planned.clone(),
            State::Run { .. } | State::Later { .. } => self.planner.again(stage, &self.known, planned)?,
        };
        self.screen.findings(&stage.name, &planned.plan.findings);
        if planned.is_refused() {
            return Err(RunError::Refused { stage: stage.name.clone(), findings: planned.plan.findings });
        }
        let (key, attempt, result, cached) = match planned.state.clone() {
            State::Cached { key, attempt, result } => (key, attempt, *result, true),
            State::Run { key: Some(key), why } => {
                let (attempt, result, cached) = self.make(stage, &planned, &key, &why)?;
                (key, attempt, result, cached)
            }
            // Every stage that this one needs is done, and an input that was not made is refused above.
            State::Run { key: None, .. } | State::Later { .. } => unreachable!("stage `{}` has no key", stage.name),
        };
        self.planner.store.remember_last_key(&self.planner.pipeline.file, &stage.name, &key);
        self.known.take_result(&stage.name, &attempt, &result);
        let report = StageReport::new(stage, &planned, &key, &attempt, &result, cached);
        self.screen.stage_done(&report);
        self.record.stage_done(stage, &planned, &key, &result, report)?;
        self.results.insert(stage.name.clone(), (attempt, result));
        Ok(())
    }

    /// Makes a stage's result, unless another process made it meanwhile.
    fn make(
        &mut self,
        stage: &ResolvedStage,
        planned: &StagePlan,
        key: &KeyParts,
        why: &str,
    ) -> Result<(PathBuf, JobResult, bool), RunError> {
        let slot = self.planner.slot(key);
        let _lock = self.take(&slot, &stage.name)?;
        if let Some((attempt, result)) = slot.artifact() {
            return Ok((attempt, result, true));
        }
        self.check_references(stage)?;
        let attempt = slot.new_attempt(key)?;
        let mut params = stage.params.clone();
        if let Some(object) = params.as_object_mut() {
            object.extend(planned.plan.resolved.clone());
        }
        let inputs: BTreeMap<String, Input> = planned.inputs.clone();
        let mut job = self.planner.job(stage, Mode::Run, inputs, params);
        job.request.attempt = Some(attempt.clone());
        job.request.scratch = Some(slot.scratch());
        job.promises = planned.plan.outputs.clone();
        job.extensions = Some(planned.extensions.clone());
        job.memory_limit = self.planner.resources.hard_limit();
        self.screen.stage_started(&stage.name, why);
        let (record, screen) = (&mut *self.record, &mut *self.screen);
        let jobs = record.layout().stage(&stage.name);
        let mut on_event = |event: &crate::worker::Event| {
            record.event(&stage.name, event);
            screen.event(&stage.name, event);
        };
        let result = self.planner.executor.execute(&job, &jobs, &mut on_event, self.planner.cancel);
        self.screen.stage_ended();
        let result = result?;
        slot.settle(&result);
        Ok((attempt, result, false))
    }

    /// Takes a key for this process, after whoever else is at it.
    fn take(&mut self, slot: &Slot, stage: &str) -> Result<SlotLock, RunError> {
        let mut said = false;
        loop {
            match slot.lock()? {
                // A worker can outlive its host for some seconds, until it notices.
                Ok(lock) if !slot.running() => return Ok(lock),
                Ok(_) => {}
                Err(owner) if !said => {
                    self.screen.note(&format!("stage `{stage}` is being made by process {owner}; waiting for it"));
                    said = true;
                }
                Err(_) => {}
            }
            self.check_cancelled()?;
            thread::sleep(POLL);
        }
    }

    fn check_references(&self, stage: &ResolvedStage) -> Result<(), RunError> {
        for from in stage.inputs.values() {
            let run = self.results.get(&from.stage).and_then(|(_, result)| result.run());
            let output = run.and_then(|r| r.outputs.get(&from.output));
            if let Some(file) = output.and_then(|o| changed_file(o, self.planner.store.digests())) {
                return Err(RunError::InputChanged { stage: stage.name.clone(), file });
            }
        }
        Ok(())
    }

    fn check_cancelled(&self) -> Result<(), RunError> {
        if self.planner.cancel.load(Ordering::Relaxed) { Err(RunError::Cancelled) } else { Ok(()) }
    }
}
