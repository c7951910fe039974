//! Runs the `host` program and reads what it reports.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Why a pipeline has no report.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The program does not start.
    #[error("cannot start `{}`", program.display())]
    Start { program: PathBuf, source: io::Error },
    /// The pipeline did not run to its end; the host has said why.
    #[error("the pipeline failed ({status}); its traces are in `{}`", directory.display())]
    Failed { status: ExitStatus, directory: PathBuf },
    /// The report lacks what this pipeline always has.
    #[error("the run's report has no {what}")]
    Missing { what: String },
    /// A report is not what we know.
    #[error("{what} cannot be understood")]
    Report { what: String, source: serde_json::Error },
    /// A file operation failed.
    #[error("cannot use `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// What `host run --json` prints, as far as it is used here.
#[derive(Deserialize)]
pub struct RunReport {
    pub run_dir: PathBuf,
    pub seconds: f64,
    stages: Vec<StageReport>,
}

/// One finished stage.
#[derive(Deserialize)]
pub struct StageReport {
    stage: String,
    outputs: BTreeMap<String, Output>,
    pub metrics: BTreeMap<String, f64>,
    pub seconds: f64,
    /// Anonymous memory at most, bytes.
    pub memory: Option<u64>,
}

#[derive(Deserialize)]
struct Output {
    path: PathBuf,
}

/// Runs a pipeline with its traces below `directory` and progress on the terminal.
///
/// # Errors
/// Where the pipeline does not come to its end.
pub fn run(
    program: &Path,
    pipeline: &Path,
    directory: &Path,
    configure: impl FnOnce(&mut Command),
) -> Result<RunReport, HostError> {
    fs::create_dir_all(directory).map_err(at(directory))?;
    let mut command = Command::new(program);
    command.current_dir(directory).arg("run").arg(pipeline).arg("--json").stderr(Stdio::inherit());
    configure(&mut command);
    let output = command.output().map_err(|source| HostError::Start { program: program.to_owned(), source })?;
    if !output.status.success() {
        return Err(HostError::Failed { status: output.status, directory: directory.to_owned() });
    }
    parse(&output.stdout, "the run's report")
}

impl RunReport {
    /// A stage by its name in the pipeline.
    pub fn stage(&self, name: &str) -> Result<&StageReport, HostError> {
        let missing = || HostError::Missing { what: format!("stage `{name}`") };
        self.stages.iter().find(|stage| stage.stage == name).ok_or_else(missing)
    }

    /// Where an output of a stage lies.
    pub fn output(&self, stage: &str, port: &str) -> Result<&Path, HostError> {
        let missing = || HostError::Missing { what: format!("output `{port}` of stage `{stage}`") };
        Ok(&self.stage(stage)?.outputs.get(port).ok_or_else(missing)?.path)
    }
}

impl StageReport {
    /// A final figure of the stage.
    ///
    /// # Errors
    /// Where the stage tells none of that name.
    pub fn metric(&self, name: &str) -> Result<f64, HostError> {
        let missing = || HostError::Missing { what: format!("metric `{name}` of stage `{}`", self.stage) };
        self.metrics.get(name).copied().ok_or_else(missing)
    }
}

/// The GGUF of an artifact that is a file, or a directory with one GGUF in it.
///
/// # Errors
/// Where there is none.
pub fn gguf_in(artifact: &Path) -> Result<PathBuf, HostError> {
    if artifact.is_file() {
        return Ok(artifact.to_owned());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(artifact).map_err(at(artifact))? {
        files.push(entry.map_err(at(artifact))?.path());
    }
    let gguf = files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    gguf.ok_or_else(|| HostError::Missing { what: format!("GGUF in `{}`", artifact.display()) })
}

/// Reads a JSON file.
///
/// # Errors
/// Where it is not there, or not of this form.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, HostError> {
    parse(&fs::read(path).map_err(at(path))?, &format!("`{}`", path.display()))
}

fn parse<T: DeserializeOwned>(json: &[u8], what: &str) -> Result<T, HostError> {
    serde_json::from_slice(json).map_err(|source| HostError::Report { what: what.to_owned(), source })
}

/// For `map_err`: what went wrong, and where.
pub fn at(path: &Path) -> impl FnOnce(io::Error) -> HostError {
    let path = path.to_owned();
    move |source| HostError::Io { path, source }
}
