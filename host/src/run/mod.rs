//! The directory of one run: everything that it did, for people and for scripts.

mod layout;
mod lineage;
mod record;
mod resolved;

pub use layout::RunLayout;
pub use record::{RecordError, RunRecord};
