//! The pipeline file, checked in passes: text → tree → typed → resolved against what plugins offer.
//!
//! Each pass collects all its mistakes; a later pass runs only where an earlier one left something to judge.

mod graph;
mod names;
mod node;
mod overrides;
mod params;
mod problem;
mod raw;
mod resolve;
pub mod schema;
mod source;
mod variables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use stage_api::Signature;
use toml::de::DeTable;

pub use problem::{Problem, Problems};
use raw::{RawPipeline, Reader};
use source::{Located, Sources, Span};

use node::{Table, Value};

/// A stage that some plugin offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// The plugin's name.
    pub plugin: String,
    /// Its file.
    pub path: PathBuf,
    /// Digest of that file.
    pub digest: String,
    /// What the stage takes and gives.
    pub signature: Signature,
}

/// Output `output` of stage `stage`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutputRef {
    /// The stage's name in the pipeline.
    pub stage: String,
    /// The output port.
    pub output: String,
}

/// A stage of the pipeline with every name looked up.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedStage {
    /// The name in the pipeline.
    pub name: String,
    /// What it uses.
    pub offer: Offer,
    /// Where each connected input comes from.
    pub inputs: BTreeMap<String, OutputRef>,
    /// Stages that must be done before, without data.
    pub after: Vec<String>,
    /// Parameters, paths absolute.
    pub params: Json,
}

impl ResolvedStage {
    /// Every stage that must be done before this one.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        self.inputs.values().map(|s| s.stage.as_str()).chain(self.after.iter().map(String::as_str))
    }
}

/// A pipeline that can be planned.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// `pipeline.name`, or the file's stem.
    pub name: String,
    /// The pipeline file, absolute.
    pub file: PathBuf,
    /// Its directory.
    pub base_dir: PathBuf,
    /// Stages in an order in which they can run.
    pub stages: Vec<ResolvedStage>,
}

/// A pipeline file that was read, before plugins are known.
#[derive(Debug)]
pub struct PipelineFile {
    file: PathBuf,
    raw: RawPipeline,
    sources: Sources,
    problems: Vec<Located<Problem>>,
}

impl PipelineFile {
    /// Parses `text`, the content of `file` (an absolute path), and lays the `--set` flags over it.
    ///
    /// Mistakes of syntax are returned at once; others wait for [`PipelineFile::resolve`].
    pub fn parse(file: &Path, shown_as: &str, text: &str, flags: &[String]) -> Result<Self, Problems> {
        let mut sources = Sources::default();
        let source = sources.add(shown_as, text);
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut problems: Vec<Located<Problem>> = errors
            .iter()
            .map(|e| {
                let span = Span { source, range: e.span().unwrap_or(0..0) };
                Located::new(Problem::Syntax { message: e.message().into() }, span)
            })
            .collect();
        let mut root = Table::from_toml(root.into_inner(), source);
        let mut overlays = Vec::new();
        for flag in flags {
            match overrides::parse_flag(flag, &mut sources) {
                Ok(table) => overlays.push(table),
                Err(problem) => problems.push(*problem),
            }
        }
        if problems.is_empty() {
            let whole = Span { source, range: 0..text.len() };
            problems.extend(raw::check_schema(&root, whole));
        }
        if !problems.is_empty() {
            return Err(Problems { sources, list: problems });
        }
        for table in overlays {
            problems.extend(overrides::check_flag(&table, &root));
            root.overlay(table);
        }
        substitute(&mut root, &mut problems);
        let raw = Reader::new(&mut problems).pipeline(&root);
        Ok(Self { file: file.to_owned(), raw, sources, problems })
    }

    /// Directories named by `pipeline.plugins`, absolute.
    pub fn plugin_dirs(&self) -> Vec<PathBuf> {
        self.raw.plugins.iter().map(|p| self.base_dir().join(p)).collect()
    }

    /// Checks everything else against what plugins offer.
    pub fn resolve(mut self, offers: &[Offer]) -> Result<Pipeline, Problems> {
        let base_dir = self.base_dir().to_owned();
        let stages = resolve::resolve(&self.raw, offers, &base_dir, &mut self.problems);
        if !self.problems.is_empty() {
            self.problems.sort_by_key(|p| (p.span.source, p.span.range.start));
            return Err(Problems { sources: self.sources, list: self.problems });
        }
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Pipeline { name: self.raw.name.unwrap_or(stem), file: self.file, base_dir, stages })
    }

    fn base_dir(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }
}

/// Puts the values of `[vars]` where `${…}` names them.
fn substitute(root: &mut Table, problems: &mut Vec<Located<Problem>>) {
    let table = |key: &str| match root.get(key).map(|e| &e.node.value) {
        Some(Value::Table(table)) => table.clone(),
        _ => Table::default(),
    };
    let vars = table("vars");
    let axes = table("matrix").keys();
    variables::refuse_nested(&vars, problems);
    for entry in root.0.iter_mut().filter(|e| e.key.value == "stages" || e.key.value == "pipeline") {
        if let Value::Table(table) = &mut entry.node.value {
            variables::substitute(table, &vars, &axes, problems);
        }
    }
}

#[cfg(test)]
mod tests;
