//! The scripts that make golden files, with what each takes. A file whose script needs more than these programs bring
//! (a published tokenizer, Go) is made by hand, as the README beside it says.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ParityError;
use super::sides::Sides;
use crate::workspace::{Workspace, output};

/// Makes every golden file again, where it lies.
///
/// # Errors
/// Where a script fails, or git sees a difference.
pub fn make(sides: &Sides<'_>) -> Result<(), ParityError> {
    let (workspace, llama_cpp) = (sides.workspace, sides.llama_cpp()?);
    let at = |path: &str| workspace.root().join(path);
    let tiny = ["--steps", "10", "--batch", "3", "--accumulation", "2", "--rank", "4", "--lr", "5e-3"];
    let tiny = tiny.into_iter().chain(["--warmup-percent", "20", "--clip", "0.8", "--threads", "1"]);
    let training = "stages/train-candle/tests/data";
    let scripts: [(&str, Vec<PathBuf>); 7] = [
        ("crates/blocks/tests/golden/make.py", vec![llama_cpp.built().join("libggml-base.so")]),
        ("crates/checkpoint/tests/data/make.py", vec![]),
        ("crates/tokenizer/tests/golden/scripts/chat_templates.py", vec![]),
        ("crates/tokenizer/tests/golden/scripts/llama_ids.py", vec![llama_cpp.bindings.clone()]),
        ("crates/decoder/tests/data/make_golden.py", vec![at("crates/decoder/tests/data/synthetic_llama.safetensors")]),
        ("xtask/parity/adamw_golden.py", vec![at(training).join("adamw.json")]),
        (
            "xtask/parity/peft_steps.py",
            ["tiny".into(), at(training).join("peft-tiny")].into_iter().chain(tiny.map(PathBuf::from)).collect(),
        ),
    ];
    for (script, args) in &scripts {
        sides.peers.run(&at(script), args)?;
    }
    unchanged(workspace, &["crates", "stages"].map(Path::new))?;
    println!("golden files: what transformers, PEFT and llama.cpp give today");
    Ok(())
}

/// git knows what the files were.
fn unchanged(workspace: &Workspace, below: &[&Path]) -> Result<(), ParityError> {
    let mut git = Command::new("git");
    git.current_dir(workspace.root()).args(["status", "--porcelain", "--"]);
    git.args(below.iter().flat_map(|room| [room.join("*/tests/golden/*"), room.join("*/tests/data/*")]));
    let files = output(&mut git)?;
    if files.trim().is_empty() { Ok(()) } else { Err(ParityError::GoldenChanged { files }) }
}
