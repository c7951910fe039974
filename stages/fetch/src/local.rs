//! A model on this machine, described where it lies.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::UNIX_EPOCH;

use checkpoint::Checkpoint;
use stage_api::{Context, Description, Error, Finding, Plan, Result};
use stage_model::{ModelInput, check_model, describe_model, describe_tokenizer, model_path, stage_error, tokenizer_of};

/// A described model.
pub struct Described {
    pub output: Description,
    pub findings: Vec<Finding>,
    /// The model's files, for pins.
    files: Vec<std::path::PathBuf>,
}

pub fn plan(ctx: &Context, path: &Path, pre: Option<&str>) -> Result<Plan> {
    let Described { output, findings, files } = describe(ctx, path, pre)?;
    let outputs = BTreeMap::from([("model".into(), output)]);
    Ok(Plan { outputs, findings, pins: pins(&files)?, ..Plan::default() })
}

pub fn describe(ctx: &Context, path: &Path, pre: Option<&str>) -> Result<Described> {
    let checkpoint = Checkpoint::open(&model_path(path)?).map_err(stage_error("unreadable_model"))?;
    let (tokenizer, mut findings) = tokenizer_of(&checkpoint, pre)?;
    let mut description = checkpoint.describe();
    description.tokenizer = Some(describe_tokenizer(&tokenizer)?);
    if let Some(pre) = pre {
        description.provenance.insert("pre".into(), pre.into());
    }
    let model = ModelInput::read(ctx, description)?;
    findings.extend(model_api::family::findings(&model.reading));
    findings.extend(check_model(&model));
    let output = describe_model(&model.description, &model.reading.family)?;
    let mut files = checkpoint.weight_files();
    if let Some(directory) = checkpoint.directory() {
        files.extend(directory.side_files().into_iter().map(|file| directory.path().join(file)));
        files.push(directory.path().join(checkpoint::hf_directory::CONFIG_FILE));
    }
    Ok(Described { output, findings, files })
}

/// Size, time and inode of every file: whatever changes one of them gives another key, and planning stays quick. The
/// contents are digested when the reference is sealed.
fn pins(files: &[std::path::PathBuf]) -> Result<BTreeMap<String, String>> {
    let pin = |file: &std::path::PathBuf| {
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
