//! The directory that a run writes into, and how to tell its state. Outputs lie in it under their ports' names; the
//! worker's own files have a dot in their name, which a port's name cannot have.
//!
//! ```text
//! <attempt>/<port>…        outputs
//! <attempt>/events.jsonl   what the worker reported
//! <attempt>/worker.lock    locked while a worker lives
//! <attempt>/result.json    written last: the attempt is finished and sealed
//! ```
//! `job.json` and `stderr.log` lie in the job's directory, which may be the same.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::Path;

use super::JobResult;
use super::result::RESULT_SCHEMA;

const RESULT: &str = "result.json";
const LOCK: &str = "worker.lock";
/// The worker's events, one JSON object a line.
pub const EVENTS: &str = "events.jsonl";
/// What the worker was asked.
pub const JOB: &str = "job.json";
/// What the worker wrote to stderr, and its plugins to stdout.
pub const STDERR: &str = "stderr.log";

/// How far an attempt came.
#[derive(Debug)]
pub enum State {
    /// Sealed; adopt it.
    Finished(Box<JobResult>),
    /// A worker is at it; wait.
    Running,
    /// Nobody is at it and it is not finished: its files mean nothing.
    Abandoned,
}

/// Looks at an attempt. A worker whose host died shows as running until it ends.
pub fn state(attempt: &Path) -> State {
    // The order matters: a worker writes its result before it lets go of the lock.
    let running = is_locked(attempt);
    match finished(attempt) {
        Some(result) => State::Finished(Box::new(result)),
        None if running => State::Running,
        None => State::Abandoned,
    }
}

/// The result of a finished attempt whose outputs are still there with the lengths that were sealed. Digests are not
/// computed again: whoever uses an artifact verifies it.
pub fn finished(attempt: &Path) -> Option<JobResult> {
    let text = std::fs::read(attempt.join(RESULT)).ok()?;
    let result: JobResult = serde_json::from_slice(&text).ok()?;
    let run = result.run()?;
    let whole = run.outputs.iter().all(|(port, output)| {
        let root = output.root(attempt, port);
        output.files.iter().all(|file| {
            let path = if file.path.is_empty() { root.clone() } else { root.join(&file.path) };
            std::fs::metadata(path).is_ok_and(|m| m.len() == file.bytes)
        })
    });
    (result.schema == RESULT_SCHEMA && whole).then_some(result)
}

/// Writes the result so that it is there whole or not at all.
pub(super) fn write_result(attempt: &Path, result: &JobResult) -> std::io::Result<()> {
    let temporary = attempt.join("result.json.tmp");
    let mut file = File::create(&temporary)?;
    serde_json::to_writer_pretty(&mut file, result)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&temporary, attempt.join(RESULT))?;
    crate::platform::sync_directory(attempt)
}

/// Takes the attempt for this process, until it ends. `None` where another worker has it.
pub(super) fn lock(attempt: &Path) -> std::io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(attempt.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn is_locked(attempt: &Path) -> bool {
    let Ok(file) = File::open(attempt.join(LOCK)) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}
