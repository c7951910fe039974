//! What goes to stderr while a pipeline runs: a bar on a terminal, a line now and then elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use stage_api::hosting::Level;
use stage_api::{Finding, Severity};

use super::run_report::{StageReport, figure};
use super::{bytes, seconds, visible};
use crate::worker::{Event, EventBody};

/// Between two plain lines of progress.
const PLAIN_PAUSE: Duration = Duration::from_secs(5);
/// Figures beside a bar.
const SHOWN_METRICS: usize = 3;

/// The user's view of a run.
pub struct Screen {
    is_terminal: bool,
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
    metrics: BTreeMap<String, f64>,
    /// Findings that were printed, so that each is printed once.
    printed: BTreeSet<(String, String, String)>,
}

impl Screen {
    /// A view on stderr.
    pub fn on_stderr() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            bar: None,
            last_line: None,
            metrics: BTreeMap::new(),
            printed: BTreeSet::new(),
        }
    }

    /// A line of its own.
    pub fn note(&self, text: &str) {
        let text = visible(text);
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Prints findings that were not printed before; `stage` is empty for the pipeline itself.
    pub fn findings(&mut self, stage: &str, findings: &[Finding]) {
        for finding in findings {
            let identity = (stage.to_owned(), finding.code.clone(), finding.message.clone());
            if self.printed.insert(identity) {
                self.note(&finding_text(stage, finding));
            }
        }
    }

    /// A stage starts to run.
    pub fn stage_started(&mut self, stage: &str, why: &str) {
        self.metrics.clear();
        self.last_line = Some(Instant::now());
        self.note(&format!("{stage}: running ({why})"));
        if self.is_terminal {
            let bar = ProgressBar::new_spinner().with_prefix(stage.to_owned());
            bar.set_style(style("{prefix} {spinner} {elapsed} {wide_msg}"));
            bar.enable_steady_tick(Duration::from_millis(120));
            self.bar = Some(bar);
        }
    }

    /// Something happened in the stage that runs.
    pub fn event(&mut self, stage: &str, event: &Event) {
        match &event.body {
            EventBody::Progress { unit, done, total } => self.progress(stage, unit, *done, *total),
            EventBody::Metric { name, value: Some(value), .. } => {
                self.metrics.insert(name.clone(), *value);
                if let Some(bar) = &self.bar {
                    bar.set_message(self.metrics_text());
                }
            }
            EventBody::Log(record) if record.level <= Level::Warn => {
                let level = if record.level == Level::Warn { "warning" } else { "error" };
                self.note(&format!("{level}: {stage}: {}", record.message));
            }
            _ => {}
        }
    }

    fn progress(&mut self, stage: &str, unit: &str, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            if total > 0 && bar.length() != Some(total) {
                bar.set_length(total);
                bar.set_style(style("{prefix} [{bar:30}] {human_pos}/{human_len} {wide_msg} {elapsed} (left {eta})"));
            }
            bar.set_position(done);
            if self.metrics.is_empty() {
                bar.set_message(unit.to_owned());
            }
            return;
        }
        if self.last_line.is_none_or(|t| t.elapsed() >= PLAIN_PAUSE) {
            self.last_line = Some(Instant::now());
            let of = if total > 0 { format!(" of {total}") } else { String::new() };
            let metrics = self.metrics_text();
            let metrics = if metrics.is_empty() { metrics } else { format!(", {metrics}") };
            self.note(&format!("{stage}: {done}{of} {unit}{metrics}"));
        }
    }

    fn metrics_text(&self) -> String {
        let shown = self.metrics.iter().take(SHOWN_METRICS).map(|(name, value)| format!("{name} {}", figure(*value)));
        shown.collect::<Vec<_>>().join(", ")
    }

    /// The stage that ran does not run any more, however it ended.
    pub fn stage_ended(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// A stage's result is there.
    pub fn stage_done(&mut self, report: &StageReport) {
        self.findings(&report.stage, &report.findings);
        if report.cached {
            return self.note(&format!("{}: cached", report.stage));
        }
        let memory = report.memory.map(|m| format!(", {} of memory", bytes(m))).unwrap_or_default();
        self.note(&format!("{}: done in {}{memory}", report.stage, seconds(report.seconds)));
    }
}

fn style(template: &str) -> ProgressStyle {
    // A template of ours that indicatif refuses would be a typo here; its default bar does as well.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A finding as a message.
fn finding_text(stage: &str, finding: &Finding) -> String {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Advice => "advice",
        Severity::Note => "note",
    };
    let stage = if stage.is_empty() { String::new() } else { format!(" {stage}:") };
    let help = finding.help.iter().map(|h| format!("\n  help: {h}")).collect::<String>();
    format!("{severity}:{stage} {}{help}", finding.message)
}
