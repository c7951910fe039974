//! Brings files into the hub's cache: resumed where they stopped, verified before they get their name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use stage_api::{Context, Result};

use super::cache::{RepositoryCache, at};
use super::checksum::Hasher;
use super::{Client, HubError, HubFile};

/// What is received, digested and written at once; cancelling is heard in between.
const BLOCK_BYTES: usize = 1 << 20;
/// How often a transfer may break off in a row without bringing anything.
const MAX_FRUITLESS: u32 = 3;
/// How often a file that another process brings is looked at.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// Brings the files of one commit.
pub struct Download<'a> {
    pub ctx: &'a Context,
    pub client: &'a Client<'a>,
    pub cache: &'a RepositoryCache,
    pub commit: &'a str,
    /// Bytes that are here, of this and all files before.
    pub done: u64,
    /// Bytes of all files.
    pub total: u64,
}

impl Download<'_> {
    /// Brings `file` into the snapshot, unless it is there.
    pub fn bring(&mut self, file: &HubFile) -> Result<()> {
        let before = self.done;
        if self.cache.whole(file).is_none() {
            let part = self.cache.part(file);
            fs::create_dir_all(part.parent().unwrap_or(self.cache.root())).map_err(at(&part))?;
            let _lock = self.lock(file)?;
            // The process that held the lock may have brought it.
            if self.cache.whole(file).is_none() {
                self.make(file, &part)?;
            }
        }
        self.cache.link(self.commit, file)?;
        self.done = before + file.bytes;
        self.show();
        Ok(())
    }

    fn lock(&self, file: &HubFile) -> Result<File> {
        let path = self.cache.blob(file).with_extension("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_POLL),
                Err(TryLockError::Error(source)) => return Err(HubError::File { path, source }.into()),
            }
            self.ctx.check_cancelled()?;
        }
    }

    /// Completes `part` and gives it its name. What an earlier process left may be damaged, so it has a second chance
    /// from the beginning.
    fn make(&mut self, file: &HubFile, part: &Path) -> Result<()> {
        let resumed = part.exists();
        match self.complete(file, part)? {
            got if got == file.checksum.hex() => return Ok(self.name(file, part)?),
            got if !resumed => return Err(self.mismatch(file, got).into()),
            _ => {}
        }
        match self.complete(file, part)? {
            got if got == file.checksum.hex() => Ok(self.name(file, part)?),
            got => Err(self.mismatch(file, got).into()),
        }
    }

    fn name(&self, file: &HubFile, part: &Path) -> Result<(), HubError> {
        fs::rename(part, self.cache.blob(file)).map_err(at(part))
    }

    fn mismatch(&self, file: &HubFile, got: String) -> HubError {
        HubError::Checksum {
            repository: self.client.repository().into(),
            file: file.name.clone(),
            kind: file.checksum.kind(),
            got,
            expected: file.checksum.hex().into(),
        }
    }

    /// Receives what `part` lacks and digests all of it; deletes it where the digest is not the promised one.
    fn complete(&mut self, file: &HubFile, part: &Path) -> Result<String> {
        let mut partial = Partial::open(file, part).map_err(at(part))?;
        let before = self.done;
        let mut fruitless = 0;
        while partial.bytes < file.bytes {
            let had = partial.bytes;
            match self.receive(file, &mut partial, before) {
                Ok(()) => {}
                Err(Stop::Broken(e)) if e.is_transient() => {
                    fruitless = if partial.bytes > had { 0 } else { fruitless + 1 };
                    if fruitless == MAX_FRUITLESS {
                        return Err(e.into());
                    }
                }
                Err(Stop::Broken(e)) => return Err(e.into()),
                Err(Stop::Other(e)) => return Err(e),
            }
        }
        self.done = before;
        let got = partial.finish().map_err(at(part))?;
        if got != file.checksum.hex() {
            fs::remove_file(part).map_err(at(part))?;
        }
        Ok(got)
    }

    /// One answer of the hub, up to its end or its breaking off.
    fn receive(&mut self, file: &HubFile, partial: &mut Partial, before: u64) -> Result<(), Stop> {
        let (body, resumes) = self.client.stream(self.commit, &file.name, partial.bytes)?;
        let part = self.cache.part(file);
        let refused = |missing| {
            let part = &part;
            move |source| HubError::of_disk(&file.name, missing, part, source)
        };
        if !resumes {
            partial.restart(file).map_err(refused(file.bytes))?;
        }
        let mut body = body.take(file.bytes - partial.bytes);
        let mut block = vec![0; BLOCK_BYTES];
        while partial.bytes < file.bytes {
            self.ctx.check_cancelled().map_err(Stop::Other)?;
            let interrupted =
                |source| HubError::Interrupted { url: self.client.file_url(self.commit, &file.name), source };
            let read = match body.read(&mut block) {
                Ok(0) => return Err(interrupted(io::ErrorKind::UnexpectedEof.into()).into()),
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(interrupted(e).into()),
            };
            let missing = file.bytes - partial.bytes;
            partial.append(&block[..read]).map_err(refused(missing))?;
            self.done = before + partial.bytes;
            self.show();
        }
        Ok(())
    }

    fn show(&self) {
        self.ctx.progress("bytes", self.done, self.total);
    }
}

/// Why receiving ended early.
enum Stop {
    /// The hub or the disk.
    Broken(HubError),
    /// Cancelled.
    Other(stage_api::Error),
}

impl From<HubError> for Stop {
    fn from(e: HubError) -> Self {
        Stop::Broken(e)
    }
}

/// A file that is put together, with the digest of what is there.
struct Partial {
    file: File,
    bytes: u64,
    hasher: Hasher,
}

impl Partial {
    /// Takes up what is there, unless it is more than the whole.
    fn open(of: &HubFile, path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut partial = Self { file, bytes: 0, hasher: of.checksum.hasher(of.bytes) };
        if partial.file.metadata()?.len() > of.bytes {
            partial.restart(of)?;
        }
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            match partial.file.read(&mut block)? {
                0 => return Ok(partial),
                read => partial.count(&block[..read]),
            }
        }
    }

    fn restart(&mut self, of: &HubFile) -> io::Result<()> {
        self.file.set_len(0)?;
        io::Seek::rewind(&mut self.file)?;
        (self.bytes, self.hasher) = (0, of.checksum.hasher(of.bytes));
        Ok(())
    }

    fn append(&mut self, block: &[u8]) -> io::Result<()> {
        self.file.write_all(block)?;
        self.count(block);
        Ok(())
    }

    fn count(&mut self, block: &[u8]) {
        self.hasher.update(block);
        self.bytes += block.len() as u64;
    }

    /// Brings everything to disk; gives the digest.
    fn finish(self) -> io::Result<String> {
        self.file.sync_all()?;
        Ok(self.hasher.finish())
    }
}
