//! One thread of a [`RowStream`](crate::RowStream): it encodes every n-th block of a tensor into two buffers by turns.

use std::mem::take;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};

use checkpoint::view::RowReader;
use stage_api::{Error, Result};

use crate::stage_error;
use crate::stream::Encode;

/// Values that are decoded, changed and encoded before the next ones: 256 KiB of `f32`, which stay in a core's cache.
const PIECE_VALUES: u64 = 1 << 16;

/// What a thread works in.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub values: Vec<f32>,
    /// One is encoded while the other is written.
    pub blocks: [Vec<u8>; 2],
}

/// Rows to encode, and how.
#[derive(Clone, Copy)]
pub(crate) struct Task<'a> {
    pub reader: &'a RowReader<'a>,
    /// Of an encoded row.
    pub row_bytes: usize,
    pub encode: &'a Encode<'a>,
}

impl Task<'_> {
    /// Rows that are worked on at a time, of `columns` values each.
    pub(crate) fn piece_rows(columns: u64) -> u64 {
        (PIECE_VALUES / columns.max(1)).max(1)
    }

    /// Makes buffers as large as the largest block needs: in a thread, its own allocator would keep what they had before.
    pub(crate) fn grow(&self, largest: &Range<u64>, buffers: &mut Buffers) {
        let (rows, columns) = (largest.end - largest.start, self.reader.columns());
        buffers.values.resize(rows.min(Self::piece_rows(columns as u64)) as usize * columns, 0.0);
        buffers.blocks.iter_mut().for_each(|bytes| bytes.resize(rows as usize * self.row_bytes, 0));
    }

    /// Fills `bytes` with the encoded rows of `block`.
    pub(crate) fn encode(&self, block: &Range<u64>, values: &mut Vec<f32>, bytes: &mut Vec<u8>) -> Result<()> {
        let columns = self.reader.columns();
        let piece = Self::piece_rows(columns as u64);
        bytes.resize((block.end - block.start) as usize * self.row_bytes, 0);
        let mut rest = bytes.as_mut_slice();
        for start in block.clone().step_by(piece as usize) {
            let rows = start..(start + piece).min(block.end);
            let count = (rows.end - rows.start) as usize;
            let (encoded, behind) = rest.split_at_mut(count * self.row_bytes);
            values.resize(count * columns, 0.0);
            self.reader.read_finite(rows, values).map_err(stage_error("unreadable_tensor"))?;
            let in_tensor = |e: Error| e.with_cause(format!("in tensor `{}`, from row {start} on", self.reader.name()));
            (self.encode)(values, encoded).map_err(in_tensor)?;
            rest = behind;
        }
        Ok(())
    }

    fn panicked(&self) -> Error {
        Error::new(Error::PANIC, format!("a thread panicked while it encoded `{}`", self.reader.name()))
    }
}

/// A thread at work, seen from the one that writes.
pub(crate) struct Lane<'scope> {
    task: Task<'scope>,
    encoded: Receiver<Result<Vec<u8>>>,
    written: Sender<Vec<u8>>,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl<'scope> Lane<'scope> {
    /// Starts to encode `blocks` in their order.
    pub(crate) fn start<'a: 'scope>(
        scope: &'scope Scope<'scope, '_>,
        task: Task<'a>,
        blocks: impl Iterator<Item = &'a Range<u64>> + Send + 'scope,
        buffers: &'a mut Buffers,
    ) -> Self {
        let (sender, encoded) = channel();
        let (written, free) = channel();
        for bytes in &mut buffers.blocks {
            let _ = written.send(take(bytes)); // `free` is at the other end
        }
        let thread = scope.spawn(move || encode_all(task, blocks, buffers, &free, &sender));
        Self { task, encoded, written, thread }
    }

    /// Writes the next block.
    pub(crate) fn pass_on(&self, write: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let bytes = self.encoded.recv().unwrap_or_else(|_| Err(self.task.panicked()))?;
        write(&bytes)?;
        let _ = self.written.send(bytes); // a thread that has ended needs no buffer
        Ok(())
    }

    /// Waits for the end of the thread, which comes soon where not all blocks were passed on.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { task, encoded, written, thread } = self;
        drop((encoded, written));
        thread.join().map_err(|_| task.panicked())
    }
}

fn encode_all<'a>(
    task: Task<'_>,
    blocks: impl Iterator<Item = &'a Range<u64>>,
    buffers: &mut Buffers,
    free: &Receiver<Vec<u8>>,
    encoded: &Sender<Result<Vec<u8>>>,
) {
    for block in blocks {
        let Ok(mut bytes) = free.recv() else { return };
        let result = task.encode(block, &mut buffers.values, &mut bytes).map(|()| bytes);
        let failed = result.is_err();
        if encoded.send(result).is_err() || failed {
            return;
        }
    }
    // The next tensor's.
    for bytes in &mut buffers.blocks {
        *bytes = free.recv().unwrap_or_default();
    }
}
