//! The files that make up a tokenizer in a Hugging Face directory, kept as they came.
//!
//! They are held byte for byte so that a stage which only passes a tokenizer on copies it, and parsed once beside
//! that. `config.json` belongs to the model; it is read for the vocabulary's size and token ids, and never written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::special_tokens::SpecialTokens;

/// `tokenizer.json`, without which there is no tokenizer.
pub const TOKENIZER: &str = "tokenizer.json";
/// Special tokens by role, chat template, decoding options.
pub const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Special tokens by role, in older checkpoints the only place.
pub const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
/// Where generation starts and stops.
pub const GENERATION_CONFIG: &str = "generation_config.json";
/// The chat template in a file of its own.
pub const CHAT_TEMPLATE: &str = "chat_template.jinja";
/// The chat template as processors once stored it.
pub const CHAT_TEMPLATE_JSON: &str = "chat_template.json";
/// Folder of named chat templates, one `NAME.jinja` each.
pub const ADDITIONAL_CHAT_TEMPLATES: &str = "additional_chat_templates";
/// Tokens that were added to those of `tokenizer.model`, by text.
pub const ADDED_TOKENS: &str = "added_tokens.json";
/// SentencePiece's own file, with the scores that `tokenizer.json` lacks.
pub const SENTENCEPIECE: &str = "tokenizer.model";
/// The model's configuration: read, never written from here.
pub const MODEL_CONFIG: &str = "config.json";

/// Every file that belongs to a tokenizer, for whoever has to bring or copy them. All but the first may be missing.
pub const FILES: &[&str] = &[
    TOKENIZER,
    TOKENIZER_CONFIG,
    SPECIAL_TOKENS_MAP,
    GENERATION_CONFIG,
    CHAT_TEMPLATE,
    CHAT_TEMPLATE_JSON,
    ADDED_TOKENS,
    "vocab.json",
    "merges.txt",
    SENTENCEPIECE,
];

/// Why a tokenizer's files could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HfFilesError {
    /// No `tokenizer.json`.
    #[error("no `tokenizer.json` among {found:?} (hint: {hint})")]
    NoTokenizer {
        /// The tokenizer files that are there.
        found: Vec<String>,
        /// What can be done about it.
        hint: &'static str,
    },
    /// A file is not the JSON that it should be.
    #[error("`{file}` is no valid JSON: {source}")]
    Json {
        /// File name inside the directory.
        file: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A text file is not UTF-8.
    #[error("`{file}` is not UTF-8 from byte {valid_up_to} on")]
    NotUtf8 {
        /// File name inside the directory.
        file: String,
        /// Bytes that are.
        valid_up_to: usize,
    },
    /// The operating system refused.
    #[error("{action} `{}`: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A chat template by name; transformers calls the usual one `default`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTemplate {
    /// Name, e.g. `default` or `tool_use`.
    pub name: String,
    /// jinja source.
    pub source: String,
}

/// A tokenizer's files by name relative to the model's directory, and what they say.
#[derive(Debug, Clone)]
pub struct HfFiles {
    files: BTreeMap<String, Vec<u8>>,
    /// Without pieces and merges, which are big and seldom asked for.
    tokenizer: Value,
    merges_are_pairs: bool,
    tokenizer_config: Value,
    special_tokens_map: Value,
    generation_config: Value,
    model_config: Value,
}

