//! Writes the run directory while the run goes on, so that a crash leaves everything up to it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::lineage::Lineage;
use super::{RunLayout, resolved};
use crate::key::KeyParts;
use crate::pipeline::{Pipeline, ResolvedStage};
use crate::planning::StagePlan;
use crate::platform;
use crate::report::{RunReport, Series, StageReport, page};
use crate::worker::{Event, EventBody, JobResult};

/// A run directory that can't be written.
#[derive(Debug, thiserror::Error)]
#[error("the run directory fails: `{}`: {source}", path.display())]
pub struct RecordError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// The traces of one run.
pub struct RunRecord {
    layout: RunLayout,
    events: File,
    metrics: File,
    lineage: Lineage,
    report: RunReport,
    series: Series,
}

fn at(path: &Path) -> impl Fn(io::Error) -> RecordError {
    move |source| RecordError { path: path.into(), source }
}

impl RunRecord {
    /// Makes the run directory and writes what is known at the start.
    pub fn start(layout: RunLayout, pipeline: &Pipeline, threads: usize) -> Result<Self, RecordError> {
        fs::create_dir_all(layout.root()).map_err(at(layout.root()))?;
        let path = layout.pipeline();
        // Running a resolved pipeline in its own directory must not rewrite what the user runs.
        if path != pipeline.file {
            let text = resolved::text(pipeline).map_err(io::Error::other);
            text.and_then(|t| fs::write(&path, t)).map_err(at(&path))?;
        }
        let create = |path: PathBuf| File::create(&path).map_err(at(&path));
        Ok(Self {
            events: create(layout.events())?,
            metrics: create(layout.metrics())?,
            lineage: Lineage::new(threads),
            report: RunReport::new(&pipeline.name, layout.root()),
            series: Series::default(),
            layout,
        })
    }

    /// Every path of the run.
    pub fn layout(&self) -> &RunLayout {
        &self.layout
    }

    /// Takes one event of a stage's worker. A full disk must not stop the work that it reports on.
    pub fn event(&mut self, stage: &str, event: &Event) {
        let time = Timestamp::now().to_string();
        if let Ok(Value::Object(body)) = serde_json::to_value(event) {
            let mut line = serde_json::Map::from_iter([("time".into(), json!(time)), ("stage".into(), json!(stage))]);
            // The result is in the attempt and, shortened, in the report.
            line.extend(body.into_iter().filter(|(name, _)| name != "result"));
            let _ = writeln!(self.events, "{}", Value::Object(line));
        }
        match &event.body {
            EventBody::Metric { name, step, value } => {
                self.series.add(stage, name, *step, *value);
                let point = json!({"time": time, "stage": stage, "name": name, "step": step, "value": value});
                let _ = writeln!(self.metrics, "{point}");
            }
            EventBody::Log(record) => {
                let fields = if record.fields.is_null() { String::new() } else { format!(" {}", record.fields) };
                let level = format!("{:?}", record.level).to_uppercase();
                let line = format!("{time} {level:5} {}: {}{fields}\n", record.target, record.message);
                let log = File::options().create(true).append(true).open(self.layout.log(stage));
                let _ = log.and_then(|mut f| f.write_all(line.as_bytes()));
            }
            _ => {}
        }
    }

    /// Takes a stage's result.
    pub fn stage_done(
        &mut self,
        stage: &ResolvedStage,
        planned: &StagePlan,
        key: &KeyParts,
        result: &JobResult,
        report: StageReport,
    ) -> Result<(), RecordError> {
        self.link_outputs(&report)?;
        self.lineage.add(stage, planned, key, result);
        self.write(&self.layout.lineage(), &self.lineage)?;
        self.report.stages.push(report);
        Ok(())
    }

    /// Writes the end and returns it.
    pub fn finish(mut self, seconds: f64, error: Option<&Value>) -> Result<RunReport, RecordError> {
        self.report.seconds = seconds;
        self.report.error = error.cloned();
        self.write(&self.layout.report(), &self.report)?;
        let page_path = self.layout.page();
        fs::write(&page_path, page(&self.report, &self.series)).map_err(at(&page_path))?;
        Ok(self.report)
    }

    fn link_outputs(&self, report: &StageReport) -> Result<(), RecordError> {
        let dir = self.layout.outputs(&report.stage);
        fs::create_dir_all(&dir).map_err(at(&dir))?;
        for (port, output) in &report.outputs {
            let link = dir.join(port);
            platform::link(&output.path, &link).map_err(at(&link))?;
        }
        Ok(())
    }

    fn write(&self, path: &Path, value: &impl serde::Serialize) -> Result<(), RecordError> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other);
        text.and_then(|t| fs::write(path, t + "\n")).map_err(at(path))
    }
}
