//! The store of artifacts, one directory a key. An artifact is an attempt that its worker finished: nothing is moved
//! or renamed afterwards, so an attempt that outlived its host is as good as any other.
//!
//! ```text
//! <cache>/artifacts-v1/<key>/key.json        what the key was made of
//!                            owner.lock      held by the host that works on it, with its process id
//!                            attempts/<n>/   outputs, events.jsonl, result.json (see `worker::attempt`)
//!                            scratch/        survives failure, deleted on success
//! <cache>/digests-v1/                        see `DigestMemory`
//! <cache>/last-v1/                           the last key of each pipeline's stages, to say why one runs again
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::digest::DigestMemory;
use super::slot::Slot;
use crate::key::{Key, KeyParts};
use crate::platform::sync_directory;

/// A store that can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the cache at `{}` fails: {source}", path.display())]
pub struct StoreError {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl StoreError {
    pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self { path: path.into(), source }
    }
}

/// All artifacts of one cache directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    digests: DigestMemory,
}

/// A key that has a directory in the store.
#[derive(Debug, Serialize)]
pub struct StoredKey {
    /// The key.
    pub key: String,
    /// The stage's id.
    pub stage: String,
    /// Bytes on disk, failed attempts and scratch included.
    pub bytes: u64,
    /// Whether an artifact is there.
    pub complete: bool,
    /// Seconds since something was written.
    pub age_seconds: u64,
    /// Where it lies.
    pub path: PathBuf,
}

impl Store {
    /// Opens, and makes where needed, the store in `cache`.
    pub fn open(cache: &Path) -> Result<Self, StoreError> {
        let root = cache.join("artifacts-v1");
        fs::create_dir_all(&root).map_err(StoreError::at(&root))?;
        let digests = DigestMemory::in_cache(cache);
        Ok(Self { root, digests })
    }

    /// Where artifacts lie; to ask the file system for its free space.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The memory of digests beside the artifacts.
    pub fn digests(&self) -> &DigestMemory {
        &self.digests
    }

    /// The place of one key.
    pub fn slot(&self, key: &Key) -> Slot {
        Slot { dir: self.root.join(key.as_str()), digests: self.digests.clone() }
    }

    /// The key that a stage of a pipeline had when it last ran.
    pub fn last_key(&self, pipeline: &Path, stage: &str) -> Option<KeyParts> {
        read_json(&self.last_path(pipeline, stage))
    }

    /// Remembers it. Only an explanation hangs on it, so a failure is no error.
    pub fn remember_last_key(&self, pipeline: &Path, stage: &str, parts: &KeyParts) {
        let path = self.last_path(pipeline, stage);
        let _ = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| write_whole(&path, parts));
    }

    fn last_path(&self, pipeline: &Path, stage: &str) -> PathBuf {
        let name = Sha256::digest(format!("{}\n{stage}", pipeline.display()));
        self.root.with_file_name("last-v1").join(format!("{name:x}.json"))
    }

    /// Everything that is stored, largest first.
    pub fn list(&self) -> Result<Vec<StoredKey>, StoreError> {
        let failed = StoreError::at(&self.root);
        let mut keys = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(&failed)? {
            let path = entry.map_err(&failed)?.path();
            let slot = Slot { dir: path.clone(), digests: self.digests.clone() };
            let parts: Option<KeyParts> = read_json(&path.join("key.json"));
            keys.push(StoredKey {
                key: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                stage: parts.map_or_else(|| "?".into(), |p| p.stage),
                bytes: size(&path),
                complete: slot.finished().is_some(),
                age_seconds: age_seconds(&path),
                path,
            });
        }
        keys.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.key.cmp(&b.key)));
        Ok(keys)
    }

    /// Deletes one key's directory; `false` where a host is working on it.
    pub fn remove(&self, stored: &StoredKey) -> Result<bool, StoreError> {
        let failed = StoreError::at(&stored.path);
        let slot = Slot { dir: stored.path.clone(), digests: self.digests.clone() };
        let Ok(lock) = slot.lock()? else { return Ok(false) };
        // The result goes first: a deletion that is interrupted must not leave a finished attempt with holes.
        for attempt in slot.attempts() {
            fs::remove_file(attempt.join("result.json")).or_else(ignore_missing).map_err(&failed)?;
        }
        fs::remove_dir_all(&stored.path).map_err(&failed)?;
        drop(lock);
        Ok(true)
    }
}

pub(super) fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn size(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    fs::read_dir(path).into_iter().flatten().flatten().map(|e| size(&e.path())).sum()
}

fn age_seconds(path: &Path) -> u64 {
    let written = ["attempts", "key.json", "."].iter().find_map(|p| path.join(p).metadata().ok()?.modified().ok());
    written.and_then(|t| SystemTime::now().duration_since(t).ok()).map_or(0, |d| d.as_secs())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes JSON so that it is there whole or not at all.
pub(super) fn write_whole(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let mut file = File::create(&temporary)?;
    serde_json::to_writer_pretty(&mut file, value)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}