impl HfFiles {
    /// Reads what is there of [`FILES`], of [`ADDITIONAL_CHAT_TEMPLATES`] and `config.json`.
    ///
    /// # Errors
    /// A file that cannot be read or parsed, or no `tokenizer.json`.
    pub fn read(directory: &Path) -> Result<Self, HfFilesError> {
        let mut files = Vec::new();
        for name in FILES.iter().copied().chain([MODEL_CONFIG]) {
            if let Some(bytes) = read_optional(&directory.join(name))? {
                files.push((name.to_owned(), bytes));
            }
        }
        let templates = directory.join(ADDITIONAL_CHAT_TEMPLATES);
        if let Ok(entries) = std::fs::read_dir(&templates) {
            for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
                if let (true, Some(bytes)) = (name.ends_with(".jinja"), read_optional(&templates.join(&name))?) {
                    files.push((format!("{ADDITIONAL_CHAT_TEMPLATES}/{name}"), bytes));
                }
            }
        }
        Self::from_files(files)
    }

    /// Takes files by name, wherever they came from; names outside the known ones are left alone.
    ///
    /// # Errors
    /// A file that cannot be parsed, or no `tokenizer.json`.
    pub fn from_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, HfFilesError> {
        let mut files: BTreeMap<String, Vec<u8>> = files.into_iter().filter(|(name, _)| is_known(name)).collect();
        if !files.contains_key(TOKENIZER) {
            return Err(HfFilesError::NoTokenizer {
                hint: if files.contains_key(SENTENCEPIECE) {
                    "only `tokenizer.model`: load it once in transformers and save it, which writes `tokenizer.json`"
                } else {
                    "bring the whole repository, or take the tokenizer of its base model"
                },
                found: files.into_keys().collect(),
            });
        }
        let model_config = files.remove(MODEL_CONFIG);
        let parse = |name: &str| files.get(name).map_or(Ok(Value::Null), |bytes| parse_json(name, bytes));
        let tokenizer = parse(TOKENIZER)?;
        Ok(Self {
            merges_are_pairs: tokenizer.pointer("/model/merges/0").is_some_and(Value::is_array),
            tokenizer: without_pieces(tokenizer),
            tokenizer_config: parse(TOKENIZER_CONFIG)?,
            special_tokens_map: parse(SPECIAL_TOKENS_MAP)?,
            generation_config: parse(GENERATION_CONFIG)?,
            model_config: model_config.map_or(Ok(Value::Null), |bytes| parse_json(MODEL_CONFIG, &bytes))?,
            files,
        })
    }

    /// Writes the files into `directory`, byte for byte as they are held.
    ///
    /// # Errors
    /// [`HfFilesError::Io`].
    pub fn write(&self, directory: &Path) -> Result<(), HfFilesError> {
        for (name, bytes) in &self.files {
            let path = directory.join(name);
            let folder = path.parent().unwrap_or(directory);
            std::fs::create_dir_all(folder)
                .and_then(|()| std::fs::write(&path, bytes))
                .map_err(|source| HfFilesError::Io { action: "write", path: path.clone(), source })?;
        }
        Ok(())
    }

    /// The files by name, in order of their names.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }

    /// One of the files, as it came.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// `tokenizer.json` as it came.
    pub fn tokenizer_bytes(&self) -> &[u8] {
        self.files.get(TOKENIZER).map_or(&[], Vec::as_slice)
    }

    /// `tokenizer.json` with `model.vocab` and `model.merges` left empty.
    pub fn tokenizer(&self) -> &Value {
        &self.tokenizer
    }

    /// Whether each merge is a list of two texts, as the tokenizers crate writes them now, and not one text with a space
    /// within: that takes more memory to load.
    pub fn merges_are_pairs(&self) -> bool {
        self.merges_are_pairs
    }

    /// `tokenizer.json`, parsed again with all that is in it.
    ///
    /// # Errors
    /// None that reading the files did not have.
    pub fn whole_tokenizer(&self) -> Result<Value, HfFilesError> {
        parse_json(TOKENIZER, self.tokenizer_bytes())
    }

    /// `tokenizer_config.json`, null where there is none.
    pub fn tokenizer_config(&self) -> &Value {
        &self.tokenizer_config
    }

    /// `generation_config.json`, null where there is none.
    pub fn generation_config(&self) -> &Value {
        &self.generation_config
    }

    /// The model's `config.json`, null where it was not given.
    pub fn model_config(&self) -> &Value {
        &self.model_config
    }

    /// Puts the model's configuration beside the files, for sources that hold it elsewhere.
    #[must_use]
    pub fn with_model_config(mut self, config: Value) -> Self {
        self.model_config = config;
        self
    }

    /// Tokens by role: `tokenizer_config.json`, and `special_tokens_map.json` for what it leaves open.
    pub fn special_tokens(&self) -> SpecialTokens {
        SpecialTokens::read(&self.tokenizer_config, &self.special_tokens_map)
    }

    /// Whether the template file and the configuration hold different chat templates. llama.cpp's converter takes the
    /// configuration's, transformers the file's.
    pub fn chat_templates_differ(&self) -> bool {
        let file = self.files.get(CHAT_TEMPLATE).map(Vec::as_slice);
        let config = self.tokenizer_config["chat_template"].as_str().map(str::as_bytes);
        file.is_some() && config.is_some() && file != config
    }

    /// Chat templates in the order of their sources; a template file goes before the configuration's, as in
    /// transformers.
    ///
    /// # Errors
    /// [`HfFilesError::NotUtf8`], [`HfFilesError::Json`].
    pub fn chat_templates(&self) -> Result<Vec<NamedTemplate>, HfFilesError> {
        let default = |source: String| NamedTemplate { name: "default".into(), source };
        let mut templates = Vec::new();
        if let Some(bytes) = self.files.get(CHAT_TEMPLATE) {
            templates.push(default(text(CHAT_TEMPLATE, bytes)?));
            for (path, bytes) in &self.files {
                let name = path.strip_prefix(ADDITIONAL_CHAT_TEMPLATES).and_then(|name| name.strip_prefix('/'));
                if let Some(name) = name.and_then(|name| name.strip_suffix(".jinja")) {
                    templates.push(NamedTemplate { name: name.into(), source: text(path, bytes)? });
                }
            }
            return Ok(templates);
        }
        let stored = match (self.tokenizer_config.get("chat_template"), self.files.get(CHAT_TEMPLATE_JSON)) {
            (Some(stored), _) => stored.clone(),
            (None, Some(bytes)) => parse_json(CHAT_TEMPLATE_JSON, bytes)?["chat_template"].clone(),
            (None, None) => Value::Null,
        };
        match stored {
            Value::String(source) => templates.push(default(source)),
            Value::Array(choices) => templates.extend(choices.iter().filter_map(|choice| {
                let field = |name: &str| choice.get(name)?.as_str().map(str::to_owned);
                Some(NamedTemplate { name: field("name")?, source: field("template")? })
            })),
            _ => {}
        }
        Ok(templates)
    }
}

