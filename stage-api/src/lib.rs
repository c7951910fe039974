//! What a stage author sees: a stage plans on descriptions and runs on data.
//!
//! A plugin is a library crate with `crate-type = ["cdylib"]`, this dependency, and the code below. It has a stage
//! that counts the lines of its input's file, and an extension that others look up.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use stage_api::serde_json::{Value, json};
//! use stage_api::{Context, Description, Error, Extension, Outcome, Plan, Port, Result, Signature, Stage, kind};
//!
//! struct CountLines;
//!
//! impl Stage for CountLines {
//!     fn signature(&self) -> Signature {
//!         Signature {
//!             id: "count-lines".into(),
//!             summary: "counts the lines of a file".into(),
//!             revision: Some(1),
//!             inputs: vec![Port::new("text", kind::REPORT, "the file whose lines are counted")],
//!             outputs: vec![Port::new("report", kind::REPORT, "the number of lines, as JSON")],
//!             params: json!({ "type": "object", "additionalProperties": false, "properties": {
//!                 "comment": { "type": "string", "description": "lines that start with it do not count" },
//!             }}),
//!         }
//!     }
//!
//!     // Before anything runs: the number is not known yet, but what kind of thing comes out is.
//!     fn plan(&self, _ctx: &Context) -> Result<Plan> {
//!         let outputs = BTreeMap::from([("report".into(), Description::unknown(kind::REPORT))]);
//!         Ok(Plan { outputs, ..Plan::default() })
//!     }
//!
//!     fn run(&self, ctx: &Context) -> Result<Outcome> {
//!         let io = |e: std::io::Error| Error::from_source("io", &e);
//!         let comment = ctx.request().params["comment"].as_str();
//!         let text = std::fs::read_to_string(ctx.input_path("text")?).map_err(io)?;
//!         let counts = |line: &&str| comment.is_none_or(|mark| !line.starts_with(mark));
//!         ctx.check_cancelled()?;
//!         let lines = text.lines().filter(counts).count();
//!         stage_api::tracing::info!(lines, "counted");
//!
//!         let found = json!({ "lines": lines });
//!         std::fs::write(ctx.output("report")?, found.to_string()).map_err(io)?;
//!         let outputs = BTreeMap::from([("report".into(), Description::exact(kind::REPORT, found))]);
//!         Ok(Outcome { outputs, ..Outcome::default() })
//!     }
//! }
//!
//! struct Shout;
//!
//! impl Extension for Shout {
//!     fn kind(&self) -> &str {
//!         "voice"
//!     }
//!     fn id(&self) -> &str {
//!         "shout"
//!     }
//!     fn claims(&self) -> BTreeMap<String, Vec<String>> {
//!         BTreeMap::new()
//!     }
//!     // Whoever defines the kind `voice` defines its operations.
//!     fn call(&self, op: &str, input: Value) -> Result<Value> {
//!         match op {
//!             "say" => Ok(json!(input.as_str().unwrap_or_default().to_uppercase())),
//!             _ => Err(Error::new(Error::UNSUPPORTED, format!("`shout` has no operation `{op}`"))),
//!         }
//!     }
//! }
//!
//! stage_api::plugin![stage(CountLines), extension(Shout)];
//! # fn main() {}
//! ```
//!
//! `host plugins list` finds the built library beside the `host` program, in a directory that a pipeline names
//! (`plugins = ["…"]`) or in `HOST_PLUGIN_PATH`. Every call runs in a worker process. A panic becomes an error that
//! names plugin and stage; even an abort ends the stage, not the run. The macro refuses `panic = "abort"`.
//! Do not set a global allocator with static thread-local storage (mimalloc, jemalloc) in a plugin: only some 17 such
//! libraries fit into a process.

#![deny(missing_docs)]

#[doc(hidden)]
pub mod boundary;
mod context;
mod error;
pub mod hosting;
mod plan;
mod plugin;
mod signature;
mod stage;

pub use context::{CatalogueEntry, Context, ExtensionHandle, Host, Input, REFERENCE_FILE, Request};
pub use error::{Error, Result};
pub use plan::{Certainty, Description, Estimate, Finding, Outcome, Plan, Severity};
pub use plugin::register;
pub use serde_json;
pub use signature::{Port, Signature, kind};
pub use stage::{Extension, Stage};
#[doc(hidden)]
pub use stage_abi as __abi;
pub use tracing;
