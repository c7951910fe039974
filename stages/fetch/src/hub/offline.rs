//! A model without a network: from the hub's cache, at the commit that its revision last meant.

use std::path::PathBuf;

use super::cache::{RepositoryCache, at};
use super::choice::choose;
use super::error::HubError;
use crate::source::HubModel;

/// The commit, and what is opened; an error names what the cache lacks.
pub fn find(cache: &RepositoryCache, model: &HubModel, commit: Option<&str>) -> Result<(String, PathBuf), HubError> {
    let not_cached = |what: String| HubError::NotCached {
        repository: model.repository.clone(),
        what,
        cache: cache.root().to_owned(),
    };
    let pin = commit.map(str::to_owned).or_else(|| cache.last_pin(&model.revision));
    let commit = pin.ok_or_else(|| not_cached(format!("revision `{}`", model.revision)))?;
    let snapshot = cache.snapshot(&commit);
    let names = cache.names(&commit);
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let read = |name: &str| {
        let path = snapshot.join(name);
        std::fs::read(&path).map_err(at(&path))
    };
    let choice = choose(&model.repository, &known, model.quantization.as_deref(), read).map_err(|e| match e {
        HubError::NoModel { .. } | HubError::NoQuantization { .. } | HubError::Parts { .. } => {
            let quantization = model.quantization.as_ref().map(|name| format!("quantization `{name}`"));
            not_cached(quantization.unwrap_or_else(|| format!("whole model at commit `{commit}`")))
        }
        other => other,
    })?;
    match choice.files().into_iter().find(|name| !known.contains(name)) {
        Some(missing) => Err(not_cached(format!("file `{missing}`"))),
        None => Ok((commit, snapshot.join(choice.entry()))),
    }
}
