//! A repository at one commit, read without bringing it: from the cache where content is here, else over the network.

use std::cell::RefCell;
use std::io;

use checkpoint::{ByteSource, MappedFile};

use super::cache::{RepositoryCache, at};
use super::{Client, HubError, HubFile, Listing};

/// Reads what a plan needs.
pub struct Remote<'a> {
    pub client: &'a Client<'a>,
    pub cache: &'a RepositoryCache,
    pub listing: &'a Listing,
}

impl Remote<'_> {
    /// The whole content of a small file.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, HubError> {
        let file = self.file(name)?;
        match self.cache.whole(file) {
            Some(blob) => std::fs::read(&blob).map_err(at(&blob)),
            None => self.client.read(&self.listing.commit, name),
        }
    }

    /// Random access to a large one.
    pub fn source(&self, name: &str) -> Result<Source<'_>, HubError> {
        let file = self.file(name)?;
        match self.cache.whole(file) {
            Some(blob) => Ok(Source::Cached(MappedFile::open(&blob).map_err(at(&blob))?)),
            None => Ok(Source::Ranges(Ranges { remote: self, file, failed: RefCell::default() })),
        }
    }

    fn file(&self, name: &str) -> Result<&HubFile, HubError> {
        let missing = || HubError::NoFile { repository: self.client.repository().into(), file: name.into() };
        self.listing.get(name).ok_or_else(missing)
    }
}

/// The bytes of one file, wherever they are.
pub enum Source<'a> {
    Cached(MappedFile),
    Ranges(Ranges<'a>),
}

/// A file on the hub; each read is one request.
pub struct Ranges<'a> {
    remote: &'a Remote<'a>,
    file: &'a HubFile,
    /// A parser of headers knows only the kind of a failure; this is the whole of it.
    failed: RefCell<Option<HubError>>,
}

impl Source<'_> {
    /// Why the last read failed, where the hub was the reason.
    pub fn failure(&self) -> Option<HubError> {
        match self {
            Source::Cached(_) => None,
            Source::Ranges(ranges) => ranges.failed.take(),
        }
    }
}

impl ByteSource for Source<'_> {
    fn len(&self) -> u64 {
        match self {
            Source::Cached(file) => file.len(),
            Source::Ranges(ranges) => ranges.file.bytes,
        }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        match self {
            Source::Cached(file) => file.read_at(offset, into),
            Source::Ranges(ranges) => ranges.read_at(offset, into),
        }
    }
}

impl Ranges<'_> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(into.len() as u64).is_none_or(|end| end > self.file.bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // No range can name no bytes.
        if into.is_empty() {
            return Ok(());
        }
        let Remote { client, listing, .. } = self.remote;
        client.read_range(&listing.commit, &self.file.name, offset, into).map_err(|e| {
            let kind = io::Error::other(e.to_string());
            self.failed.replace(Some(e));
            kind
        })
    }
}
