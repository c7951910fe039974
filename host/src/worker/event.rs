//! What passes between a worker and whoever started it: JSON lines. Unknown events are skipped, so either side may be
//! newer.

use serde::{Deserialize, Serialize};
use stage_api::hosting::LogRecord;

use super::JobResult;

/// The version of these lines.
pub const PROTOCOL: u32 = 1;

/// One line from a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts from 0.
    pub seq: u64,
    /// Milliseconds since the worker started.
    pub t_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened in a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum EventBody {
    /// First.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The ABI version of the worker's program.
        abi: String,
        /// The process.
        pid: u32,
    },
    /// The process lives. It says nothing about progress.
    Beat {
        /// Processor time used so far.
        #[serde(default)]
        cpu_ms: u64,
        /// Anonymous memory at most so far, bytes.
        #[serde(default)]
        anonymous: Option<u64>,
        /// Resident memory at most so far, bytes.
        #[serde(default)]
        resident: Option<u64>,
    },
    /// How far the work is; thinned out to ten a second.
    Progress {
        /// `tokens`, `tensors`, …
        unit: String,
        /// So far.
        done: u64,
        /// 0 where unknown.
        total: u64,
    },
    /// One point of a series.
    Metric {
        /// The series.
        name: String,
        /// Its x.
        step: u64,
        /// Its y; null where it is no finite number.
        value: Option<f64>,
    },
    /// One event of a plugin's log.
    Log(LogRecord),
    /// Last, when it went well.
    Result {
        /// The answer, also in the attempt's `result.json` after a run.
        result: Box<JobResult>,
    },
    /// Last, when it did not.
    Error {
        /// What went wrong.
        error: stage_api::Error,
    },
}

/// One line to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "lowercase")]
pub enum Command {
    /// Stop soon.
    Cancel,
}
