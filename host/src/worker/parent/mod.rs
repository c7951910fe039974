//! The side that starts a worker, follows it and says what became of it.

mod error;
mod patience;
mod process;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::event::{Event, EventBody};
use super::{Job, JobResult, MemoryPeak, Mode, attempt};
pub use error::{WorkerError, WorkerFailure};
pub use patience::Limits;
use patience::{End, Patience};
use process::{Ended, Process};

/// How often the request to stop and the limits are looked at.
const TICK: Duration = Duration::from_millis(50);

/// Runs a job in a worker of this very program; see [`Supervisor::run`].
pub fn run_job(
    job: &Job,
    dir: &Path,
    on_event: &mut dyn FnMut(&Event),
    cancel: &AtomicBool,
) -> Result<JobResult, WorkerError> {
    let program = std::env::current_exe().unwrap_or_else(|_| "host".into());
    Supervisor { program, limits: Limits::from_environment() }.run(job, dir, on_event, cancel)
}

/// Starts workers.
pub struct Supervisor {
    /// The program whose `worker` subcommand is started.
    pub program: PathBuf,
    /// How long a worker may show nothing.
    pub limits: Limits,
}

impl Supervisor {
    /// Runs a job to its end, whatever that is. `dir` takes the job file and `stderr.log`; it may be the attempt's
    /// directory. Call it from a thread that lives as long as the job: the worker ends with it.
    pub fn run(
        &self,
        job: &Job,
        dir: &Path,
        on_event: &mut dyn FnMut(&Event),
        cancel: &AtomicBool,
    ) -> Result<JobResult, WorkerError> {
        let process = Process::start(&self.program, job, dir).map_err(|f| WorkerError::new(job, f))?;
        let mut follower = Follower { answer: None, peak: MemoryPeak::default(), patience: Patience::new(self.limits) };
        follower.follow(&process, on_event, cancel);
        let end = follower.patience.end();
        verdict(job, follower.answer, follower.peak, end, process.end())
    }
}

struct Follower {
    answer: Option<Result<JobResult, stage_api::Error>>,
    peak: MemoryPeak,
    patience: Patience,
}

impl Follower {
    /// Returns when the worker closed its pipe, which only its end does.
    fn follow(&mut self, process: &Process, on_event: &mut dyn FnMut(&Event), cancel: &AtomicBool) {
        loop {
            match process.events.recv_timeout(TICK) {
                Ok(event) => {
                    self.take(&event);
                    on_event(&event);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.patience.act(process, cancel.load(Ordering::Relaxed));
        }
    }

    fn take(&mut self, event: &Event) {
        self.patience.saw(&event.body);
        match &event.body {
            EventBody::Beat { anonymous, resident, .. } => {
                self.peak = MemoryPeak { anonymous: *anonymous, resident: *resident };
            }
            EventBody::Result { result } => self.answer = Some(Ok((**result).clone())),
            EventBody::Error { error } => self.answer = Some(Err(error.clone())),
            _ => {}
        }
    }
}

/// An answer counts however the process ended after it; without one, the way it ended is all there is to tell.
fn verdict(
    job: &Job,
    answer: Option<Result<JobResult, stage_api::Error>>,
    peak: MemoryPeak,
    end: Option<End>,
    ended: Ended,
) -> Result<JobResult, WorkerError> {
    let failure = match (answer, end) {
        (Some(Ok(result)), _) => return Ok(result),
        (Some(Err(error)), _) if error.code == stage_api::Error::CANCELLED => WorkerFailure::Cancelled,
        (_, Some(End::Cancelled)) => WorkerFailure::Cancelled,
        (Some(Err(error)), _) => WorkerFailure::Reported { error: Box::new(error) },
        (None, Some(End::Silent(after))) => WorkerFailure::Silent { seconds: after.as_secs() },
        (None, Some(End::Stalled(after))) => WorkerFailure::Stalled { seconds: after.as_secs() },
        (None, None) => {
            if let Some(result) = sealed_without_telling(job) {
                return Ok(result);
            }
            WorkerFailure::of_status(ended.status, peak)
        }
    };
    Err(WorkerError { stderr: ended.stderr, ..WorkerError::new(job, failure) })
}

/// A worker can lose its pipe and still finish.
fn sealed_without_telling(job: &Job) -> Option<JobResult> {
    if job.mode != Mode::Run {
        return None;
    }
    attempt::finished(job.request.attempt.as_deref()?)
}

#[cfg(test)]
mod tests;
