//! The pipeline as it ran, as a pipeline file that gives the same run again.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::pipeline::{Pipeline, ResolvedStage};

#[derive(Serialize)]
struct File<'a> {
    schema: u32,
    pipeline: Name<'a>,
    stages: BTreeMap<&'a str, Stage<'a>>,
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Stage<'a> {
    uses: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    after: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    inputs: BTreeMap<&'a str, String>,
    with: &'a Value,
}

/// The text of the resolved pipeline file.
pub fn text(pipeline: &Pipeline) -> Result<String, toml::ser::Error> {
    let stage = |s: &'_ ResolvedStage| format!("{}/{}", s.offer.plugin, s.offer.signature.id);
    let stages = pipeline.stages.iter().map(|s| {
        let inputs = s.inputs.iter().map(|(port, from)| (port.as_str(), format!("{}.{}", from.stage, from.output)));
        let entry = Stage { uses: stage(s), after: &s.after, inputs: inputs.collect(), with: &s.params };
        (s.name.as_str(), entry)
    });
    toml::to_string(&File { schema: 1, pipeline: Name { name: &pipeline.name }, stages: stages.collect() })
}
