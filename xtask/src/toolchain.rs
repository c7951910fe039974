//! cmake and libclang, which llama.cpp's build needs, through pip: no root, and the same versions everywhere.
//!
//! `.cargo/config.toml` points every cargo call in this workspace at the places that [`prepare`] fills, so a plain
//! `cargo build` behaves like one started from here: another environment would build llama.cpp again, which costs
//! minutes. Whoever sets `CMAKE` and `LIBCLANG_PATH` keeps their own tools.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// What pip installs; a change here installs again.
const PINS: [&str; 2] = ["cmake==4.4.5", "libclang==18.1.1"];

/// Why the tools could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// A program that must be there already is not.
    #[error("cannot start `{program}`, which brings {brings}; install it, or {OWN_TOOLS}")]
    Missing { program: &'static str, brings: &'static str, source: io::Error },
    /// pip ended with an error.
    #[error("pip cannot install {}; its output:\n{output}\nfix that, or {OWN_TOOLS}", PINS.join(" and "))]
    Pip { output: String },
    /// The C compiler has no directory of headers of its own where it says.
    #[error("`cc` names `{}` as the directory of its own headers, but there is no `stdbool.h` in it", path.display())]
    Headers { path: PathBuf },
    /// A file operation failed.
    #[error("cannot write `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

const OWN_TOOLS: &str = "set `CMAKE` to a cmake and `LIBCLANG_PATH` to the directory of a libclang";

/// Fills `target/toolchain` of the workspace at `root`. Quick where everything is there.
///
/// # Errors
/// Where python3 with pip or a C compiler is missing, or pip cannot install the pinned versions.
pub fn prepare(root: &Path) -> Result<(), ToolchainError> {
    let home = root.join("target/toolchain");
    let python = home.join("python");
    fs::create_dir_all(&home).map_err(at(&home))?;
    if !caller_has_own_tools(&home) && !is_installed(&home) {
        install(&home, &python)?;
    }
    link_compiler_headers(&home.join("include"))
}

/// Cargo itself sets both variables from `.cargo/config.toml`, so only other values are the caller's.
fn caller_has_own_tools(home: &Path) -> bool {
    let own = |name| std::env::var_os(name).is_some_and(|value: OsString| !Path::new(&value).starts_with(home));
    own("CMAKE") && own("LIBCLANG_PATH")
}

fn is_installed(home: &Path) -> bool {
    fs::read_to_string(home.join("installed")).is_ok_and(|stamp| stamp == PINS.join("\n"))
        && home.join("python/cmake/data/bin").is_dir()
        && home.join("python/clang/native").is_dir()
}

/// Installs beside the final place and renames, so that an interrupted installation is never taken for a whole one.
fn install(home: &Path, python: &Path) -> Result<(), ToolchainError> {
    let partial = home.join(format!("partial-{}", std::process::id()));
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--target"])
        .arg(&partial)
        .args(PINS)
        .output()
        .map_err(|source| ToolchainError::Missing { program: "python3", brings: "cmake and libclang", source })?;
    if !output.status.success() {
        return Err(ToolchainError::Pip { output: String::from_utf8_lossy(&output.stderr).into_owned() });
    }
    if python.exists() {
        fs::remove_dir_all(python).map_err(at(python))?;
    }
    fs::rename(&partial, python).map_err(at(python))?;
    let stamp = home.join("installed");
    fs::write(&stamp, PINS.join("\n")).map_err(at(&stamp))
}

/// pip's libclang is a bare library: it takes `stdbool.h` and its like from the compiler that builds llama.cpp.
fn link_compiler_headers(link: &Path) -> Result<(), ToolchainError> {
    let output = Command::new("cc")
        .arg("-print-file-name=include")
        .output()
        .map_err(|source| ToolchainError::Missing { program: "cc", brings: "a C and C++ compiler", source })?;
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
    fn a_stamp_of_other_versions_is_not_installed() {
        let home = std::env::temp_dir().join(format!("toolchain-stamp-{}", std::process::id()));
        fs::create_dir_all(home.join("python/cmake/data/bin")).unwrap();
        fs::create_dir_all(home.join("python/clang/native")).unwrap();
        assert!(!is_installed(&home));
        fs::write(home.join("installed"), "cmake==1").unwrap();
        assert!(!is_installed(&home));
        fs::write(home.join("installed"), PINS.join("\n")).unwrap();
        assert!(is_installed(&home));
        fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn compiler_headers_are_linked_again_where_the_link_is_stale() {
        let home = std::env::temp_dir().join(format!("toolchain-link-{}", std::process::id()));
        fs::create_dir_all(&home).unwrap();
        let link = home.join("include");
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        link_compiler_headers(&link).unwrap();
        assert!(link.join("stdbool.h").is_file());
        link_compiler_headers(&link).unwrap();
        fs::remove_dir_all(&home).unwrap();
    }
}
