//! A model of a hub: planned on headers that a few ranged reads bring, run by bringing its files into the hub's own
//! cache, which other tools share.
//!
//! The `hf-hub` crate knows the cache's layout and where its variables put it. Its downloads verify nothing and cannot
//! be stopped, and it reads no ranges, so requests go through [`Client`].

mod cache;
mod checksum;
mod choice;
mod client;
mod download;
mod error;
mod gguf_name;
mod headers;
mod listing;
mod offline;
mod remote;
mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use checkpoint::Checkpoint;
use stage_api::{Context, Estimate, Finding, Outcome, Plan, Result, Severity};

use crate::described::Described;
use crate::source::HubModel;
use crate::{Params, local};

use cache::RepositoryCache;
use choice::{Choice, choose};
use client::Client;
use download::Download;
use error::HubError;
use listing::{HubFile, Listing};
use remote::Remote;
use settings::Settings;

/// A first guess of the network's speed: 100 Mbit/s.
const BYTES_PER_SECOND: f64 = 12.5e6;

/// Connections, their certificates and what is received at once, bytes.
const CLIENT_MEMORY: u64 = 4 << 20;

pub fn plan(ctx: &Context, model: &HubModel, params: &Params) -> Result<Plan> {
    let settings = Settings::from_env()?;
    let cache = RepositoryCache::new(&settings, model);
    let Planned { commit, location, described, missing } = if is_offline(ctx, &settings) {
        plan_offline(ctx, &cache, model, params)?
    } else {
        plan_online(ctx, &Client::new(&settings, model), &cache, model, params)?
    };
    let estimate = Estimate {
        memory: Some(described.memory + CLIENT_MEMORY),
        disk: Some(missing),
        disk_at: Some(settings.cache.path().clone()),
        seconds: Some(missing as f64 / BYTES_PER_SECOND),
        ..Estimate::default()
    };
    Ok(Plan {
        outputs: BTreeMap::from([("model".into(), described.output)]),
        locations: location.map(|path| ("model".into(), path)).into_iter().collect(),
        estimate,
        findings: described.findings,
        pins: BTreeMap::from([("commit".into(), commit.clone())]),
        // `run` brings this commit, whatever the revision means by then.
        resolved: BTreeMap::from([("commit".into(), commit.into())]),
        ..Plan::default()
    })
}

pub fn run(ctx: &Context, model: &HubModel, params: &Params) -> Result<Outcome> {
    let settings = Settings::from_env()?;
    let cache = RepositoryCache::new(&settings, model);
    let (commit, target) = if is_offline(ctx, &settings) {
        offline::find(&cache, model, params.commit.as_deref())?
    } else {
        bring(ctx, &Client::new(&settings, model), &cache, model, params)?
    };
    let checkpoint = local::open(&target)?;
    let described = describe(ctx, &checkpoint, &cache.snapshot(&commit), model, &commit, params)?;
    local::refer(ctx, &target, &checkpoint)?;
    Ok(Outcome { outputs: BTreeMap::from([("model".into(), described.output)]), ..Outcome::default() })
}

fn is_offline(ctx: &Context, settings: &Settings) -> bool {
    ctx.request().offline || settings.offline
}

/// A repository with what was chosen of it.
struct Chosen {
    listing: Listing,
    choice: Choice,
}

impl Chosen {
    fn of(client: &Client<'_>, cache: &RepositoryCache, model: &HubModel, params: &Params) -> Result<Self, HubError> {
        let listing = client.listing(params.commit.as_deref().unwrap_or(&model.revision))?;
        let remote = Remote { client, cache, listing: &listing };
        let quantization = model.quantization.as_deref();
        let choice = choose(&model.repository, &listing.names(), quantization, |name| remote.read(name))?;
        Ok(Self { listing, choice })
    }

