//! The place of one key: its attempts, its lock, its scratch.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::digest::DigestMemory;
use super::reference;
use super::store::{StoreError, ignore_missing, write_whole};
use crate::key::KeyParts;
use crate::worker::{JobResult, attempt};

/// The place of one key.
#[derive(Debug, Clone)]
pub struct Slot {
    pub(super) dir: PathBuf,
    pub(super) digests: DigestMemory,
}

/// Held while a host works on a key; the system frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct SlotLock(#[expect(dead_code, reason = "held for its lock")] File);

impl Slot {
    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A directory that survives failure.
    pub fn scratch(&self) -> PathBuf {
        self.dir.join("scratch")
    }

    /// The finished attempt, if there is one that is still true: a reference whose files changed is not.
    pub fn artifact(&self) -> Option<(PathBuf, JobResult)> {
        let (path, result) = self.finished()?;
        self.changed(&result).is_none().then_some((path, result))
    }

    /// A file that the finished attempt refers to and that changed since.
    pub fn changed_reference(&self) -> Option<PathBuf> {
        self.changed(&self.finished()?.1)
    }

    fn changed(&self, result: &JobResult) -> Option<PathBuf> {
        let mut outputs = result.run().into_iter().flat_map(|r| r.outputs.values());
        outputs.find_map(|o| reference::changed_file(o, &self.digests))
    }

    pub(super) fn finished(&self) -> Option<(PathBuf, JobResult)> {
        self.attempts().into_iter().rev().find_map(|path| Some((path.clone(), attempt::finished(&path)?)))
    }

    /// Takes the key for this process. `Err` is the process that has it.
    pub fn lock(&self) -> Result<Result<SlotLock, String>, StoreError> {
        let failed = StoreError::at(&self.dir);
        fs::create_dir_all(&self.dir).map_err(&failed)?;
        let path = self.dir.join("owner.lock");
        let mut file =
            File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(&failed)?;
        match file.try_lock() {
            Ok(()) => {
                let write = |file: &mut File| {
                    file.set_len(0)?;
                    file.rewind()?;
                    write!(file, "{}", std::process::id())
                };
                write(&mut file).map_err(&failed)?;
                Ok(Ok(SlotLock(file)))
            }
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                file.read_to_string(&mut owner).map_err(&failed)?;
                Ok(Err(owner))
            }
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Makes room for a new attempt: writes what the key is made of and deletes what earlier attempts left.
    ///
    /// Needs the lock. The caller has waited until no worker is at an earlier attempt.
    pub fn new_attempt(&self, parts: &KeyParts) -> Result<PathBuf, StoreError> {
        let failed = StoreError::at(&self.dir);
        let earlier = self.attempts();
        let number = earlier.last().and_then(|p| number(p)).unwrap_or(0) + 1;
        for attempt in earlier {
            fs::remove_file(attempt.join("result.json")).or_else(ignore_missing).map_err(&failed)?;
            fs::remove_dir_all(attempt).map_err(&failed)?;
        }
        write_whole(&self.dir.join("key.json"), parts).map_err(&failed)?;
        let attempt = self.dir.join("attempts").join(number.to_string());
        fs::create_dir_all(&attempt).map_err(&failed)?;
        Ok(attempt)
    }

    /// Settles a success: remembers digests of files that are not ours, deletes scratch.
    pub fn settle(&self, result: &JobResult) {
        for output in result.run().into_iter().flat_map(|r| r.outputs.values()) {
            reference::learn(output, Duration::from_secs_f64(result.seconds.max(0.0)), &self.digests);
        }
        // What stays is only in the way, and `cache rm` takes it.
        let _ = fs::remove_dir_all(self.scratch());
    }

    /// Attempts that a worker is still at, though their host is gone.
    pub fn running(&self) -> bool {
        self.attempts().iter().any(|a| matches!(attempt::state(a), attempt::State::Running))
    }

    /// Every attempt, oldest first.
    pub(super) fn attempts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.join("attempts")).into_iter().flatten().flatten();
        let mut attempts: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| number(p).is_some()).collect();
        attempts.sort_by_key(|p| number(p));
        attempts
    }
}

fn number(attempt: &Path) -> Option<u32> {
    attempt.file_name()?.to_str()?.parse().ok()
}