fn without_pieces(mut tokenizer: Value) -> Value {
    for (part, empty) in [("vocab", Value::Object(Map::new())), ("merges", Value::Array(Vec::new()))] {
        if let Some(pieces) = tokenizer.pointer_mut(&format!("/model/{part}")) {
            *pieces = empty;
        }
    }
    tokenizer
}

fn is_known(name: &str) -> bool {
    let template = |name: &str| name.ends_with(".jinja") && !name.contains(['/', '\\']);
    FILES.contains(&name)
        || name == MODEL_CONFIG
        || name.strip_prefix(ADDITIONAL_CHAT_TEMPLATES).and_then(|rest| rest.strip_prefix('/')).is_some_and(template)
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, HfFilesError> {
    // A pipe would wait for ever, and a device never ends.
    let read = || match std::fs::metadata(path)?.is_file() {
        true => std::fs::read(path),
        false => Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file")),
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HfFilesError::Io { action: "read", path: path.to_owned(), source }),
    }
}

pub(crate) fn parse_json(name: &str, bytes: &[u8]) -> Result<Value, HfFilesError> {
    model::python_json::parse(bytes).map_err(|source| HfFilesError::Json { file: name.into(), source })
}

fn text(name: &str, bytes: &[u8]) -> Result<String, HfFilesError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| HfFilesError::NotUtf8 { file: name.into(), valid_up_to: error.valid_up_to() })?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn merges_are_pairs_or_texts() {
        let pairs = |merges: &str| {
            let json = format!(r#"{{"model": {{"type": "BPE", "vocab": {{"a": 0}}, "merges": {merges}}}}}"#);
            HfFiles::from_files([(TOKENIZER.to_owned(), json.into_bytes())]).unwrap().merges_are_pairs()
        };
        assert!(pairs(r#"[["a", "b"]]"#));
        assert!(!pairs(r#"["a b"]"#) && !pairs("[]"));
    }
}
