//! `cargo xtask quickstart`: from nothing to a fine-tuned model that llama.cpp runs, and what changed, on one screen.

mod answers;
mod files;
mod outcome;
mod table;

use std::time::Instant;

use crate::host::{self, HostError};
use crate::workspace::{Workspace, WorkspaceError};
use outcome::Outcome;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum QuickstartError {
    /// Nothing could be built.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The pipeline failed, or its report lacks something.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Builds, runs `pipelines/quickstart.toml` and shows what came of it; `run_args` go to `host run`.
///
/// # Errors
/// Where building or the pipeline fails.
pub fn quickstart(workspace: &Workspace, run_args: &[String]) -> Result<(), QuickstartError> {
    let started = Instant::now();
    workspace.prepare()?;
    let program = Workspace::host(&workspace.build()?);
    let built = started.elapsed();

    let pipeline = workspace.root().join("pipelines/quickstart.toml");
    let directory = workspace.root().join("target/quickstart");
    let report = host::run(&program, &pipeline, &directory, |command| {
        command.args(run_args);
    })?;
    let outcome = Outcome::read(&report)?;
    println!("\n{}", table::training(outcome.training));
    println!("{}", table::table(&outcome.shipped));
    println!("{}", answers::side_by_side(&outcome.shipped));
    println!("{}", files::how_to_chat(&report.run_dir)?);
    println!("built in {} s, run in {} s", built.as_secs(), report.seconds as u64);
    Ok(())
}
