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

/// How far llama.cpp was from the reference in the stage `evaluate`, in nats a token.
pub fn divergence(report: &Value) -> f64 {
    let path = output(report, "evaluate", "report").join("report.json");
    let text = std::fs::read_to_string(path).expect("a report");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    report["divergence"]["mean"].as_f64().expect("a divergence").abs()
}
