//! An Ollama `Modelfile` beside what is shipped.

use std::fs;
use std::path::Path;

use checkpoint::Checkpoint;
use serde_json::Value;
use stage_api::{Error, Finding, Result, Severity};
use stage_model::{ModelInput, tokenizer_of};
use tokenizer::chat_template::ollama_template;

/// What the user has to do about the `Modelfile`: Ollama does not run the jinja that is in the GGUF, so a chat template
/// of no known style has to be written for it by hand.
pub fn findings(model: &ModelInput) -> Option<Finding> {
    let tokenizer = model.description.tokenizer.as_ref()?;
    let has_template = tokenizer["chat_templates"].as_array()?.iter().any(|name| name == "default");
    // A description of an earlier version does not say it.
    let is_known = tokenizer.get("ollama_template").and_then(Value::as_bool)?;
    (has_template && !is_known).then(|| {
        let message = "the chat template has no known spelling in Ollama's dialect, so the `Modelfile` holds no \
            `TEMPLATE`: Ollama may write prompts that the model was not trained on";
        Finding::new(Severity::Warning, "no_ollama_template", message).with_help(
            "for Ollama, write `TEMPLATE` into the `Modelfile` by hand; llama.cpp uses the chat template in the GGUF",
        )
    })
}

/// Writes `Modelfile` into `dir`: `FROM` with the GGUF's name, then stop texts and, for chat templates that are
/// recognised, the `TEMPLATE` in Go; what else there is to say about it is a comment.
pub fn write(dir: &Path, gguf: &str, checkpoint: &Checkpoint, model: &ModelInput) -> Result<()> {
    let pre = model.description.provenance.get("pre").map(String::as_str);
    let (tokenizer, _) = tokenizer_of(checkpoint, pre)?;
    let mut text = format!("FROM ./{gguf}\n");
    match tokenizer.chat_template().map(ollama_template) {
        Some(Some(known)) => {
            text.push_str(&format!("TEMPLATE \"\"\"{}\"\"\"\n", known.template));
            known.stop.iter().for_each(|stop| text.push_str(&format!("PARAMETER stop {stop:?}\n")));
        }
        Some(None) => text.push_str(
            "# The chat template in the GGUF has no known spelling in Ollama's dialect.\n\
             # Write it behind TEMPLATE by hand; llama.cpp uses the one in the GGUF.\n",
        ),
        None => text.push_str("# The model has no chat template.\n"),
    }
    let path = dir.join("Modelfile");
    fs::write(&path, text).map_err(|e| Error::from_source("io", &e).with_cause(path.display().to_string()))
}
