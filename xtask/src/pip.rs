//! Packages from pip, each set in a directory of its own below `target`: no root, no environment to activate, and the
//! same versions everywhere.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// Why packages could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum PipError {
    /// There is no Python.
    #[error("cannot start `python3`, whose pip brings {packages}")]
    Missing { packages: String, source: io::Error },
    /// pip ended with an error.
    #[error("pip cannot install {packages}; its output:\n{output}")]
    Failed { packages: String, output: String },
    /// A file operation failed.
    #[error("cannot write `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Fills `home/python` with the packages `pins` (`name==version`), without what they say they need; gives that
/// directory. Quick where they are there.
///
/// # Errors
/// Where python3 with pip is missing, or pip cannot install the pinned versions.
pub fn bring(home: &Path, pins: &[&str]) -> Result<PathBuf, PipError> {
    let python = home.join("python");
    if is_installed(home, pins) {
        return Ok(python);
    }
    // Installed beside the final place and renamed: an interrupted installation is never taken for a whole one.
    let partial = home.join(format!("partial-{}", std::process::id()));
    fs::create_dir_all(home).map_err(at(home))?;
    install(&partial, pins)?;
    if python.exists() {
        fs::remove_dir_all(&python).map_err(at(&python))?;
    }
    fs::rename(&partial, &python).map_err(at(&python))?;
    let stamp = home.join(STAMP);
    fs::write(&stamp, pins.join("\n")).map_err(at(&stamp))?;
    Ok(python)
}

/// The file that says what is installed, written last.
const STAMP: &str = "installed";

fn is_installed(home: &Path, pins: &[&str]) -> bool {
    let stamped = fs::read_to_string(home.join(STAMP)).is_ok_and(|stamp| stamp == pins.join("\n"));
    stamped && home.join("python").is_dir()
}

fn install(into: &Path, pins: &[&str]) -> Result<(), PipError> {
    let packages = || pins.join(" and ");
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore"])
        .args(["--no-deps", "--only-binary=:all:", "--target"])
        .arg(into)
        .args(pins)
        .output()
        .map_err(|source| PipError::Missing { packages: packages(), source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(PipError::Failed { packages: packages(), output: String::from_utf8_lossy(&output.stderr).into_owned() })
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> PipError {
    let path = path.to_owned();
    move |source| PipError::Io { path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stamp_of_other_versions_is_not_installed() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        assert!(!is_installed(home, &["cmake==2"]));
        fs::create_dir_all(home.join("python")).unwrap();
        fs::write(home.join(STAMP), "cmake==1").unwrap();
        assert!(!is_installed(home, &["cmake==2"]));
        fs::write(home.join(STAMP), "cmake==2\nlibclang==1").unwrap();
        assert!(is_installed(home, &["cmake==2", "libclang==1"]));
        fs::remove_dir(home.join("python")).unwrap();
        assert!(!is_installed(home, &["cmake==2", "libclang==1"]), "a stamp alone is nothing");
    }
}
