//! A model on this machine, described where it lies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use checkpoint::Checkpoint;
use checkpoint::hf_directory::CONFIG_FILE;
use stage_api::{Context, Error, Estimate, Outcome, Plan, Result};
use stage_model::{model_path, stage_error, tokenizer_of};

use crate::described::{Described, Headers};

pub fn plan(ctx: &Context, path: &Path, pre: Option<&str>) -> Result<Plan> {
    let checkpoint = open(path)?;
    let Described { output, findings, memory } = describe(ctx, &checkpoint, pre, provenance(&checkpoint, pre))?;
    let outputs = BTreeMap::from([("model".into(), output)]);
    let locations = BTreeMap::from([("model".into(), path.to_owned())]);
    let estimate = Estimate { memory: Some(memory), ..Estimate::default() };
    Ok(Plan { outputs, locations, estimate, findings, pins: pins(&files(&checkpoint))?, ..Plan::default() })
}

pub fn run(ctx: &Context, path: &Path, pre: Option<&str>) -> Result<Outcome> {
    let checkpoint = open(path)?;
    let described = describe(ctx, &checkpoint, pre, provenance(&checkpoint, pre))?;
    refer(ctx, path, &checkpoint)?;
    Ok(Outcome { outputs: BTreeMap::from([("model".into(), described.output)]), ..Outcome::default() })
}

pub fn open(path: &Path) -> Result<Checkpoint> {
    Checkpoint::open(&model_path(path)?).map_err(stage_error("unreadable_model"))
}

/// Describes a model that was opened.
pub fn describe(
    ctx: &Context,
    checkpoint: &Checkpoint,
    pre: Option<&str>,
    provenance: BTreeMap<String, String>,
) -> Result<Described> {
    let (tokenizer, findings) = tokenizer_of(checkpoint, pre)?;
    Headers { description: checkpoint.describe(), tokenizer, findings }.describe(ctx, provenance)
}

/// Makes the output a reference to the model at `path`; of a split GGUF the first part is named, and all are meant.
pub fn refer(ctx: &Context, path: &Path, checkpoint: &Checkpoint) -> Result<()> {
    if path.is_dir() {
        return ctx.output_reference("model", path);
    }
    let others = checkpoint.weight_files().into_iter().skip(1);
    let names = others.filter_map(|part| Some(part.file_name()?.to_string_lossy().into_owned()));
    ctx.output_reference_with("model", path, &names.collect::<Vec<_>>())
}

/// A GGUF's name without its directory, for results are the same wherever it lies; and the pre-tokenizer, which
/// whoever opens the model later must override in the same way.
fn provenance(checkpoint: &Checkpoint, pre: Option<&str>) -> BTreeMap<String, String> {
    let file = checkpoint.gguf().and_then(|_| checkpoint.path().file_name()).map(|name| name.to_string_lossy());
    let known = [("file", file.as_deref()), ("pre", pre)];
    known.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect()
}

/// The model's own files.
fn files(checkpoint: &Checkpoint) -> Vec<PathBuf> {
    let mut files = checkpoint.weight_files();
    if let Some(directory) = checkpoint.directory() {
        files.extend(directory.side_files().into_iter().map(|file| directory.path().join(file)));
        files.push(directory.path().join(CONFIG_FILE));
    }
    files
}

/// Size, time and inode of every file: whatever changes one of them gives another key, and planning stays quick. The
/// contents are digested when the reference is sealed.
fn pins(files: &[PathBuf]) -> Result<BTreeMap<String, String>> {
    let pin = |file: &PathBuf| {
        let io = |e: std::io::Error| Error::from_source("io", &e).with_cause(file.display().to_string());
        let meta = file.metadata().map_err(io)?;
        let changed = meta.modified().map_err(io)?.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        Ok((file.display().to_string(), format!("{} bytes, {changed}, {}", meta.len(), inode(&meta))))
    };
    files.iter().map(pin).collect()
}

#[cfg(unix)]
fn inode(meta: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(meta)
}

#[cfg(not(unix))]
fn inode(_: &std::fs::Metadata) -> u64 {
    0
}