    fn files(&self, model: &HubModel) -> Result<Vec<&HubFile>, HubError> {
        let missing = |name: &str| HubError::NoFile { repository: model.repository.clone(), file: name.into() };
        self.choice.files().into_iter().map(|name| self.listing.get(name).ok_or_else(|| missing(name))).collect()
    }
}

/// What a plan is made of.
struct Planned {
    commit: String,
    /// Where the model lies, if every file is here.
    location: Option<PathBuf>,
    described: Described,
    /// Bytes that must still come.
    missing: u64,
}

fn plan_offline(ctx: &Context, cache: &RepositoryCache, model: &HubModel, params: &Params) -> Result<Planned> {
    let (commit, target) = offline::find(cache, model, params.commit.as_deref())?;
    let described = describe(ctx, &local::open(&target)?, &cache.snapshot(&commit), model, &commit, params)?;
    Ok(Planned { commit, location: Some(target), described, missing: 0 })
}

fn plan_online(
    ctx: &Context,
    client: &Client<'_>,
    cache: &RepositoryCache,
    model: &HubModel,
    params: &Params,
) -> Result<Planned> {
    let chosen = Chosen::of(client, cache, model, params)?;
    let files = chosen.files(model)?;
    let remote = Remote { client, cache, listing: &chosen.listing };
    let headers = headers::read(&remote, &chosen.choice, params.pre.as_deref())?;
    let commit = chosen.listing.commit.clone();
    let file = chosen.choice.gguf();
    let mut described = headers.describe(ctx, provenance(model, &commit, file, params))?;
    described.findings.extend(unnamed(&chosen.choice));
    let missing: u64 = files.iter().map(|file| cache.missing_bytes(file)).sum();
    let snapshot = cache.snapshot(&commit);
    let is_here = files.iter().all(|file| snapshot.join(&file.name).is_file());
    let location = is_here.then(|| snapshot.join(chosen.choice.entry()));
    Ok(Planned { commit, location, described, missing })
}

/// Brings everything; gives the commit and what is opened.
fn bring(
    ctx: &Context,
    client: &Client<'_>,
    cache: &RepositoryCache,
    model: &HubModel,
    params: &Params,
) -> Result<(String, PathBuf)> {
    let chosen = Chosen::of(client, cache, model, params)?;
    let files = chosen.files(model)?;
    let total = files.iter().map(|file| file.bytes).sum();
    let commit = chosen.listing.commit.as_str();
    let mut download = Download { ctx, client, cache, commit, done: 0, total };
    for file in files {
        download.bring(file)?;
    }
    cache.pin(&model.revision, commit)?;
    Ok((commit.to_owned(), cache.snapshot(commit).join(chosen.choice.entry())))
}

fn describe(
    ctx: &Context,
    checkpoint: &Checkpoint,
    snapshot: &Path,
    model: &HubModel,
    commit: &str,
    params: &Params,
) -> Result<Described> {
    let file = checkpoint.gguf().and_then(|_| checkpoint.path().strip_prefix(snapshot).ok()?.to_str());
    local::describe(ctx, checkpoint, params.pre.as_deref(), provenance(model, commit, file, params))
}

/// `file` is a GGUF's name in the repository.
fn provenance(model: &HubModel, commit: &str, file: Option<&str>, params: &Params) -> BTreeMap<String, String> {
    let source = format!("hf:{}", model.repository);
    let known =
        [("source", Some(&*source)), ("revision", Some(commit)), ("file", file), ("pre", params.pre.as_deref())];
    known.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect()
}

fn unnamed(choice: &Choice) -> Option<Finding> {
    let Choice::Gguf { unnamed: Some(others), .. } = choice else { return None };
    let message = format!("no quantization was named; `{}` is taken, as llama.cpp takes it", choice.entry());
    let finding = Finding::new(Severity::Note, "unnamed_quantization", message);
    Some(match others.as_slice() {
        [] => finding,
        others => finding.with_help(format!("others, to be named behind a colon: {}", others.join(", "))),
    })
}
