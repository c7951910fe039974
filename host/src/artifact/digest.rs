//! Digests of files, remembered by path, size, time and inode, so that a model of gigabytes is read once.
//!
//! Each file's record is a file of its own, written whole and renamed: hosts that run side by side need no lock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::store::write_whole;
use crate::platform::FileIdentity;
use crate::worker::hash_file;

/// A file that changed this recently may change again within the clock's step, unseen; it is not remembered.
const SETTLED: Duration = Duration::from_secs(2);

/// A file or directory whose content can't be told.
#[derive(Debug, thiserror::Error)]
#[error("`{}` can't be read: {source}", path.display())]
pub struct ContentError {
    /// Which one.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Digests of files, remembered in a directory.
#[derive(Debug, Clone)]
pub struct DigestMemory {
    dir: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Record {
    identity: FileIdentity,
    sha256: String,
}

impl DigestMemory {
    /// Remembers in the cache directory `cache`.
    pub fn in_cache(cache: &Path) -> Self {
        Self { dir: cache.join("digests-v1") }
    }

    /// SHA-256 of a file, in hex.
    pub fn file(&self, path: &Path) -> Result<String, ContentError> {
        let failed = |source| ContentError { path: path.into(), source };
        let before = FileIdentity::of(path).map_err(failed)?;
        if let Some(record) = self.recall(path).filter(|r| r.identity == before) {
            return Ok(record.sha256);
        }
        let (sha256, _) = hash_file(path).map_err(failed)?;
        // A file that changed while it was read has no digest worth remembering.
        if FileIdentity::of(path).map_err(failed)? == before {
            self.remember(before, &sha256, SETTLED);
        }
        Ok(sha256)
    }

    /// SHA-256 of a file, or of the list of a directory's files, through links.
    pub fn content(&self, path: &Path) -> Result<String, ContentError> {
        if !path.is_dir() {
            return self.file(path);
        }
        let mut files = Vec::new();
        list(path, "", &mut files).map_err(|source| ContentError { path: path.into(), source })?;
        files.sort();
        let mut hash = Sha256::new();
        for (name, file) in files {
            hash.update(format!("{} {name}\n", self.file(&file)?));
        }
        Ok(format!("{:x}", hash.finalize()))
    }

    /// Takes over a digest that somebody else computed within the last `took`.
    pub fn learn(&self, path: &Path, sha256: &str, took: Duration) {
        if let Ok(identity) = FileIdentity::of(path) {
            self.remember(identity, sha256, took + SETTLED);
        }
    }

    fn recall(&self, path: &Path) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.record(path)).ok()?).ok()
    }

    /// Forgetting costs time, not truth, so a full disk is no error here.
    fn remember(&self, identity: FileIdentity, sha256: &str, unchanged_for: Duration) {
        let settled = fs::metadata(&identity.path)
            .and_then(|m| m.modified())
            .is_ok_and(|t| SystemTime::now().duration_since(t).is_ok_and(|age| age > unchanged_for));
        if settled {
            let at = self.record(&identity.path);
            let record = Record { identity, sha256: sha256.into() };
            let _ = fs::create_dir_all(&self.dir).and_then(|()| write_whole(&at, &record));
        }
    }

    fn record(&self, path: &Path) -> PathBuf {
        let name = Sha256::digest(path.as_os_str().as_encoded_bytes());
        self.dir.join(format!("{name:x}.json"))
    }
}

fn list(dir: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            list(&path, &format!("{name}/"), files)?;
        } else {
            files.push((name, path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn memory() -> (tempfile::TempDir, DigestMemory) {
        let dir = tempfile::tempdir().unwrap();
        let memory = DigestMemory::in_cache(dir.path());
        (dir, memory)
    }

    fn write_old(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        let time = SystemTime::now() - Duration::from_secs(60);
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    #[test]
    fn a_settled_file_is_read_once_and_a_changed_one_again() {
        let (dir, memory) = memory();
        let file = dir.path().join("a");
        write_old(&file, "one");
        let first = memory.file(&file).unwrap();
        let record = memory.record(&file);
        let text = fs::read_to_string(&record).unwrap();
        fs::write(&record, text.replace(&first, "remembered")).unwrap();
        assert_eq!(memory.file(&file).unwrap(), "remembered");
        write_old(&file, "other");
        assert_ne!(memory.file(&file).unwrap(), "remembered");
    }

    #[test]
    fn a_fresh_file_is_not_remembered() {
        let (dir, memory) = memory();
        let file = dir.path().join("a");
        fs::write(&file, "one").unwrap();
        memory.file(&file).unwrap();
        assert!(!memory.record(&file).exists());
    }

    #[test]
    fn a_directory_is_its_names_and_contents() {
        let (dir, memory) = memory();
        for (tree, name, text) in [("x", "a", "1"), ("y", "a", "1"), ("z", "b", "1")] {
            let sub = dir.path().join(tree).join("sub");
            fs::create_dir_all(&sub).unwrap();
            fs::write(sub.join(name), text).unwrap();
        }
        let content = |tree: &str| memory.content(&dir.path().join(tree)).unwrap();
        assert_eq!(content("x"), content("y"));
        assert_ne!(content("x"), content("z"));
    }
}
