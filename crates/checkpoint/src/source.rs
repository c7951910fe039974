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
        // Before it is opened: that alone would wait for a pipe's other end.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
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

/// Far more than any configuration or index has.
const MAX_SMALL_FILE: u64 = 64 << 20;

/// Reads a small file, such as a configuration.
///
/// # Errors
/// Beside the system's, where it is no regular file, for a pipe would wait for ever and a device never end, or is larger
/// than such a file can be.
pub fn read_small_file(path: &Path) -> io::Result<Vec<u8>> {
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return refused("not a regular file".into());
    }
    if metadata.len() > MAX_SMALL_FILE {
        return refused(format!("{} bytes, expected at most {MAX_SMALL_FILE}", metadata.len()));
    }
    std::fs::read(path)
}

/// Has the system map the pages of `bytes` now, if they lie in a mapped file.
///
/// Reading maps a few pages at a time, which costs little. The system itself, asked to write bytes of a mapping into
/// another file, stops at each page that is not mapped yet and begins again.
pub fn map_pages(bytes: &[u8]) {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: asking for a number, which is at least 1 wherever Linux runs.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as usize;
        let before = bytes.as_ptr() as usize % page;
        let start = bytes.as_ptr().wrapping_sub(before).cast_mut().cast();
        // SAFETY: this reads in pages that hold `bytes`, which is borrowed, and changes none. Where it fails, as on kernels
        // before 5.14, pages come when they are read.
        unsafe { libc::madvise(start, before + bytes.len(), libc::MADV_POPULATE_READ) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = bytes;
}
