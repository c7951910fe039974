//! `cargo xtask parity`: asks transformers, PEFT and llama.cpp anew what the golden files say, and holds what we make of
//! a real model against what they make of it.

mod convert;
mod golden;
mod llama_cpp;

use crate::host::HostError;
use crate::peers::{PeerError, Peers};
use crate::pip::PipError;
use crate::workspace::{Workspace, WorkspaceError};
use llama_cpp::LlamaCpp;

/// Why there is no parity.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// Nothing could be built.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// Our side failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The other side failed, or differs and has said where.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// Packages are missing.
    #[error(transparent)]
    Pip(#[from] PipError),
    /// Golden files are not what the programs give today.
    #[error(
        "golden files changed; `git diff` shows how, and they belong in the next commit if the programs are right:\n{files}"
    )]
    GoldenChanged { files: String },
}

/// Makes every golden file again, then compares conversions of SmolLM2.
///
/// # Errors
/// Where a program cannot be brought, or the two sides differ.
pub fn parity(workspace: &Workspace) -> Result<(), ParityError> {
    workspace.prepare()?;
    let peers = Peers::bring(workspace.root())?;
    let llama_cpp = LlamaCpp::bring(workspace)?;
    golden::make(workspace, &peers, &llama_cpp)?;
    println!("golden files: what transformers, PEFT and llama.cpp give today");
    convert::compare(workspace, &peers, &llama_cpp)
}
