//! What the worker does for the plugins in it: reports for them, and loads extensions when they are first asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use stage_api::hosting::{BorrowedExtension, LoadedPlugin, LogRecord, Services};
use stage_api::{CatalogueEntry, Error, Result};

use super::super::event::EventBody;
use super::super::{CatalogueItem, ExtensionUse, Job, Mode, PluginFile};
use super::reporter::Reporter;
use super::seal;
use super::watch::Watch;

pub(super) struct WorkerServices {
    /// Loading a plugin lends it these services.
    this: Weak<Self>,
    job: Arc<Job>,
    reporter: Arc<Reporter>,
    watch: Watch,
    plugins: Mutex<BTreeMap<PathBuf, Arc<LoadedPlugin>>>,
    extensions: Mutex<BTreeMap<ExtensionUse, BorrowedExtension>>,
}

impl WorkerServices {
    pub(super) fn new(job: Arc<Job>, reporter: Arc<Reporter>, watch: Watch) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            job,
            reporter,
            watch,
            plugins: Mutex::default(),
            extensions: Mutex::default(),
        })
    }

    /// These services as plugins see them.
    pub(super) fn shared(&self) -> Result<Arc<dyn Services>> {
        self.this.upgrade().map(|s| s as Arc<dyn Services>).ok_or_else(Error::cancelled)
    }

    /// Loads a plugin once; a run refuses a file that is not the one that was planned with.
    pub(super) fn plugin(&self, file: &PluginFile) -> Result<Arc<LoadedPlugin>> {
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plugin) = plugins.get(&file.path) {
            return Ok(plugin.clone());
        }
        if let (Mode::Run, Some(expected)) = (&self.job.mode, &file.digest) {
            refuse_changed(file, expected)?;
        }
        let plugin = Arc::new(LoadedPlugin::load(&file.path, &self.shared()?, self.job.log_level)?);
        plugins.insert(file.path.clone(), plugin.clone());
        Ok(plugin)
    }

    /// Every extension that was asked for, ordered.
    pub(super) fn extensions_used(&self) -> Vec<ExtensionUse> {
        self.extensions.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn refuse_undeclared(&self, wanted: &ExtensionUse) -> Result<()> {
        let same = |u: &ExtensionUse| (&u.kind, &u.id, &u.plugin) == (&wanted.kind, &wanted.id, &wanted.plugin);
        match &self.job.extensions {
            Some(planned) if !planned.iter().any(same) => Err(Error::new(
                "undeclared_extension",
                format!(
                    "stage `{}` asked for {} `{}` of plugin `{}`, which its `plan` did not use",
                    self.job.stage, wanted.kind, wanted.id, wanted.plugin
                ),
            )
            .with_help(
                "this is a mistake in the stage: what `plan` asks for is part of the key, so `plan` must ask too",
            )),
            _ => Ok(()),
        }
    }

    fn find(&self, kind: &str, id: &str) -> Result<&CatalogueItem> {
        let of_kind = || self.job.catalogue.iter().filter(|item| item.entry.kind == kind);
        let named = |item: &&CatalogueItem| {
            let entry = &item.entry;
            entry.id == id || id.strip_prefix(&*entry.plugin).and_then(|r| r.strip_prefix('/')) == Some(&*entry.id)
        };
        let found: Vec<_> = of_kind().filter(named).collect();
        let qualified = |item: &CatalogueItem| format!("`{}/{}`", item.entry.plugin, item.entry.id);
        match found.as_slice() {
            [one] => Ok(one),
            [] => {
                let known: Vec<_> = of_kind().map(|item| format!("`{}`", item.entry.id)).collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                Err(Error::new("unknown_extension", format!("no plugin has a {kind} `{id}`; known: {known}"))
                    .with_help("`host plugins list` shows which plugins were found, and which were not usable"))
            }
            several => {
                let choices: Vec<_> = several.iter().map(|item| qualified(item)).collect();
                Err(Error::new(
                    "ambiguous_extension",
                    format!("several plugins have a {kind} `{id}`; say which: {}", choices.join(", ")),
                ))
            }
        }
    }
}

fn refuse_changed(file: &PluginFile, expected: &str) -> Result<()> {
    let path = file.path.display();
    let (digest, _) = seal::hash_file(&file.path)
        .map_err(|e| Error::new("plugin_open", format!("plugin `{path}` cannot be read: {e}")))?;
    if digest == expected {
        return Ok(());
    }
    Err(Error::new("plugin_changed", format!("plugin `{path}` has changed since planning"))
        .with_help("run again; the new plugin is planned with first"))
}

impl Services for WorkerServices {
    fn log(&self, record: LogRecord) {
        self.reporter.send(EventBody::Log(record));
    }

    fn progress(&self, unit: &str, done: u64, total: u64) {
        self.reporter.progress(unit, done, total);
    }

    fn metric(&self, name: &str, step: u64, value: f64) {
        let value = Some(value).filter(|v| v.is_finite());
        self.reporter.send(EventBody::Metric { name: name.into(), step, value });
    }

    fn cancelled(&self) -> bool {
        self.watch.cancelled()
    }

    fn catalogue(&self) -> Vec<CatalogueEntry> {
        self.job.catalogue.iter().map(|item| item.entry.clone()).collect()
    }

    fn extension(&self, kind: &str, id: &str) -> Result<BorrowedExtension> {
        let item = self.find(kind, id)?;
        let CatalogueEntry { kind, id, plugin, .. } = item.entry.clone();
        let wanted = ExtensionUse { kind, id, plugin, digest: item.file.digest.clone() };
        self.refuse_undeclared(&wanted)?;
        let mut loaded = self.extensions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(extension) = loaded.get(&wanted) {
            return Ok(extension.clone());
        }
        let of_plugin = self.plugin(&item.file)?.extensions()?;
        let matches = |e: &BorrowedExtension| (&e.entry().kind, &e.entry().id) == (&wanted.kind, &wanted.id);
        let extension = of_plugin.into_iter().find(matches).ok_or_else(|| {
            let (kind, id, path) = (&wanted.kind, &wanted.id, item.file.path.display());
            Error::new("plugin_changed", format!("plugin `{path}` has no {kind} `{id}` any more"))
        })?;
        loaded.insert(wanted, extension.clone());
        Ok(extension)
    }
}
