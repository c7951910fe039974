//! What a stage author sees.

#![deny(missing_docs)]

mod context;
mod error;
mod plan;
mod signature;
mod stage;

pub use context::{CatalogueEntry, Context, ExtensionHandle, Host, Input, REFERENCE_FILE, Request};
pub use error::{Error, Result};
pub use plan::{Certainty, Description, Estimate, Finding, Outcome, Plan, Severity};
pub use signature::{Port, Signature, kind};
pub use stage::{Extension, Stage};
