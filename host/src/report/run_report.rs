//! The end of a run, as data and as a table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use stage_api::Finding;

use super::{Table, bytes, seconds};
use crate::key::{Key, KeyParts};
use crate::pipeline::ResolvedStage;
use crate::planning::{StagePlan, known_of};
use crate::worker::JobResult;

/// The end of a run.
#[derive(Debug, Serialize)]
pub struct RunReport {
    /// The version of this form.
    pub schema: u32,
    /// The pipeline's name.
    pub pipeline: String,
    /// The run directory.
    pub run_dir: PathBuf,
    /// Wall time.
    pub seconds: f64,
    /// Finished stages, in order.
    pub stages: Vec<StageReport>,
    /// What ended the run early.
    pub error: Option<Value>,
}

impl RunReport {
    /// A report of a run that just started.
    pub fn new(pipeline: &str, run_dir: &Path) -> Self {
        let (pipeline, run_dir) = (pipeline.to_owned(), run_dir.to_owned());
        Self { schema: 1, pipeline, run_dir, seconds: 0.0, stages: Vec::new(), error: None }
    }
}

/// One finished stage.
#[derive(Debug, Serialize)]
pub struct StageReport {
    /// The name in the pipeline.
    pub stage: String,
    /// The id in `uses`.
    pub uses: String,
    /// Whether the result was there already.
    pub cached: bool,
    /// The key.
    pub key: Key,
    /// Outputs by port.
    pub outputs: BTreeMap<String, OutputReport>,
    /// Final figures.
    pub metrics: BTreeMap<String, f64>,
    /// What was found while planning and running.
    pub findings: Vec<Finding>,
    /// Wall time of the run that made the result.
    pub seconds: f64,
    /// Anonymous memory at most of that run, bytes.
    pub memory: Option<u64>,
    /// What `plan` expected, bytes.
    pub planned_memory: Option<u64>,
}

/// One output.
#[derive(Debug, Serialize)]
pub struct OutputReport {
    /// Where it lies.
    pub path: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
    /// Digest of its content.
    pub digest: String,
}

impl StageReport {
    /// The report of a result.
    pub fn new(
        stage: &ResolvedStage,
        planned: &StagePlan,
        key: &KeyParts,
        attempt: &Path,
        result: &JobResult,
        cached: bool,
    ) -> Self {
        let sealed = result.run().map(|r| r.outputs.clone()).unwrap_or_default();
        let output = |(port, known): (String, crate::planning::Known)| {
            let bytes = sealed.get(&port).map_or(0, |s| s.bytes);
            let (path, digest) = (known.path.unwrap_or_default(), known.content.unwrap_or_default());
            (port, OutputReport { path, bytes, digest })
        };
        let outcome = result.run().map(|r| r.outcome.clone()).unwrap_or_default();
        Self {
            stage: stage.name.clone(),
            uses: stage.offer.signature.id.clone(),
            cached,
            key: key.key(),
            outputs: known_of(attempt, result).into_iter().map(output).collect(),
            metrics: outcome.metrics,
            findings: planned.plan.findings.iter().chain(&outcome.findings).cloned().collect(),
            seconds: result.seconds,
            memory: result.memory.anonymous,
            planned_memory: planned.plan.estimate.memory,
        }
    }
}

/// Stages with time, memory and figures; then outputs by path.
pub fn run_summary(report: &RunReport) -> String {
    let mut stages = Table::new(&["stage", "", "time", "memory", "metrics"]);
    let mut outputs = Table::new(&["output", "size", "path"]);
    for stage in &report.stages {
        let metrics = stage.metrics.iter().map(|(name, value)| format!("{name} {}", figure(*value)));
        stages.row(vec![
            stage.stage.clone(),
            if stage.cached { "cached" } else { "made" }.into(),
            seconds(stage.seconds),
            stage.memory.map(bytes).unwrap_or_default(),
            metrics.collect::<Vec<_>>().join(", "),
        ]);
        for (port, output) in &stage.outputs {
            let name = if stage.outputs.len() == 1 { stage.stage.clone() } else { format!("{}.{port}", stage.stage) };
            outputs.row(vec![name, bytes(output.bytes), output.path.display().to_string()]);
        }
    }
    let mut text = stages.render();
    if report.stages.iter().any(|s| !s.outputs.is_empty()) {
        text += &format!("\n{}", outputs.render());
    }
    text + &format!("\n{} in {}\n", report.run_dir.display(), seconds(report.seconds))
}

/// A figure with the digits that matter.
pub fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !(1e-3..1e6).contains(&size) => format!("{value:.3e}"),
        _ if value.fract() == 0.0 => format!("{value}"),
        size if size >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.4}"),
    }
}
