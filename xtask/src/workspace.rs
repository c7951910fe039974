//! This workspace: where it lies, cargo in it, and one build that everything uses.
//!
//! Quickstart and tests share profile, features and environment, so that candle and llama.cpp are compiled once.

use std::collections::BTreeSet;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX, EXE_SUFFIX};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::{fs, io};

use serde_json::Value;

use crate::fixtures::{self, FixtureError};
use crate::toolchain::{self, ToolchainError};

/// Why the workspace is not ready.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// llama.cpp could not be built.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// The model is missing.
    #[error(transparent)]
    Fixture(#[from] FixtureError),
    /// A program does not start.
    #[error("cannot start `{program}`")]
    Start { program: String, source: io::Error },
    /// A program ended badly; it has said why itself.
    #[error("`{command}` failed: {status}")]
    Failed { command: String, status: ExitStatus },
    /// cargo's description of the workspace is not what we know.
    #[error("`cargo metadata` cannot be understood")]
    Metadata(#[from] serde_json::Error),
    /// A file operation failed.
    #[error("cannot use `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// The workspace that this program was built from.
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Cargo runs this program from its own sources.
    pub fn here() -> Self {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self { root: own.parent().unwrap_or(own).to_owned() }
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `cargo` with `args`, in the workspace.
    pub fn cargo<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        cargo.current_dir(&self.root).args(args);
        cargo
    }

    /// Brings what building and running need from outside: llama.cpp's build tools, and the model.
    ///
    /// # Errors
    /// Where pip or a compiler is missing, or a download fails.
    pub fn prepare(&self) -> Result<(), WorkspaceError> {
        toolchain::prepare(&self.root)?;
        fixtures::smollm2(&self.root)?;
        Ok(())
    }

    /// Builds everything, tests included: `cargo build -p host` alone would leave old plugins beside a new host.
    /// Gives the directory with the `host` program and the plugins.
    ///
    /// # Errors
    /// Where something does not compile.
    pub fn build(&self) -> Result<PathBuf, WorkspaceError> {
        run(&mut self.cargo(["build", "--workspace", "--all-targets"]))?;
        let built = self.target_directory()?.join("debug");
        self.remove_plugins_of_the_past(&built)?;
        Ok(built)
    }

    /// The `host` program in the directory that [`Workspace::build`] gave.
    pub fn host(built: &Path) -> PathBuf {
        built.join(format!("host{EXE_SUFFIX}"))
    }

    fn target_directory(&self) -> Result<PathBuf, WorkspaceError> {
        Ok(self.metadata()?["target_directory"].as_str().unwrap_or_default().into())
    }

    fn metadata(&self) -> Result<Value, WorkspaceError> {
        let described = output(&mut self.cargo(["metadata", "--no-deps", "--format-version", "1"]))?;
        Ok(serde_json::from_str(&described)?)
    }

    /// A plugin that was renamed or removed would still be found beside the host, with the same claims as its heir.
    fn remove_plugins_of_the_past(&self, built: &Path) -> Result<(), WorkspaceError> {
        let metadata = self.metadata()?;
        let packages = metadata["packages"].as_array().into_iter().flatten();
        let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
        let names = targets.filter_map(|target| target["name"].as_str());
        let known: BTreeSet<String> =
            names.map(|name| format!("{DLL_PREFIX}{}{DLL_SUFFIX}", name.replace('-', "_"))).collect();
        for entry in fs::read_dir(built).map_err(at(built))? {
            let path = entry.map_err(at(built))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(DLL_PREFIX) && name.ends_with(DLL_SUFFIX) && !known.contains(name) {
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        Ok(())
    }
}

/// Runs a command that speaks for itself.
///
/// # Errors
/// Where it does not start or does not end well.
pub fn run(command: &mut Command) -> Result<(), WorkspaceError> {
    eprintln!("+ {}", shown(command));
    let status = command.status().map_err(|source| cannot_start(command, source))?;
    if status.success() { Ok(()) } else { Err(WorkspaceError::Failed { command: shown(command), status }) }
}

/// What a command prints.
///
/// # Errors
/// Where it does not start or does not end well.
pub fn output(command: &mut Command) -> Result<String, WorkspaceError> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|source| cannot_start(command, source))?;
    if !output.status.success() {
        return Err(WorkspaceError::Failed { command: shown(command), status: output.status });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn cannot_start(command: &Command, source: io::Error) -> WorkspaceError {
    WorkspaceError::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}

/// As one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> WorkspaceError {
    let path = path.to_owned();
    move |source| WorkspaceError::Io { path, source }
}
