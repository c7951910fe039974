//! From the command line to something that can be planned: file, plugins, cache, machine.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::args::PipelineArgs;
use super::error::CliError;
use crate::artifact::Store;
use crate::pipeline::{Pipeline, PipelineFile};
use crate::planning::{Planner, Resources};
use crate::platform;
use crate::schedule::Executor;
use crate::worker::CatalogueItem;

/// A pipeline with every name looked up, and what it runs with.
pub struct Loaded {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// What there is to run with.
    pub resources: Resources,
    catalogue: Vec<CatalogueItem>,
    store: Store,
}

impl Loaded {
    /// Reads the pipeline file, finds plugins and checks the one against the other.
    pub fn load(args: &PipelineArgs, cancel: &AtomicBool) -> Result<Self, CliError> {
        let failed = |source| CliError::ReadPipeline { path: args.file.clone(), source };
        let text = std::fs::read_to_string(&args.file).map_err(failed)?;
        let path = args.file.canonicalize().map_err(failed)?;
        let shown_as = args.file.display().to_string();
        let file = PipelineFile::parse(&path, &shown_as, &text, &args.set).map_err(CliError::Pipeline)?;
        let dirs: Vec<PathBuf> = args.plugins.iter().cloned().chain(file.plugin_dirs()).collect();
        let store = open_store()?;
        let found = super::plugins::discover(&dirs, cancel)?;
        let pipeline = file.resolve(&found.offers()).map_err(CliError::Pipeline)?;
        let threads = args.threads.map(usize::from);
        let resources = Resources::find(threads, args.memory, args.offline, store.root());
        Ok(Self { pipeline, resources, catalogue: found.extensions(), store })
    }

    /// A planner of this pipeline.
    pub fn planner<'a>(&'a self, executor: &'a dyn Executor, jobs: PathBuf, cancel: &'a AtomicBool) -> Planner<'a> {
        Planner {
            pipeline: &self.pipeline,
            catalogue: &self.catalogue,
            executor,
            store: &self.store,
            resources: self.resources.clone(),
            cancel,
            jobs,
        }
    }
}

/// The user's cache.
pub fn open_store() -> Result<Store, CliError> {
    let cache = platform::cache_dir().ok_or(CliError::NoCache)?;
    Ok(Store::open(&absolute(&cache)?)?)
}

/// The directory that the command was typed in.
pub fn current_dir() -> Result<PathBuf, CliError> {
    std::env::current_dir().map_err(CliError::WorkingDir)
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    Ok(current_dir()?.join(path))
}
