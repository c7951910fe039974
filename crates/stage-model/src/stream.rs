//! Rows of a model through an encoder to a writer: a wave of blocks at a time, one block a thread, while the wave before
//! it is written.
//!
//! Blocks are whole rows and are written in order, so the bytes do not depend on the number of threads. What is held is
//! one block of `f32` and two encoded ones for each thread, whatever the tensor's size; the next tensor gets the same
//! buffers.

use std::mem::swap;
use std::ops::Range;
use std::thread;

use checkpoint::view::RowReader;
use model::StoredType;
use model::description::StoredTensor;
use stage_api::{Error, Result};

use crate::stage_error;

/// Values of a block: 2 MiB of `f32`.
const BLOCK_VALUES: usize = 1 << 19;

/// Encodes whole rows; called from several threads at once.
pub type Encode<'a> = dyn Fn(&[f32], &mut [u8]) -> Result<()> + Sync + 'a;

/// The buffers through which tensors go, one after the other; each list has one a thread.
#[derive(Debug)]
pub struct RowStream {
    values: Vec<Vec<f32>>,
    /// What is being encoded.
    encoding: Vec<Vec<u8>>,
    /// What was encoded before and is being written.
    encoded: Vec<Vec<u8>>,
}

impl RowStream {
    /// A stream that keeps `threads` threads busy.
    pub fn new(threads: usize) -> Self {
        let bytes = || vec![Vec::new(); threads.max(1)];
        Self { values: vec![Vec::new(); threads.max(1)], encoding: bytes(), encoded: bytes() }
    }

    /// Bytes that it holds at most for these tensors, as they come out of the encoder.
    pub fn memory<'a>(threads: usize, encoded: impl Iterator<Item = &'a StoredTensor>) -> u64 {
        let (mut values, mut bytes) = (0, 0);
        for tensor in encoded {
            let columns = tensor.shape.last().copied().unwrap_or(1).max(1);
            let rows = (BLOCK_VALUES as u64 / columns).max(1);
            let block = tensor.values().min(rows * columns);
            values = values.max(4 * block);
            bytes = bytes.max(tensor.stored_type.row_bytes(block).unwrap_or(4 * block));
        }
        threads.max(1) as u64 * (values + 2 * bytes)
    }

    /// Writes `reader`'s rows, merged and in `f32`, as `to` through `encode`. A value that is no number stops it.
    pub fn encoded(
        &mut self,
        reader: &RowReader<'_>,
        to: StoredType,
        encode: &Encode<'_>,
        write: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let columns = reader.columns();
        let row_bytes = to.row_bytes(columns as u64).ok_or_else(|| {
            let rows = format!("rows of `{}` ({columns} values)", reader.name());
            Error::new("bad_recipe", format!("{rows} are no whole blocks of {to}"))
        })? as usize;
        let Self { values, encoding, encoded } = self;
        let blocks: Vec<Range<u64>> = reader.blocks(BLOCK_VALUES).collect();
        let mut ready = 0;
        // A last wave of nothing writes what the one before it encoded.
        for wave in blocks.chunks(values.len()).chain([&[][..]]) {
            // Buffers grow here and not in the threads, whose allocators would each keep what they once had.
            for ((block, values), bytes) in wave.iter().zip(&mut *values).zip(&mut *encoding) {
                let rows = (block.end - block.start) as usize;
                values.resize(rows * columns, 0.0);
                bytes.resize(rows * row_bytes, 0);
            }
            thread::scope(|scope| {
                let work = wave.iter().zip(&mut *values).zip(&mut *encoding).map(|((block, values), bytes)| {
                    scope.spawn(move || {
                        reader.read_finite(block.clone(), values).map_err(stage_error("unreadable_tensor"))?;
                        encode(values, bytes).map_err(|e| e.with_cause(format!("in tensor `{}`", reader.name())))
                    })
                });
                let handles: Vec<_> = work.collect();
                let written = encoded[..ready].iter().try_for_each(|bytes| write(bytes));
                let joined = handles.into_iter().map(|h| h.join().unwrap_or_else(|_| Err(worker_panicked(reader))));
                joined.fold(written, Result::and)
            })?;
            swap(encoding, encoded);
            ready = wave.len();
        }
        Ok(())
    }

    /// Writes `reader`'s rows as they lie; only for readers whose `stored_type` says that they lie in one type.
    pub fn raw(
        &mut self,
        reader: &RowReader<'_>,
        stored_type: StoredType,
        write: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let row_bytes = stored_type.row_bytes(reader.columns() as u64).unwrap_or(0) as usize;
        let copy = &mut self.encoding[0];
        for block in reader.blocks(BLOCK_VALUES) {
            match reader.raw_rows(block.clone()) {
                Some(rows) => write(rows.bytes)?,
                None => {
                    copy.resize((block.end - block.start) as usize * row_bytes, 0);
                    reader.copy_raw(block, copy).map_err(stage_error("unreadable_tensor"))?;
                    write(copy)?;
                }
            }
        }
        Ok(())
    }
}

fn worker_panicked(reader: &RowReader<'_>) -> Error {
    Error::new(Error::PANIC, format!("a thread panicked while it encoded `{}`", reader.name()))
}
