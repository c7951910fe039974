//! cmake and libclang, which llama.cpp's build needs, through pip.
//!
//! `.cargo/config.toml` points every cargo call in this workspace at the places that [`prepare`] fills, so a plain
//! `cargo build` behaves like one started from here: another environment would build llama.cpp again, which costs
//! minutes. Whoever sets `CMAKE` and `LIBCLANG_PATH` keeps their own tools.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::pip::{self, PipError};

const PINS: [&str; 2] = ["cmake==4.4.5", "libclang==18.1.1"];

/// Why the tools could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// pip does not bring them.
    #[error("there is no cmake and libclang to build llama.cpp with; {OWN_TOOLS}")]
    Pip(#[from] PipError),
    /// There is no compiler.
    #[error("cannot start `cc`; install a C and C++ compiler")]
    NoCompiler { source: io::Error },
    /// The C compiler has no directory of headers of its own where it says.
    #[error("`cc` names `{}` as the directory of its own headers, but there is no `stdbool.h` in it", path.display())]
    Headers { path: PathBuf },
    /// A file operation failed.
    #[error("cannot write `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

const OWN_TOOLS: &str = "help pip, or set `CMAKE` to a cmake and `LIBCLANG_PATH` to the directory of a libclang";

/// Fills `target/toolchain` of the workspace at `root`. Quick where everything is there.
///
/// # Errors
/// Where python3 with pip or a C compiler is missing, or pip cannot install the pinned versions.
pub fn prepare(root: &Path) -> Result<(), ToolchainError> {
    let home = root.join("target/toolchain");
    fs::create_dir_all(&home).map_err(at(&home))?;
    if !caller_has_own_tools(&home) {
        pip::bring(&home, &PINS)?;
    }
    link_compiler_headers(&home.join("include"))
}

/// Cargo itself sets both variables from `.cargo/config.toml`, so only other values are the caller's.
fn caller_has_own_tools(home: &Path) -> bool {
    let own = |name| std::env::var_os(name).is_some_and(|value: OsString| !Path::new(&value).starts_with(home));
    own("CMAKE") && own("LIBCLANG_PATH")
}

/// pip's libclang is a bare library: it takes `stdbool.h` and its like from the compiler that builds llama.cpp.
fn link_compiler_headers(link: &Path) -> Result<(), ToolchainError> {
    let output = Command::new("cc")
        .arg("-print-file-name=include")
        .output()
        .map_err(|source| ToolchainError::NoCompiler { source })?;
    let headers = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if !headers.join("stdbool.h").is_file() {
        return Err(ToolchainError::Headers { path: headers });
    }
    if fs::read_link(link).is_ok_and(|target| target == headers) {
        return Ok(());
    }
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(link)(error)),
        _ => {}
    }
    std::os::unix::fs::symlink(&headers, link).map_err(at(link))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ToolchainError {
    let path = path.to_owned();
    move |source| ToolchainError::Io { path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn compiler_headers_are_linked_again_where_the_link_is_stale() {
        let home = tempfile::tempdir().unwrap();
        let link = home.path().join("include");
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        link_compiler_headers(&link).unwrap();
        assert!(link.join("stdbool.h").is_file());
        link_compiler_headers(&link).unwrap();
    }
}
