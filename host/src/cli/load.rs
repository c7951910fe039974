//! From the command line to something that can be planned: file, plugins, cache, machine.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::args::PipelineArgs;
use super::error::CliError;
use stage_api::Signature;

use crate::artifact::{DigestMemory, Store};
use crate::pipeline::{Offer, Pipeline, PipelineFile};
use crate::planning::{Planner, Resources};
use crate::platform;
use crate::plugins::{Catalogue, Plugin, ProbeMemory, search_dirs};
use crate::report::visible;
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
        let cache = cache_dir()?;
        let catalogue = discover(&dirs, &cache, cancel)?;
        let resolved = file.resolve(&offers(&catalogue));
        warn_of_rejected(&catalogue, resolved.is_err());
        let pipeline = resolved.map_err(CliError::Pipeline)?;
        let store = Store::open(&cache)?;
        let threads = args.threads.map(usize::from);
        let resources = Resources::find(threads, args.memory, args.offline, store.root());
        Ok(Self { pipeline, resources, catalogue: catalogue.extensions(), store })
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

/// Finds every plugin; `dirs` come before the usual places.
pub fn discover(dirs: &[PathBuf], cache: &Path, cancel: &AtomicBool) -> Result<Catalogue, CliError> {
    let named: Vec<PathBuf> = dirs.iter().map(|d| absolute(d)).collect::<Result<_, _>>()?;
    let digests = DigestMemory::in_cache(cache);
    Ok(Catalogue::discover(&search_dirs(&named), &ProbeMemory::new(cache), &digests, cancel))
}

fn offers(catalogue: &Catalogue) -> Vec<Offer> {
    let offer = |(plugin, signature): (&Plugin, &Signature)| Offer {
        plugin: plugin.name().to_owned(),
        path: plugin.path.clone(),
        digest: plugin.digest.clone(),
        signature: signature.clone(),
    };
    catalogue.stages().map(offer).collect()
}

/// A plugin that can't be used is worth a word where somebody named it, or where something is missing.
fn warn_of_rejected(catalogue: &Catalogue, missing: bool) {
    for rejected in catalogue.rejected.iter().filter(|r| missing || r.origin.is_named()) {
        eprintln!("warning: {}", visible(&rejected.message));
        rejected.help.iter().for_each(|h| eprintln!("  help: {}", visible(h)));
    }
}

/// The user's cache directory, absolute.
pub fn cache_dir() -> Result<PathBuf, CliError> {
    absolute(&platform::cache_dir().ok_or(CliError::NoCache)?)
}

/// The directory that the command was typed in.
pub fn current_dir() -> Result<PathBuf, CliError> {
    std::env::current_dir().map_err(CliError::WorkingDir)
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    Ok(current_dir()?.join(path))
}
