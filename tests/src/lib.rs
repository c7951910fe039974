//! Drives the real `host` binary in fresh directories, for the tests beside this crate.
//!
//! Binary and plugins come from the target directory that the tests themselves were built into; `cargo xtask test`
//! builds them first.

pub mod adapters;
pub mod checkpoint_edit;
pub mod family_models;
pub mod hub;
pub mod llama32;
pub mod mlx_models;
pub mod report;
pub mod tiny_llama;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A test with a fresh directory and a `host` command in it:
/// `host_test!(name, |dir: Dir, host: HostCommand| { … });`
#[macro_export]
macro_rules! host_test {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            let dir = $crate::Dir::new();
            let host = dir.host();
            let body: fn($crate::Dir, $crate::HostCommand) = $body;
            body(dir, host);
        }
    };
}

/// Where `cargo` put the binary and the plugins: two levels above a test's executable.
pub fn target_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a test has an executable");
    test.parent().and_then(Path::parent).expect("cargo puts tests below a profile's directory").to_owned()
}

/// The `host` binary.
pub fn host_binary() -> PathBuf {
    let path = target_dir().join(format!("host{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "`{}` is missing: `cargo xtask test` builds it", path.display());
    path
}

/// A plugin that was built beside the `host` binary.
pub fn plugin(name: &str) -> PathBuf {
    let file = format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let path = target_dir().join(file);
    assert!(path.exists(), "`{}` is missing: `cargo xtask test` builds it", path.display());
    path
}

/// A fresh directory, deleted at the end.
pub struct Dir {
    root: TempDir,
}

impl Default for Dir {
    fn default() -> Self {
        Self::new()
    }
}

impl Dir {
    /// An empty directory.
    pub fn new() -> Self {
        Self { root: TempDir::new().expect("a temporary directory") }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a file in it.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("a directory for the file");
        fs::write(&path, text).expect("the file");
        path
    }

    /// Reads a file in it.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("`{name}`: {e}"))
    }

    /// Reads a JSON file in it.
    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap_or_else(|e| panic!("`{name}`: {e}"))
    }

    /// A `host` command that runs in it and keeps cache, home and data in it.
    pub fn host(&self) -> HostCommand {
        let mut command = Command::new(host_binary());
        command.current_dir(self.root.path());
        command.env("HOST_CACHE_DIR", self.path("cache"));
        command.env("HOME", self.path("home")).env("XDG_DATA_HOME", self.path("data"));
        command.env_remove("HOST_PLUGIN_PATH").env_remove("RUST_BACKTRACE");
        HostCommand { command }
    }
}

/// A `host` command that is being put together.
pub struct HostCommand {
    command: Command,
}

impl HostCommand {
    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The command, for tests that send signals.
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Runs it and expects `code`.
    #[track_caller]
    pub fn exits(mut self, code: i32) -> Finished {
        let output = self.command.output().expect("host starts");
        let finished = Finished::new(&output);
        assert_eq!(output.status.code(), Some(code), "{finished}");
        finished
    }
}

/// What a command printed.
pub struct Finished {
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl Finished {
    /// What a process printed.
    pub fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// Stdout as the one object that `--json` promises.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("stdout is no JSON: {e}\n{self}"))
    }

    /// Expects `text` on stderr.
    #[track_caller]
    pub fn complains(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "stderr does not say `{text}`\n{self}");
        self
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr)
    }
}
