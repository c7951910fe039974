//! Runs what a plan says: one stage at a time, each in a worker.

mod dispatcher;
mod executor;
#[cfg(test)]
pub mod fake;
mod ready;

pub use dispatcher::{Dispatcher, RunError};
pub use executor::{Executor, LocalWorkers};
pub use ready::{Progress, ready};

#[cfg(test)]
mod tests;
