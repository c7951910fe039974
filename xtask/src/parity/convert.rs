//! Models converted by us and by llama.cpp, held against each other byte by byte.

use std::env;
use std::path::{Path, PathBuf};

use super::ParityError;
use super::sides::{Sides, source};
use crate::host::gguf_in;
use crate::llama_cpp::LlamaCpp;

/// Stages of `convert.toml` that write a GGUF, by what they write; `f32` first, for others are made from it.
const TYPES: [&str; 6] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"];
/// Names a directory with `models/`; those of them that are compared too where they are there.
const FIXTURES: &str = "FIXTURES";
const FIXTURE_MODELS: [&str; 2] = ["SmolLM2-135M-Instruct", "tiny-llama32"];

/// SmolLM2; a tiny Llama of random values whose RoPE is scaled and whose head is its own; and models of `FIXTURES`.
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
    for (name, model) in fixtures() {
        compare_model(sides, &llama_cpp, name, &model)?;
    }
    Ok(())
}

fn fixtures() -> Vec<(&'static str, PathBuf)> {
    let Some(fixtures) = env::var_os(FIXTURES).map(PathBuf::from) else { return Vec::new() };
    let models = FIXTURE_MODELS.map(|name| (name, fixtures.join("models").join(name)));
    models.into_iter().filter(|(_, model)| model.is_dir()).collect()
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
