//! What the file system knows beyond `std::fs`.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// Tells whether a file is still the one that was looked at, without reading it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    /// As given.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub modified: i128,
    /// The file's number on its disk.
    pub inode: u64,
}

impl FileIdentity {
    /// Looks at a file, through links.
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        let modified = match metadata.modified()?.duration_since(UNIX_EPOCH) {
            Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
            Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
        };
        Ok(Self { path: path.into(), size: metadata.len(), modified, inode: metadata.ino() })
    }
}

/// Makes new names in a directory survive a power cut.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

/// Makes `link` point at `target`, whatever it pointed at before.
pub fn link(target: &Path, link: &Path) -> io::Result<()> {
    match std::fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(target, link)
}

/// A file system, to be written on; as data, what it has free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Disk {
    /// Its number: what lies on one disk has the same.
    #[serde(skip)]
    pub device: u64,
    /// Bytes that this user can still write.
    pub free: u64,
}

/// The disk that `path` lies on, or will lie on once it is made; `None` where the system does not say.
pub fn disk_of(path: &Path) -> Option<Disk> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists())?;
    let space = rustix::fs::statvfs(existing).ok()?;
    Some(Disk { device: existing.metadata().ok()?.dev(), free: space.f_bavail.checked_mul(space.f_frsize)? })
}
