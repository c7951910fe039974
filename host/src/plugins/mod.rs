//! Finds plugins and knows what they have, without loading one: each is asked once, in a worker of its own, and the
//! answer is remembered until its file changes.
//!
//! [`search`] says where to look, [`probe`] asks, [`memory`] remembers, [`Catalogue`] is what came of it.

mod catalogue;
mod memory;
mod probe;
mod search;

pub use catalogue::{Catalogue, Plugin, Rejected, Shadowed};
pub use memory::ProbeMemory;
pub use search::{Origin, SearchDir, search_dirs};
