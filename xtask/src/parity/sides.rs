//! What is held against each other: this workspace's host with its plugins, and the programs of others.

use std::fs;
use std::path::{Path, PathBuf};

use super::ParityError;
use crate::host::{self, RunReport, at};
use crate::llama_cpp::LlamaCpp;
use crate::peers::Peers;
use crate::workspace::Workspace;

/// Both sides, ready to run.
pub struct Sides<'a> {
    pub workspace: &'a Workspace,
    pub peers: Peers,
    program: PathBuf,
}

impl<'a> Sides<'a> {
    /// Builds ours and brings PyTorch, transformers and PEFT.
    ///
    /// # Errors
    /// Where something does not compile, or cannot be downloaded.
    pub fn bring(workspace: &'a Workspace) -> Result<Self, ParityError> {
        workspace.prepare()?;
        let program = Workspace::host(&workspace.build()?);
        let sides = Self { workspace, peers: Peers::bring(workspace.root())?, program };
        let cache = sides.cache();
        if cache.exists() {
            fs::remove_dir_all(&cache).map_err(at(&cache))?; // what an older build made proves nothing
        }
        Ok(sides)
    }

    /// llama.cpp with its tools, built on the first call.
    ///
    /// # Errors
    /// Where it cannot be downloaded or does not compile.
    pub fn llama_cpp(&self) -> Result<LlamaCpp, ParityError> {
        Ok(LlamaCpp::bring(self.workspace)?)
    }

    /// Our program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// A file in `xtask/parity`.
    pub fn script(&self, name: &str) -> PathBuf {
        self.workspace.root().join("xtask/parity").join(name)
    }

    /// Where files of a comparison go.
    pub fn work(&self, name: &str) -> PathBuf {
        self.workspace.root().join("target/parity").join(name)
    }

    /// Runs a pipeline of `xtask/parity` with these `[vars]`, its traces in `target/parity`.
    ///
    /// # Errors
    /// Where the pipeline does not come to its end.
    pub fn host(&self, pipeline: &str, vars: &[(&str, String)]) -> Result<RunReport, ParityError> {
        let report = host::run(&self.program, &self.script(pipeline), &self.work(""), |command| {
            command.env("HOST_CACHE_DIR", self.cache());
            command.args(vars.iter().flat_map(|(name, value)| ["--set".into(), format!("vars.{name}={value}")]));
        })?;
        Ok(report)
    }

    /// SmolLM2 as the directory that programs of others read.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn smollm2(&self) -> Result<PathBuf, ParityError> {
        Ok(self.host("checkpoint.toml", &[])?.output("checkpoint", "model")?.to_owned())
    }

    fn cache(&self) -> PathBuf {
        self.work("cache")
    }
}

/// As `fetch` takes it.
pub fn source(model: &Path) -> String {
    format!("path:{}", model.display())
}
