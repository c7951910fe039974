//! Where bytes come from: memory, a mapped file, or a remote file read by ranges.
//!
//! Headers are parsed over [`ByteSource`] alone, so that a model on a hub can be described by a few ranged reads.
//! Whoever speaks HTTP implements the trait; nothing here knows a network.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

/// Random access to the bytes of one file, wherever it lies.
pub trait ByteSource {
    /// Bytes of the whole file.
    fn len(&self) -> u64;

    /// Fills `into` with the bytes from `offset` on; `UnexpectedEof` where the file is shorter.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Whether the file holds nothing.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ByteSource for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(into.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        let bytes = self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(bytes);
        Ok(())
    }
}

impl ByteSource for Vec<u8> {
    fn len(&self) -> u64 {
        ByteSource::len(self.as_slice())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, into)
    }
}

/// A file of this machine, mapped read-only: the system brings pages in when they are read and may drop them again.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    /// Maps the file at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        // SAFETY: the map is read-only and private to this process. The one thing that breaks it is somebody who
        // truncates the file while it is mapped; model files are written under another name and renamed when whole
        // (`PartialFile`), so a file found under its final name is no longer written to.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { path: path.to_owned(), map })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}

impl ByteSource for MappedFile {
    fn len(&self) -> u64 {
        ByteSource::len(self.bytes())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.bytes().read_at(offset, into)
    }
}
