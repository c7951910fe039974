//! Where the files are, and how to chat with them.

use std::path::{Path, PathBuf};

use crate::host::{HostError, gguf_in};

/// Paths and commands of both ways to ship. The run directory links to them under the stages' names.
pub fn how_to_chat(run_dir: &Path) -> Result<String, HostError> {
    let find = |stage: &str, port: &str| gguf_in(&run_dir.join("outputs").join(stage).join(port));
    let (base, merged, lora) = (find("base", "model")?, find("merged", "model")?, find("lora", "adapter")?);
    Ok(format!(
        "merged into one file\n  llama-cli -m {}\n{}\nthe base untouched, the adapter beside it\n  llama-cli -m {} --lora {}\n{}",
        merged.display(),
        ollama(&merged, "pipwren"),
        base.display(),
        lora.display(),
        // Ollama has to be told where the base lies.
        modelfile(&lora).map_or_else(String::new, |path| format!("  for Ollama see {}\n", path.display())),
    ))
}

/// The command for Ollama, where a `Modelfile` lies beside the GGUF.
fn ollama(gguf: &Path, name: &str) -> String {
    modelfile(gguf)
        .map_or_else(String::new, |path| format!("  ollama create {name} -f {} && ollama run {name}\n", path.display()))
}

fn modelfile(gguf: &Path) -> Option<PathBuf> {
    Some(gguf.parent()?.join("Modelfile")).filter(|path| path.is_file())
}
