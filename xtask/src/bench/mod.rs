//! `cargo xtask bench`: what we do and what the programs of others do, one after the other on one machine, as tables for
//! `BENCHMARKS.md`.

mod figures;
mod free_memory;
mod shipping;
mod table;
mod training;

use crate::host::HostError;
use crate::peers::PeerError;
use crate::workspace::{Workspace, WorkspaceError};

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// No such measurement.
    #[error("there is no measurement `{name}`; known: {}", PARTS.map(|(name, _)| name).join(", "))]
    Unknown { name: String },
    /// Nothing could be built.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// Our side failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The other side failed.
    #[error(transparent)]
    Peer(#[from] PeerError),
}

type Part = (&'static str, fn(&Workspace) -> Result<(), BenchError>);

const PARTS: [Part; 2] = [("training", training::bench), ("shipping", shipping::bench)];

/// Makes the measurements of these names, all where none is given.
///
/// # Errors
/// Where a name is unknown, or one side fails.
pub fn bench(workspace: &Workspace, names: &[String]) -> Result<(), BenchError> {
    if let Some(name) = names.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        return Err(BenchError::Unknown { name: name.clone() });
    }
    let chosen = PARTS.iter().filter(|(part, _)| names.is_empty() || names.iter().any(|name| name == part));
    chosen.into_iter().try_for_each(|(_, measure)| measure(workspace))
}
