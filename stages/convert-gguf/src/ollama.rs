//! An Ollama `Modelfile` beside what is shipped.

use std::fs;
use std::path::Path;

use checkpoint::Checkpoint;
use stage_api::{Error, Result};
use stage_model::{ModelInput, tokenizer_of};
use tokenizer::chat_template::ollama_template;

/// Writes `Modelfile` into `dir`: `lines` (`FROM`, `ADAPTER`), then stop texts and, for chat templates that are
/// recognised, the `TEMPLATE` in Go; a template that is not is said in a comment.
pub fn write(dir: &Path, lines: &[(&str, &str)], checkpoint: &Checkpoint, model: &ModelInput) -> Result<()> {
    let pre = model.description.provenance.get("pre").map(String::as_str);
    let (tokenizer, _) = tokenizer_of(checkpoint, pre)?;
    let mut text: String = lines.iter().map(|(word, value)| format!("{word} ./{value}\n")).collect();
    match tokenizer.chat_template().and_then(ollama_template) {
        Some(known) => {
            text.push_str(&format!("TEMPLATE \"\"\"{}\"\"\"\n", known.template));
            known.stop.iter().for_each(|stop| text.push_str(&format!("PARAMETER stop {stop:?}\n")));
        }
        None => text.push_str(
            "# The chat template has no known spelling in Go; Ollama uses the one in the GGUF where it can.\n",
        ),
    }
    let path = dir.join("Modelfile");
    fs::write(&path, text).map_err(|e| Error::from_source("io", &e).with_cause(path.display().to_string()))
}
