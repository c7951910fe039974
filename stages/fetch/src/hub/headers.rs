//! A model's headers from a repository: what a plan is made on, in a few ranged reads and without weights.

use std::collections::BTreeMap;

use checkpoint::gguf::{self, FACT_TENSORS};
use checkpoint::hf_directory::CONFIG_FILE;
use checkpoint::safetensors::{self, ShardIndex};
use checkpoint::{ByteSource, LocatedTensor};
use stage_api::{Error, Result};
use stage_model::{gguf_tokenizer, runtime_differences, stage_error};
use tokenizer::Tokenizer;
use tokenizer::hf_files::{self, HfFiles};

use super::remote::{Remote, Source};
use super::{Choice, HubError};
use crate::described::Headers;

/// Reads the headers of what was chosen; `pre` overrides a GGUF's pre-tokenizer.
pub fn read(remote: &Remote<'_>, choice: &Choice, pre: Option<&str>) -> Result<Headers> {
    match choice {
        Choice::Directory { side_files, index, weights } => directory(remote, side_files, index.as_ref(), weights),
        Choice::Gguf { parts, .. } => gguf(remote, parts, pre),
    }
}

fn directory(
    remote: &Remote<'_>,
    side_files: &[String],
    index: Option<&ShardIndex>,
    weights: &[String],
) -> Result<Headers> {
    let json = remote.read(CONFIG_FILE)?;
    let config =
        model::python_json::parse(&json).map_err(|source| HubError::Json { file: CONFIG_FILE.into(), source })?;
    let mut headers = BTreeMap::new();
    for name in weights {
        let source = remote.source(name)?;
        let header = safetensors::Header::read(&source).map_err(|problem| failure(&source, name, problem))?;
        headers.insert(name.clone(), header);
    }
    if let Some(index) = index {
        index.check(&headers).map_err(stage_error("unreadable_model"))?;
    }
    let tensors = headers.into_values().flat_map(|header| header.tensors).map(|located| located.tensor);
    let description = safetensors::describe(config, tensors);
    let tokenizer = tokenizer(remote, side_files, json)?;
    let findings = runtime_differences(&tokenizer);
    Ok(Headers { description, tokenizer, findings })
}

fn tokenizer(remote: &Remote<'_>, side_files: &[String], config: Vec<u8>) -> Result<Tokenizer> {
    let mut files = vec![(CONFIG_FILE.to_owned(), config)];
    let whole = side_files.iter().any(|name| name == hf_files::TOKENIZER);
    for name in side_files.iter().filter(|name| is_of_tokenizer(name)) {
        // The same vocabulary in older forms is left where it is; without the newest its name alone is reported.
        let unread = !whole || OLDER_FORMS.contains(&name.as_str());
        files.push((name.clone(), if unread { Vec::new() } else { remote.read(name)? }));
    }
    let unreadable = stage_error("unreadable_tokenizer");
    let files = HfFiles::from_files(files).map_err(stage_error("unreadable_tokenizer"))?;
    Tokenizer::from_files(files).map_err(unreadable)
}

/// What `tokenizer.json` says too.
const OLDER_FORMS: [&str; 4] = ["added_tokens.json", "merges.txt", "tokenizer.model", "vocab.json"];

fn is_of_tokenizer(name: &str) -> bool {
    hf_files::FILES.contains(&name) || name.starts_with(hf_files::ADDITIONAL_CHAT_TEMPLATES)
}

fn gguf(remote: &Remote<'_>, names: &[String], pre: Option<&str>) -> Result<Headers> {
    let (mut sources, mut parts) = (Vec::new(), Vec::new());
    for name in names {
        let source = remote.source(name)?;
        let header = gguf::Header::read(&source).map_err(|problem| failure(&source, name, problem))?;
        sources.push(source);
        parts.push((name.clone(), header));
    }
    gguf::check_parts(&parts).map_err(stage_error("unreadable_model"))?;
    let located = || {
        sources
            .iter()
            .zip(&parts)
            .flat_map(|(source, (name, part))| part.tensors.iter().map(move |tensor| (source, name, tensor)))
    };
    let mut facts = BTreeMap::new();
    for (source, name, tensor) in located().filter(|(_, _, t)| FACT_TENSORS.contains(&t.tensor.name.as_str())) {
        if let Some(values) = fact(source, name, tensor)? {
            facts.insert(tensor.tensor.name.clone(), values);
        }
    }
    let tensors: Vec<_> = located().map(|(_, _, located)| located.tensor.clone()).collect();
    let first = parts.first().ok_or_else(|| Error::new("no_model", "a GGUF of no parts"))?;
    let (tokenizer, findings) = gguf_tokenizer(&first.1.metadata, pre)?;
    Ok(Headers { description: gguf::describe(&first.1.metadata, tensors, facts), tokenizer, findings })
}

/// The values of a small tensor that is a fact of the architecture.
fn fact(source: &Source<'_>, name: &str, located: &LocatedTensor) -> Result<Option<Vec<f32>>> {
    if located.bytes > gguf::MAX_FACT_BYTES {
        return Ok(None);
    }
    let mut bytes = vec![0; located.bytes as usize];
    source.read_at(located.offset, &mut bytes).map_err(|e| failure(source, name, gguf::Problem::from(e)))?;
    Ok(gguf::fact_values(&located.tensor, &bytes))
}

/// The hub's reason, else what is wrong with the file.
fn failure<P: std::error::Error + 'static>(source: &Source<'_>, file: &str, problem: P) -> Error {
    match source.failure() {
        Some(reason) => reason.into(),
        None => stage_error("unreadable_model")(checkpoint::FileError::<P>::new(file, problem)),
    }
}
