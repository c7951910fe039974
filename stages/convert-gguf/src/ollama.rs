//! An Ollama `Modelfile` beside what is shipped.

use std::fs;
use std::path::Path;

use checkpoint::Checkpoint;
use model::ModelDescription;
use model::description::{Container, MetaValue};
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
    put(dir, &text)
}

/// Writes the `Modelfile` of the GGUF LoRA `lora`, which was trained on `base`.
pub fn write_adapter(dir: &Path, lora: &str, base: &ModelDescription) -> Result<()> {
    put(dir, &format!("{}ADAPTER ./{lora}\n", from(base)))
}

/// `FROM` with the base that the adapter was trained on as far as its description knows it, which is never where it
/// lies; what is left to the user is said in comments.
pub fn from(base: &ModelDescription) -> String {
    // A name with a line break would be an instruction of its own.
    let known = |key: &str| base.provenance.get(key).filter(|value| !value.contains(char::is_control));
    let parts = base.metadata.get("split.count").and_then(MetaValue::as_u64).unwrap_or(1);
    let is_one_file = base.container == Container::Gguf && parts < 2;
    let repository = known("source").and_then(|source| source.strip_prefix("hf:"));
    let revision = known("revision").map(|revision| format!(", revision {revision}")).unwrap_or_default();
    let template = "# To a file add TEMPLATE and PARAMETER of the Modelfile that converting the base gives.\n";
    match (repository, known("file").filter(|_| is_one_file)) {
        (Some(repository), Some(file)) if !file.contains('/') => {
            format!("# What the adapter was trained on{revision}.\nFROM hf.co/{repository}:{file}\n")
        }
        (None, Some(file)) => format!(
            "# What the adapter was trained on: put it beside this file, or write its path here.\n{template}\
             FROM ./{file}\n"
        ),
        (repository, _) => {
            let trained = repository.or(known("file").map(String::as_str));
            let trained = trained.map(|name| format!("# The adapter was trained on {name}{revision}.\n"));
            format!(
                "{}# Write a GGUF of what the adapter was trained on, or its name in Ollama, in place of base.gguf.\n\
                 {template}FROM ./base.gguf\n",
                trained.unwrap_or_default()
            )
        }
    }
}

fn put(dir: &Path, text: &str) -> Result<()> {
    let path = dir.join("Modelfile");
    fs::write(&path, text).map_err(|e| Error::from_source("io", &e).with_cause(path.display().to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn from_line(container: Container, parts: u16, provenance: &[(&str, &str)]) -> String {
        let base = ModelDescription {
            container,
            config: None,
            metadata: BTreeMap::from([("split.count".to_owned(), MetaValue::U16(parts))]),
            tensors: Vec::new(),
            small: BTreeMap::new(),
            tokenizer: None,
            provenance: provenance.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let text = from(&base);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines.len(), 1, "{text}");
        lines.concat()
    }

    #[test]
    fn the_base_is_named_where_its_name_leads_to_it() {
        let hub = [("source", "hf:org/m-GGUF"), ("revision", "abc"), ("file", "m-Q4_0.gguf")];
        assert_eq!(from_line(Container::Gguf, 1, &hub), "FROM hf.co/org/m-GGUF:m-Q4_0.gguf");
        assert_eq!(from_line(Container::Gguf, 1, &hub[2..]), "FROM ./m-Q4_0.gguf");
    }

    #[test]
    fn a_base_that_ollama_cannot_be_pointed_at_is_left_to_the_user() {
        let placeholder = "FROM ./base.gguf";
        assert_eq!(from_line(Container::Gguf, 1, &[]), placeholder);
        assert_eq!(from_line(Container::Gguf, 2, &[("file", "m-00001-of-00002.gguf")]), placeholder);
        assert_eq!(from_line(Container::Safetensors, 1, &[("source", "hf:org/m"), ("revision", "abc")]), placeholder);
        let folder = [("source", "hf:org/m"), ("file", "q4/m.gguf")];
        assert_eq!(from_line(Container::Gguf, 1, &folder), placeholder);
        assert_eq!(from_line(Container::Gguf, 1, &[("file", "m.gguf\nFROM x")]), placeholder);
    }
}
