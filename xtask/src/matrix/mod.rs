//! `cargo xtask matrix`: a tiny model of every kind that the families know, through the whole pipeline with the real
//! program; what was seen becomes README's table of families.

mod figures;
mod logits;
mod readme;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::host::{self, HostError};
use crate::workspace::{Workspace, WorkspaceError};
use figures::Figures;
use readme::Row;

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// Nothing could be built.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// A model did not come to the end of the pipeline, or its report lacks something.
    #[error("`{model}`")]
    Model { model: &'static str, source: HostError },
    /// Nothing that was compared means anything.
    #[error("`{model}`: training moved logits by {changed:.1e} of their deviation; fused and untuned are the same")]
    Untrained { model: &'static str, changed: f64 },
    /// Logits cannot be compared.
    #[error("`{}`: {what}", path.display())]
    Logits { path: PathBuf, what: String },
    /// README has no place for the table.
    #[error("`{}` needs the line `{marker}` once", path.display())]
    Marker { path: PathBuf, marker: &'static str },
    /// A file operation failed.
    #[error("cannot use `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// What a directory of `tests/data/families` stands for.
struct Kind {
    /// The directory's name.
    data: &'static str,
    /// Published models of this kind, as README names them.
    models: &'static str,
}

/// README's rows in their order.
const KINDS: [Kind; 10] = [
    Kind { data: "llama3", models: "Llama 3.x, SmolLM" },
    Kind { data: "mistral", models: "Mistral 7B" },
    Kind { data: "qwen2", models: "Qwen 2, 2.5" },
    Kind { data: "qwen3", models: "Qwen 3 dense" },
    Kind { data: "gemma2", models: "Gemma 2" },
    Kind { data: "granite3", models: "Granite 3.x dense" },
    Kind { data: "granite3-moe", models: "Granite 3.x with experts" },
    Kind { data: "granite4", models: "Granite 4.0 dense" },
    Kind { data: "granite4-h", models: "Granite 4.0 hybrid" },
    Kind { data: "granite4-h-moe", models: "Granite 4.0 hybrid with experts" },
];

/// What training changes at least, as a share of the logits' standard deviation.
const CHANGED: f64 = 1e-3;

/// Runs every model and writes README's table anew.
///
/// # Errors
/// Where building or a pipeline fails.
pub fn matrix(workspace: &Workspace) -> Result<(), MatrixError> {
    workspace.prepare()?;
    let program = Workspace::host(&workspace.build()?);
    let directory = workspace.root().join("target/matrix");
    let cache = directory.join("cache");
    if cache.exists() {
        fs::remove_dir_all(&cache).map_err(io_at(&cache))?; // what an older build made proves nothing
    }
    let mut rows = Vec::new();
    for kind in KINDS {
        eprintln!("{}", kind.data);
        let figures = run(workspace, &program, &directory, &kind)?;
        rows.push(Row { kind, figures });
    }
    let table = readme::table(&rows);
    readme::write(&workspace.root().join("README.md"), &table)?;
    println!("{table}");
    Ok(())
}

fn run(workspace: &Workspace, program: &Path, directory: &Path, kind: &Kind) -> Result<Figures, MatrixError> {
    let data = families(workspace.root()).join(kind.data);
    let pipeline = workspace.root().join("xtask/matrix/matrix.toml");
    let failed = |source| MatrixError::Model { model: kind.data, source };
    let report = host::run(program, &pipeline, directory, |command| {
        command.env("HOST_CACHE_DIR", directory.join("cache"));
        command.args(["--set", &format!("vars.model=path:{}", data.display())]);
    });
    let report = report.map_err(failed)?;
    let seen = figures::Seen::of(&report).map_err(failed)?;
    let figures = seen.figures(&data.join("golden.safetensors"))?;
    let trained = figures.changed > CHANGED;
    if trained { Ok(figures) } else { Err(MatrixError::Untrained { model: kind.data, changed: figures.changed }) }
}

/// Where the tiny models are.
fn families(root: &Path) -> PathBuf {
    root.join("tests/data/families")
}

/// For `map_err`: what went wrong, and where.
fn io_at(path: &Path) -> impl FnOnce(io::Error) -> MatrixError {
    let path = path.to_owned();
    move |source| MatrixError::Io { path, source }
}
