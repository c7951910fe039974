//! Sequential reading of a header over random access, never past the file's end.

use super::Problem;
use crate::source::ByteSource;

/// The first read of a header; later ones double, so that a large vocabulary takes a few ranged reads.
const FIRST_CHUNK: u64 = 256 << 10;
const LARGEST_CHUNK: u64 = 8 << 20;
/// Ten times what the largest vocabularies take: a header that goes on behind it is damaged, and what it claims may be
/// as large as the whole file.
pub(super) const MAX_HEADER_BYTES: u64 = 256 << 20;

/// A position in a source, with the chunk around it.
pub(super) struct Cursor<'a, S: ByteSource + ?Sized> {
    source: &'a S,
    len: u64,
    /// Where the next byte comes from.
    position: u64,
    chunk: Vec<u8>,
    chunk_start: u64,
    next_chunk: u64,
}

impl<'a, S: ByteSource + ?Sized> Cursor<'a, S> {
    pub(super) fn new(source: &'a S) -> Self {
        Self { source, len: source.len(), position: 0, chunk: Vec::new(), chunk_start: 0, next_chunk: FIRST_CHUNK }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the file from here on.
    pub(super) fn left(&self) -> u64 {
        self.len - self.position
    }

    /// The next `count` bytes; `what` names them in the error where the file is shorter.
    pub(super) fn take(&mut self, count: u64, what: impl Fn() -> String) -> Result<&[u8], Problem> {
        if count > self.left() {
            let (at, left) = (self.position, self.left());
            return Err(Problem::Truncated { what: what(), at, needed: count, left });
        }
        if self.position + count > MAX_HEADER_BYTES {
            return Err(Problem::HeaderTooLong { what: what(), at: self.position, needed: count });
        }
        let chunk_end = self.chunk_start + self.chunk.len() as u64;
        if self.position + count > chunk_end {
            self.read_chunk(count)?;
        }
        let start = (self.position - self.chunk_start) as usize;
        self.position += count;
        Ok(&self.chunk[start..start + count as usize])
    }

    pub(super) fn u32(&mut self, what: impl Fn() -> String) -> Result<u32, Problem> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: impl Fn() -> String) -> Result<u64, Problem> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A length and so many bytes.
    pub(super) fn string(&mut self, what: impl Fn() -> String) -> Result<Vec<u8>, Problem> {
        let len = self.u64(&what)?;
        Ok(self.take(len, what)?.to_vec())
    }

    pub(super) fn array<const N: usize>(&mut self, what: impl Fn() -> String) -> Result<[u8; N], Problem> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N as u64, what)?);
        Ok(bytes)
    }

    /// Checks a claimed count of items of at least `least` bytes each against what is left of the file.
    pub(super) fn check_count(&self, count: u64, least: u64, what: impl Fn() -> String) -> Result<(), Problem> {
        let needed = count.saturating_mul(least);
        if needed > self.left() {
            return Err(Problem::Count { what: what(), count, needed, left: self.left() });
        }
        Ok(())
    }

    /// Replaces the chunk by one that begins here and has at least `count` bytes, which the file is known to have.
    fn read_chunk(&mut self, count: u64) -> Result<(), Problem> {
        let bytes = count.max(self.next_chunk).min(self.left());
        self.next_chunk = (self.next_chunk * 2).min(LARGEST_CHUNK);
        self.chunk.resize(bytes as usize, 0);
        self.chunk_start = self.position;
        Ok(self.source.read_at(self.position, &mut self.chunk)?)
    }
}
