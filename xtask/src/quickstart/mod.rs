//! `cargo xtask quickstart`: from nothing to a fine-tuned model that llama.cpp runs, and what changed, on one screen.

mod answers;
mod files;
mod outcome;
mod table;

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;
use std::{fs, io};

use crate::workspace::{Workspace, WorkspaceError};
use outcome::Outcome;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum QuickstartError {
    /// Nothing could be built.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The `host` program does not start.
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

/// Builds, runs `pipelines/quickstart.toml` and shows what came of it; `run_args` go to `host run`.
///
/// # Errors
/// Where building or the pipeline fails.
pub fn quickstart(workspace: &Workspace, run_args: &[String]) -> Result<(), QuickstartError> {
    let started = Instant::now();
    workspace.prepare()?;
    let host = Workspace::host(&workspace.build()?);
    let built = started.elapsed();

    let directory = workspace.root().join("target/quickstart");
    fs::create_dir_all(&directory).map_err(|source| QuickstartError::Io { path: directory.clone(), source })?;
    let output = Command::new(&host)
        .current_dir(&directory)
        .arg("run")
        .arg(workspace.root().join("pipelines/quickstart.toml"))
        .arg("--json")
        .args(run_args)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| QuickstartError::Start { program: host, source })?;
    if !output.status.success() {
        return Err(QuickstartError::Failed { status: output.status, directory });
    }
    let outcome = Outcome::read(&output.stdout)?;
    println!("\n{}", table::training(&outcome.training));
    println!("{}", table::table(&outcome.shipped));
    println!("{}", answers::side_by_side(&outcome.shipped));
    println!("{}", files::how_to_chat(&outcome)?);
    println!("built in {} s, run in {} s", built.as_secs(), outcome.seconds as u64);
    Ok(())
}
