//! What there is to run with.

use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use serde::Serialize;

use crate::platform::{self, Disk};

/// What there is to run with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Threads that a stage may keep busy.
    pub threads: usize,
    /// Bytes of anonymous memory that a stage may use; `None` where neither user nor system say.
    pub memory: Option<u64>,
    /// Whether the user set the limit, so that it is enforced.
    pub memory_is_limit: bool,
    /// The disk that artifacts go onto; `None` where the system does not say.
    pub disk: Option<Disk>,
    /// Whether network use is forbidden.
    pub offline: bool,
}

impl Resources {
    /// What the machine has, with what the user chose; `artifacts` is the directory that artifacts go into.
    pub fn find(threads: Option<usize>, memory: Option<u64>, offline: bool, artifacts: &Path) -> Self {
        Self {
            threads: threads.unwrap_or_else(|| available_parallelism().map_or(1, NonZero::get)),
            memory: memory.or_else(platform::available_memory),
            memory_is_limit: memory.is_some(),
            disk: platform::disk_of(artifacts),
            offline,
        }
    }

    /// The hard limit on a worker's private memory: only what the user asked for is enforced, with room for what an
    /// estimate does not see (stacks, allocator, code of the plugins).
    pub fn hard_limit(&self) -> Option<u64> {
        let room = |bytes: u64| bytes.saturating_add(bytes / 4).saturating_add(256 << 20);
        self.memory.filter(|_| self.memory_is_limit).map(room)
    }
}
