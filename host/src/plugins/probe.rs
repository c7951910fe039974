//! Asks one plugin what it has, in a worker of its own: loading may run anything, and a damaged file kills whoever
//! loads it.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use stage_api::Request;

use super::memory::ProbeMemory;
use crate::artifact::{ContentError, DigestMemory};
use crate::platform::FileIdentity;
use crate::worker::{self, Job, Mode, PluginDescription, PluginFile, WorkerError, WorkerFailure};

/// What came of asking. Only answers are remembered: a crash may have had reasons outside the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Probed {
    /// A plugin.
    Plugin {
        /// SHA-256 of its file, in hex.
        digest: String,
        /// What it has.
        description: Box<PluginDescription>,
    },
    /// A library of somebody else.
    NoPlugin,
}

/// Why a plugin could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("`{}` cannot be looked at: {source}", path.display())]
    Look { path: std::path::PathBuf, source: std::io::Error },
    #[error(transparent)]
    Content(#[from] ContentError),
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

/// Asks plugins, or remembers.
pub(super) struct Prober<'a> {
    pub(super) memory: &'a ProbeMemory,
    pub(super) digests: &'a DigestMemory,
    pub(super) cancel: &'a AtomicBool,
}

impl Prober<'_> {
    pub(super) fn probe(&self, path: &Path) -> Result<Probed, ProbeError> {
        let look = |source| ProbeError::Look { path: path.into(), source };
        let file = FileIdentity::of(path).map_err(look)?;
        if let Some(known) = self.memory.recall(&file) {
            return Ok(known);
        }
        let probed = match self.ask(path) {
            Ok(Some(description)) => {
                Probed::Plugin { digest: self.digests.file(path)?, description: Box::new(description) }
            }
            Ok(None) => Probed::NoPlugin,
            Err(error) => return Err(error),
        };
        // A file that changed meanwhile, as in the middle of a build, has answered for nobody.
        if FileIdentity::of(path).map_err(look)? == file {
            self.memory.remember(file, &probed);
        }
        Ok(probed)
    }

    fn ask(&self, path: &Path) -> Result<Option<PluginDescription>, ProbeError> {
        let dir = tempfile::tempdir().map_err(|source| ProbeError::Look { path: std::env::temp_dir(), source })?;
        let file = PluginFile { path: path.into(), digest: None };
        let mut job = Job::new(Mode::Probe, file, "", Request { threads: 1, ..Request::default() });
        job.log_level = None;
        match worker::run_job(&job, dir.path(), &mut |_| {}, self.cancel) {
            Ok(result) => Ok(result.probe()),
            Err(WorkerError { failure: WorkerFailure::Reported { error }, .. }) if error.code == "not_a_plugin" => {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}
