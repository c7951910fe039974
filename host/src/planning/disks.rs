//! What a pipeline writes, disk by disk: artifacts go into the cache, downloads into that of their hub.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::stage_plan::StagePlan;
use crate::platform::Disk;

/// What all stages write on one disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskUse {
    /// What is written into; `None` where artifacts are among it.
    pub directory: Option<PathBuf>,
    /// Bytes.
    pub needed: u64,
    /// The disk; `None` where the system does not say.
    #[serde(rename = "free")]
    pub disk: Option<Disk>,
}

/// The disk of the artifacts, then every other one that a stage writes on.
pub fn disk_uses(
    stages: &[StagePlan],
    artifacts: Option<Disk>,
    disk_of: impl Fn(&Path) -> Option<Disk>,
) -> Vec<DiskUse> {
    let to_run = || stages.iter().filter(|s| !s.is_cached()).map(|s| &s.plan.estimate);
    // Scratch is deleted when its stage is done, so only the largest counts.
    let scratch = to_run().filter_map(|e| e.scratch).max().unwrap_or(0);
    let mut uses = vec![DiskUse { directory: None, needed: scratch, disk: artifacts }];
    for estimate in to_run() {
        let bytes = estimate.disk.unwrap_or(0);
        let disk = estimate.disk_at.as_deref().and_then(&disk_of).or(artifacts);
        let device = disk.map(|d| d.device);
        match uses.iter_mut().find(|of| of.disk.map(|d| d.device) == device) {
            Some(of) => of.needed = of.needed.saturating_add(bytes),
            None => uses.push(DiskUse { directory: estimate.disk_at.clone(), needed: bytes, disk }),
        }
    }
    uses
}
