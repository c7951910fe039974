//! The hub's own cache, shared with its other tools: contents by digest in `blobs/`, one directory of links a commit in
//! `snapshots/`, and in `refs/` which commit a branch last meant.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::{CacheRepo, Repo, RepoType};

use super::listing::is_commit;
use super::{HubError, HubFile, Settings};
use crate::source::HubModel;

/// The cache's part for one repository.
pub struct RepositoryCache {
    repo: CacheRepo,
    root: PathBuf,
}

impl RepositoryCache {
    pub fn new(settings: &Settings, model: &HubModel) -> Self {
        let repo = Repo::with_revision(model.repository.clone(), RepoType::Model, model.revision.clone());
        let root = settings.cache.path().join(repo.folder_name());
        Self { repo: settings.cache.repo(repo), root }
    }

    /// Everything of this repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the content of `file` lies, or will lie.
    pub fn blob(&self, file: &HubFile) -> PathBuf {
        self.root.join("blobs").join(file.checksum.hex())
    }

    /// The directory of a commit.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo.pointer_path(commit)
    }

    /// The whole content of `file`, where it is here already: nothing gets its name there before it was verified.
    pub fn whole(&self, file: &HubFile) -> Option<PathBuf> {
        let blob = self.blob(file);
        fs::metadata(&blob).is_ok_and(|meta| meta.is_file() && meta.len() == file.bytes).then_some(blob)
    }

    /// Where `file` is put together.
    pub fn part(&self, file: &HubFile) -> PathBuf {
        self.blob(file).with_extension("part")
    }

    /// Bytes of `file` that must still come.
    pub fn missing_bytes(&self, file: &HubFile) -> u64 {
        if self.whole(file).is_some() {
            return 0;
        }
        let part = fs::metadata(self.part(file)).map_or(0, |meta| meta.len());
        file.bytes.saturating_sub(part)
    }

    /// The commit that the model's revision last meant.
    pub fn last_pin(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let pin = fs::read_to_string(self.root.join("refs").join(revision)).ok()?;
        Some(pin.trim().to_owned()).filter(|pin| is_commit(pin))
    }

    /// Remembers what the model's revision means; a commit means itself.
    pub fn pin(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if revision == commit {
            return Ok(());
        }
        self.repo.create_ref(commit).map_err(at(&self.root.join("refs").join(revision)))
    }

    /// Names in the snapshot of a commit, in order, as far as their contents are here.
    pub fn names(&self, commit: &str) -> Vec<String> {
        let snapshot = self.snapshot(commit);
        let name = |path: &PathBuf| Some(path.strip_prefix(&snapshot).ok()?.to_str()?.replace('\\', "/"));
        let mut names: Vec<String> = files_in(&snapshot).iter().filter_map(name).collect();
        names.sort();
        names
    }

    /// Gives the verified content of `file` its name in the snapshot of a commit.
    pub fn link(&self, commit: &str, file: &HubFile) -> Result<(), HubError> {
        let (blob, pointer) = (self.blob(file), self.snapshot(commit).join(&file.name));
        if pointer.exists() {
            return Ok(());
        }
        let failed = at(&pointer);
        fs::create_dir_all(pointer.parent().unwrap_or(&self.root)).map_err(&failed)?;
        // A link whose content was deleted is in the way.
        match fs::remove_file(&pointer) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        link(&blob, &pointer, file.name.matches('/').count()).map_err(failed)
    }
}

/// Relative, so that the cache can be moved: out of the folders of the name, the commit and `snapshots`.
#[cfg(unix)]
fn link(blob: &Path, pointer: &Path, depth: usize) -> io::Result<()> {
    let up: PathBuf = std::iter::repeat_n("..", depth + 2).collect();
    std::os::unix::fs::symlink(up.join("blobs").join(blob.file_name().unwrap_or_default()), pointer)
}

/// Links need a privilege on other systems; the hub's tools move the content there too.
#[cfg(not(unix))]
fn link(blob: &Path, pointer: &Path, _depth: usize) -> io::Result<()> {
    fs::rename(blob, pointer)
}

pub fn at(path: &Path) -> impl Fn(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| HubError::File { path: path.clone(), source }
}

/// Files below a directory, through links; none where there is no such directory.
fn files_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .flat_map(|path| if path.is_file() { vec![path] } else { files_in(&path) })
        .collect()
}
