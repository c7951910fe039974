//! What a run's report says of its outputs.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Where an output of a stage lies.
pub fn output(report: &Value, stage: &str, output: &str) -> PathBuf {
    let stages = report["stages"].as_array().expect("stages");
    let stage = stages.iter().find(|s| s["stage"] == stage).unwrap_or_else(|| panic!("no `{stage}`: {report:#}"));
    stage["outputs"][output]["path"].as_str().expect("a path").into()
}

/// The GGUF in an output's directory.
pub fn gguf_in(directory: &Path) -> PathBuf {
    let mut entries = directory.read_dir().expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.find(|path| path.extension().is_some_and(|e| e == "gguf")).expect("a GGUF")
}
