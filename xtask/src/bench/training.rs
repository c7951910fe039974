//! `cargo xtask bench training`: training here and in PEFT, one after the other on one machine.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::BenchError;
use super::figures::Figures;
use super::table;
use crate::host::{self, HostError, at};
use crate::peers::Peers;
use crate::workspace::Workspace;

/// What PyTorch's matrix product reaches, GFLOP/s.
#[derive(Deserialize)]
pub struct Peak {
    pub cpu: String,
    pub threads: usize,
    pub f32: f64,
    pub bf16: f64,
}

/// Texts, each longer than a sample's 256 tokens.
const TEXTS: usize = 16;
const STEPS: usize = 6;

/// Measures both sides and prints the table.
///
/// # Errors
/// Where one side fails.
pub fn bench(workspace: &Workspace) -> Result<(), BenchError> {
    workspace.prepare()?;
    let program = Workspace::host(&workspace.build()?);
    let peers = Peers::bring(workspace.root())?;
    let directory = workspace.root().join("target/bench");
    let scripts = workspace.root().join("xtask/bench");
    let text = write_texts(workspace, &directory)?;

    let peak: Peak = peers.ask(&scripts.join("gemm_peak.py"), [""; 0])?;
    let cache = directory.join("cache");
    if cache.exists() {
        fs::remove_dir_all(&cache).map_err(at(&cache))?; // what was measured once would not be measured again
    }
    let report = host::run(&program, &scripts.join("bench.toml"), &directory, |command| {
        command.env("HOST_CACHE_DIR", &cache).args(["--set", &format!("vars.steps={STEPS}")]);
    })?;
    let ours = |stage: &str, name: &str| Figures::of_stage(&report.run_dir, stage, name);
    let model = report.output("bf16", "model")?.to_owned();
    let peft: Figures = peers.ask(&scripts.join("peft_train.py"), peft_args(&model, &text))?;
    let rows = [
        ("4 × 256, bf16 base", ours("train-bf16", "host")?),
        ("4 × 256, Q4_1 GGUF as base", ours("train-q4_1", "host")?),
        ("4 × 256, f32 base", peft),
        ("1 × 256, Q4_1 GGUF as base", ours("train-q4_1-single", "host")?),
    ];
    println!("\n{}", table::table(&peak, &rows));
    Ok(())
}

fn peft_args(model: &Path, text: &Path) -> Vec<PathBuf> {
    let numbers = ["4", "256", &STEPS.to_string(), "16"].map(PathBuf::from);
    [model.to_owned(), text.to_owned()].into_iter().chain(numbers).collect()
}

/// The neutral text in pieces, as JSON lines.
fn write_texts(workspace: &Workspace, directory: &Path) -> Result<PathBuf, HostError> {
    let source = workspace.root().join("pipelines/data/quickstart/neutral.txt");
    let text = fs::read_to_string(&source).map_err(at(&source))?;
    let words: Vec<&str> = text.split(' ').collect();
    let pieces = words.chunks(words.len().div_ceil(TEXTS));
    let lines: String = pieces.map(|piece| format!("{}\n", serde_json::json!({ "text": piece.join(" ") }))).collect();
    fs::create_dir_all(directory).map_err(at(directory))?;
    let path = directory.join("text.jsonl");
    fs::write(&path, lines).map_err(at(&path))?;
    Ok(path)
}
