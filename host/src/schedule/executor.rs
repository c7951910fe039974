//! Where jobs are done.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::worker::{self, Event, Job, JobResult, WorkerError};

/// Does one job in a process of its own. A job is self-contained, so that the process may be anywhere.
pub trait Executor {
    /// Does `job` to its end, whatever that is; `dir` takes the job file and the worker's stderr.
    ///
    /// Returns soon after `cancel` is set. After a run that succeeded, the attempt is finished (`worker::attempt`).
    fn execute(
        &self,
        job: &Job,
        dir: &Path,
        on_event: &mut dyn FnMut(&Event),
        cancel: &AtomicBool,
    ) -> Result<JobResult, WorkerError>;
}

/// Workers on this machine.
pub struct LocalWorkers;

impl Executor for LocalWorkers {
    fn execute(
        &self,
        job: &Job,
        dir: &Path,
        on_event: &mut dyn FnMut(&Event),
        cancel: &AtomicBool,
    ) -> Result<JobResult, WorkerError> {
        worker::run_job(job, dir, on_event, cancel)
    }
}
