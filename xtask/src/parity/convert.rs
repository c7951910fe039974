//! Models converted by us and by llama.cpp, held against each other byte by byte.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::ParityError;
use super::sides::{Sides, source};
use crate::host::{HostError, at, gguf_in};
use crate::llama_cpp::LlamaCpp;

/// Stages of `convert.toml` that write a GGUF, by what they write; `f32` first, for others are made from it.
const TYPES: [&str; 6] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"];
/// Names a directory with `models/`, whose models are compared too.
pub const FIXTURES: &str = "FIXTURES";

/// SmolLM2; a tiny Llama of random values whose RoPE is scaled and whose head is its own; and the models of `FIXTURES`.
///
/// # Errors
/// Where one side fails, or they differ.
pub fn compare(sides: &Sides<'_>) -> Result<(), ParityError> {
    let llama_cpp = sides.llama_cpp()?;
    let smollm2 = sides.smollm2()?;
    let untied = sides.work("untied-llama");
    sides.peers.run(&sides.script("untied_llama.py"), [&smollm2, &untied])?;
    compare_model(sides, &llama_cpp, "SmolLM2", &smollm2)?;
    compare_model(sides, &llama_cpp, "untied-llama", &untied)?;
    for (name, model) in fixtures()? {
        compare_model(sides, &llama_cpp, &name, &model)?;
    }
    Ok(())
}

/// The models of `FIXTURES` by name, none where it is not set.
///
/// # Errors
/// Where it names no such directory.
pub fn fixtures() -> Result<Vec<(String, PathBuf)>, HostError> {
    let Some(home) = env::var_os(FIXTURES).map(PathBuf::from) else { return Ok(Vec::new()) };
    let models = home.join("models");
    let mut found = Vec::new();
    for entry in fs::read_dir(&models).map_err(at(&models))? {
        let path = entry.map_err(at(&models))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.join("config.json").is_file() {
            found.push((name, path));
        }
    }
    found.sort();
    Ok(found)
}

fn compare_model(sides: &Sides<'_>, llama_cpp: &LlamaCpp, name: &str, model: &Path) -> Result<(), ParityError> {
    println!("convert: {name}");
    let report = sides.host("convert.toml", &[("model", source(model))])?;
    let mut args = vec![llama_cpp.sources(), model.to_owned(), sides.work("theirs")];
    for kind in TYPES {
        let file = gguf_in(report.output(kind, "model")?)?;
        args.push(format!("{kind}={}", file.display()).into());
    }
    Ok(sides.peers.run(&sides.script("convert.py"), args)?)
}
