//! A file's bytes, of which only the first need exist.

use std::io;
use std::ops::Range;

use checkpoint::ByteSource;

/// So many bytes: `head`, and zeros behind it that take no memory before somebody asks for them.
#[derive(Debug, Clone)]
pub struct Content {
    pub head: Vec<u8>,
    pub len: u64,
}

impl Content {
    /// The bytes of a range that lies inside.
    pub fn part(&self, range: &Range<u64>) -> Vec<u8> {
        let at = |offset: u64| self.head.len().min(offset as usize);
        let mut bytes = self.head[at(range.start)..at(range.end)].to_vec();
        bytes.resize((range.end - range.start) as usize, 0);
        bytes
    }
}

impl From<&[u8]> for Content {
    fn from(whole: &[u8]) -> Self {
        Self { head: whole.to_vec(), len: whole.len() as u64 }
    }
}

impl ByteSource for Content {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(into.len() as u64).filter(|end| *end <= self.len);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        into.copy_from_slice(&self.part(&(offset..end)));
        Ok(())
    }
}
