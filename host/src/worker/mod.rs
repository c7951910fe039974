//! Worker processes: the only ones that load plugins.
//!
//! `host worker JOB.json` ([`child`]) does one job and ends. The job file ([`Job`]) holds all it needs, so whoever can
//! start a process can run a stage: this program, a cluster's scheduler, a person. It reports [`Event`]s as JSON lines,
//! seals what a run wrote, and writes `result.json` last, so that a finished attempt can be recognized by whoever
//! comes later ([`attempt`]). [`run_job`] is the other end: it starts a worker, follows it, and turns whatever happens
//! to it into an answer or an error that says what happened.

pub mod attempt;
pub mod child;
mod event;
pub mod exit_code;
mod job;
mod parent;
mod result;

pub(crate) use child::hash_file;
pub use event::{Command, Event, EventBody, PROTOCOL};
pub use job::{CatalogueItem, ExtensionUse, Group, JOB_SCHEMA, Job, Mode, PluginFile};
pub use parent::{Limits, Supervisor, WorkerError, WorkerFailure, run_job};
pub use result::{Answer, JobResult, MemoryPeak, PluginDescription, RunAnswer, SealedFile, SealedOutput};
