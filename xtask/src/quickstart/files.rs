//! Where the files are, and how to chat with them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::host::{HostError, at};

/// Paths and commands of both ways to ship.
pub fn how_to_chat(run_dir: &Path) -> Result<String, HostError> {
    let merged = Shipment::find(run_dir, "merged", "model")?;
    let base = Shipment::find(run_dir, "base", "model")?;
    let lora = Shipment::find(run_dir, "lora", "adapter")?;
    let gguf = |shipment: &Shipment| shipment.gguf.display().to_string();
    Ok(format!(
        "merged into one file\n  {}\n  llama-cli -m {}\n{}\n\
         the base untouched, the adapter beside it\n  {}\n  llama-cli -m {} --lora {}\n{}",
        gguf(&merged),
        gguf(&merged),
        merged.ollama("pipwren"),
        gguf(&lora),
        gguf(&base),
        gguf(&lora),
        lora.ollama("pipwren-adapter"),
    ))
}

/// A GGUF, and the directory where its `Modelfile` lies.
struct Shipment {
    gguf: PathBuf,
}

impl Shipment {
    /// Below the run's links to outputs: a file, or a directory with one GGUF.
    fn find(run_dir: &Path, stage: &str, port: &str) -> Result<Self, HostError> {
        let output = run_dir.join("outputs").join(stage).join(port);
        if output.is_file() {
            return Ok(Self { gguf: output });
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(&output).map_err(at(&output))? {
            files.push(entry.map_err(at(&output))?.path());
        }
        let missing = || HostError::Missing { what: format!("GGUF of stage `{stage}`") };
        let gguf = files.into_iter().find(|path| path.extension().is_some_and(|e| e == "gguf")).ok_or_else(missing)?;
        Ok(Self { gguf })
    }

    /// The commands for Ollama, where it has what it needs.
    fn ollama(&self, name: &str) -> String {
        let Some(modelfile) = self.gguf.parent().map(|dir| dir.join("Modelfile")).filter(|path| path.is_file()) else {
            return String::new();
        };
        format!("  ollama create {name} -f {} && ollama run {name}\n", modelfile.display())
    }
}
