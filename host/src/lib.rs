//! Plans and runs pipelines of plugin stages. Knows no model family, no quantizer, no tensor.

pub mod artifact;
pub mod cli;
pub mod exit_code;
pub mod key;
pub mod pipeline;
pub mod planning;
pub mod platform;
pub mod plugins;
pub mod report;
pub mod run;
pub mod schedule;
pub mod worker;
