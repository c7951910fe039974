//! A real model converted by us and by llama.cpp, held against each other byte by byte.

use std::path::{Path, PathBuf};

use super::ParityError;
use super::llama_cpp::LlamaCpp;
use crate::host::{self, gguf_in};
use crate::peers::Peers;
use crate::workspace::Workspace;

/// Stages of `convert.toml` that write a GGUF, by what they write; `f32` first, for others are made from it.
const TYPES: [&str; 6] = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"];

/// Converts SmolLM2 both ways; the script says what it compared.
///
/// # Errors
/// Where one side fails, or they differ.
pub fn compare(workspace: &Workspace, peers: &Peers, llama_cpp: &LlamaCpp) -> Result<(), ParityError> {
    let program = Workspace::host(&workspace.build()?);
    let directory = workspace.root().join("target/parity");
    let scripts = workspace.root().join("xtask/parity");
    let report = host::run(&program, &scripts.join("convert.toml"), &directory, |_| {})?;
    let checkpoint = report.output("checkpoint", "model")?.to_owned();
    let mut args: Vec<PathBuf> = vec![llama_cpp.sources(), checkpoint, directory.join("theirs")];
    for name in TYPES {
        let file = gguf_in(report.output(name, "model")?)?;
        args.push(format!("{name}={}", file.display()).into());
    }
    Ok(peers.run(&scripts.join("convert.py"), args.iter().map(Path::new))?)
}
