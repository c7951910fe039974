//! Everything that the plugins found have.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use stage_api::Signature;

use super::memory::ProbeMemory;
use super::probe::{ProbeError, Probed, Prober};
use super::search::{self, Origin, SearchDir};
use crate::artifact::DigestMemory;
use crate::worker::{CatalogueItem, PluginDescription, PluginFile};

/// Everything that the plugins found have, first place first.
#[derive(Debug, Default, Serialize)]
pub struct Catalogue {
    /// Plugins that can be used.
    pub plugins: Vec<Plugin>,
    /// Files that should be plugins and cannot be used.
    pub rejected: Vec<Rejected>,
    /// Plugins that another of the same name hides.
    pub shadowed: Vec<Shadowed>,
}

/// A plugin that can be used.
#[derive(Debug, Clone, Serialize)]
pub struct Plugin {
    /// The file, absolute, with links resolved.
    pub path: PathBuf,
    /// SHA-256 of the file, in hex.
    pub digest: String,
    /// Why it was found.
    pub origin: Origin,
    /// What it has.
    #[serde(flatten)]
    pub description: PluginDescription,
}

impl Plugin {
    /// The plugin's name, as in `plugin/stage`.
    pub fn name(&self) -> &str {
        &self.description.info.name
    }

    /// The file, as jobs name it.
    pub fn file(&self) -> PluginFile {
        PluginFile { path: self.path.clone(), digest: Some(self.digest.clone()) }
    }
}

/// A file or place that cannot be used.
#[derive(Debug, Clone, Serialize)]
pub struct Rejected {
    /// The file or place.
    pub path: PathBuf,
    /// Why it was looked at.
    pub origin: Origin,
    /// A stable identifier.
    pub code: String,
    /// Why it cannot be used.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// A plugin that another of the same name hides: the place that comes first wins, as on a program's search path.
#[derive(Debug, Clone, Serialize)]
pub struct Shadowed {
    /// Its name.
    pub name: String,
    /// The file that is not used.
    pub path: PathBuf,
    /// The file that is.
    pub by: PathBuf,
}

impl Catalogue {
    /// Looks for plugins at `places` and asks those that are not remembered. Stops early once `cancel` is set.
    pub fn discover(places: &[SearchDir], memory: &ProbeMemory, digests: &DigestMemory, cancel: &AtomicBool) -> Self {
        let prober = Prober { memory, digests, cancel };
        let mut catalogue = Self::default();
        let mut seen = std::collections::BTreeSet::new();
        for place in places {
            match search::libraries(place) {
                Ok(files) => {
                    for file in files {
                        if !cancel.load(Ordering::Relaxed) && seen.insert(file.clone()) {
                            catalogue.take(place, &file, prober.probe(&file));
                        }
                    }
                }
                Err(error) => catalogue.reject_place(place, &error),
            }
        }
        catalogue
    }

    fn take(&mut self, place: &SearchDir, path: &std::path::Path, probed: Result<Probed, ProbeError>) {
        let origin = place.origin;
        let path = path.to_owned();
        match probed {
            Ok(Probed::Plugin { digest, description }) => {
                let plugin = Plugin { path, digest, origin, description: *description };
                match self.plugins.iter().find(|p| p.name() == plugin.name()) {
                    None => self.plugins.push(plugin),
                    Some(first) => {
                        let (name, by) = (plugin.name().to_owned(), first.path.clone());
                        self.shadowed.push(Shadowed { name, path: plugin.path, by });
                    }
                }
            }
            // Libraries of other programs lie about everywhere; only one that was asked for is worth a word.
            Ok(Probed::NoPlugin) if !search::is_named_file(place, &path) => {}
            Ok(Probed::NoPlugin) => {
                let message = format!("`{}` is a library, but no plugin", path.display());
                self.rejected.push(Rejected { path, origin, code: "not_a_plugin".into(), message, help: None });
            }
            Err(error) => {
                let (code, help) = match &error {
                    ProbeError::Worker(e) => (e.failure.code().to_owned(), e.failure.help()),
                    ProbeError::Look { .. } | ProbeError::Content(_) => ("io".to_owned(), None),
                };
                self.rejected.push(Rejected { path, origin, code, message: error.to_string(), help });
            }
        }
    }

    fn reject_place(&mut self, place: &SearchDir, error: &std::io::Error) {
        self.rejected.push(Rejected {
            path: place.path.clone(),
            origin: place.origin,
            code: "plugin_place".into(),
            message: format!("plugins cannot be looked for in `{}`: {error}", place.path.display()),
            help: None,
        });
    }

    /// Every stage, by plugin.
    pub fn stages(&self) -> impl Iterator<Item = (&Plugin, &Signature)> {
        self.plugins.iter().flat_map(|p| p.description.stages.iter().map(move |s| (p, s)))
    }

    /// Every extension, as a job's catalogue wants it.
    pub fn extensions(&self) -> Vec<CatalogueItem> {
        let of = |p: &Plugin| -> Vec<_> {
            let items = p.description.extensions.iter();
            items.map(|entry| CatalogueItem { entry: entry.clone(), file: p.file() }).collect()
        };
        self.plugins.iter().flat_map(of).collect()
    }

    /// Ids of stages that several plugins have, with the plugins: they need `plugin/stage`.
    pub fn ambiguous_stages(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut owners = BTreeMap::<&str, Vec<&str>>::new();
        for (plugin, signature) in self.stages() {
            owners.entry(&signature.id).or_default().push(plugin.name());
        }
        owners.retain(|_, plugins| plugins.len() > 1);
        owners
    }
}
