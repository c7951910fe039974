//! The worker's own side: one job, then the end of the process.

mod answer;
mod promise;
mod reporter;
mod seal;
mod services;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use stage_api::hosting::ABI_VERSION;
use stage_api::{Error, Result};

use super::event::{EventBody, PROTOCOL};
use super::{JOB_SCHEMA, Job, JobResult, Mode, attempt, exit_code};
use crate::platform;
use reporter::Reporter;
pub(crate) use seal::hash_file;
use watch::Watch;

/// Does the job in the file at `path` and ends the process with a code of [`exit_code`].
pub fn main(path: &Path) -> ! {
    let code = match platform::claim_stdout() {
        Ok(wire) => report(path, Arc::new(Reporter::new(wire))),
        Err(error) => {
            eprintln!("error: a worker cannot use its stdout: {error}");
            exit_code::JOB
        }
    };
    platform::end_process(code)
}

fn report(path: &Path, reporter: Arc<Reporter>) -> u8 {
    reporter.send(EventBody::Hello { protocol: PROTOCOL, abi: ABI_VERSION.into(), pid: std::process::id() });
    let result = read_job(path).and_then(|job| perform(job, &reporter));
    match result {
        Ok(result) => {
            reporter.finish(EventBody::Result { result: Box::new(result) });
            exit_code::OK
        }
        Err(error) => {
            let code = exit_code::of(&error);
            reporter.finish(EventBody::Error { error });
            code
        }
    }
}

fn bad_job(message: String) -> Error {
    Error::new("bad_job", message)
}

fn read_job(path: &Path) -> Result<Job> {
    let at = path.display();
    let text = std::fs::read(path).map_err(|e| bad_job(format!("job file `{at}` cannot be read: {e}")))?;
    let job: Job =
        serde_json::from_slice(&text).map_err(|e| bad_job(format!("job file `{at}` cannot be understood: {e}")))?;
    if job.schema != JOB_SCHEMA {
        return Err(bad_job(format!("job file `{at}` has schema {}, this program has {JOB_SCHEMA}", job.schema)));
    }
    if job.mode == Mode::Run && job.request.attempt.is_none() {
        return Err(bad_job(format!("job file `{at}` says `run` without `request.attempt`")));
    }
    Ok(job)
}

fn perform(job: Job, reporter: &Arc<Reporter>) -> Result<JobResult> {
    let started = Instant::now();
    settle(&job)?;
    let io = |what: &str, e: std::io::Error| bad_job(format!("{what} of the attempt: {e}"));
    let sealing = (job.mode == Mode::Run && job.group.rank == 0).then(|| job.request.attempt.clone()).flatten();
    // Held until the process ends, however it ends.
    let mut lock = None;
    if let Some(dir) = &sealing {
        std::fs::create_dir_all(dir).map_err(|e| io("directory", e))?;
        lock = attempt::lock(dir).map_err(|e| io("lock", e))?;
        if lock.is_none() {
            return Err(bad_job(format!("another worker is at attempt `{}`", dir.display())));
        }
        reporter.also_write_to(&dir.join(attempt::EVENTS)).map_err(|e| io("event file", e))?;
    }
    let watch = Watch::start(&job, reporter.clone());
    let mut result = answer::answer(Arc::new(job), reporter.clone(), &watch)?;
    result.memory = watch.memory_peak();
    result.seconds = started.elapsed().as_secs_f64();
    if let Some(dir) = &sealing {
        watch.refuse_to_be_ended();
        attempt::write_result(dir, &result).map_err(|e| Error::from_source("io", &e))?;
    }
    drop(lock);
    Ok(result)
}

/// What every worker does with its process before it loads anything.
fn settle(job: &Job) -> Result<()> {
    if !job.detached {
        platform::follow_parent();
    }
    platform::forbid_core_dumps();
    platform::prefer_as_oom_victim();
    match job.memory_limit {
        Some(bytes) => platform::limit_private_memory(bytes)
            .map_err(|e| bad_job(format!("memory cannot be limited to {bytes} bytes: {e}"))),
        None => Ok(()),
    }
}
