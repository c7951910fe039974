//! What is known about outputs so far: planned, or made.

use std::collections::BTreeMap;
use std::path::PathBuf;

use stage_api::{Description, Input};

use super::known_of;
use super::stage_plan::{StagePlan, State};
use crate::key::InputParts;
use crate::pipeline::{OutputRef, ResolvedStage};
use crate::worker::JobResult;

/// What is known about one output.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Planned or true.
    pub description: Description,
    /// Where it lies, once it was made, or where it lay before any run.
    pub path: Option<PathBuf>,
    /// Digest of its content, once it was made.
    pub content: Option<String>,
}

/// What is known about every output so far.
#[derive(Debug, Default)]
pub struct KnownOutputs(BTreeMap<OutputRef, Known>);

impl KnownOutputs {
    /// Takes over what a plan says: descriptions, or the artifact itself where it is there already.
    ///
    /// An output that is declared but not described is unknown until it is made.
    pub fn take_plan(&mut self, stage: &ResolvedStage, plan: &StagePlan) {
        if let State::Cached { attempt, result, .. } = &plan.state {
            return self.take_result(&stage.name, attempt, result);
        }
        for port in &stage.offer.signature.outputs {
            let planned = plan.plan.outputs.get(&port.name).cloned();
            let description = planned.unwrap_or_else(|| Description::unknown(&port.kind));
            let path = plan.plan.locations.get(&port.name).cloned();
            self.insert(&stage.name, &port.name, Known { description, path, content: None });
        }
    }

    /// Takes over what a run made; an optional output that it did not make is not known any more.
    pub fn take_result(&mut self, stage: &str, attempt: &std::path::Path, result: &JobResult) {
        self.0.retain(|output, _| output.stage != stage);
        for (port, known) in known_of(attempt, result) {
            self.insert(stage, &port, known);
        }
    }

    fn insert(&mut self, stage: &str, output: &str, known: Known) {
        self.0.insert(OutputRef { stage: stage.into(), output: output.into() }, known);
    }

    /// A stage's inputs as it is shown them.
    pub fn inputs(&self, stage: &ResolvedStage) -> BTreeMap<String, Input> {
        let input = |(port, from): (&String, &OutputRef)| {
            let known = self.0.get(from)?;
            Some((port.clone(), Input { description: known.description.clone(), path: known.path.clone() }))
        };
        stage.inputs.iter().filter_map(input).collect()
    }

    /// A connected input that will never be made: its stage left that output out.
    pub fn missing(&self, stage: &ResolvedStage) -> Option<OutputRef> {
        stage.inputs.values().find(|from| !self.0.contains_key(from)).cloned()
    }

    /// What a stage's inputs are, for its key; `Err` is a stage whose output is not made yet.
    pub fn contents(&self, stage: &ResolvedStage) -> Result<BTreeMap<String, InputParts>, String> {
        let parts = |known: &Known| {
            Some(InputParts { content: known.content.clone()?, facts: known.description.facts.clone() })
        };
        let content = |(port, from): (&String, &OutputRef)| match self.0.get(from).and_then(parts) {
            Some(parts) => Ok((port.clone(), parts)),
            None => Err(from.stage.clone()),
        };
        stage.inputs.iter().map(content).collect()
    }
}
