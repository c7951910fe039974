//! Rows of a model through an encoder to a writer: a wave of blocks at a time, one block a thread.
//!
//! Blocks are whole rows and are written in order, so the bytes do not depend on the number of threads. What is held is
//! one block of `f32` and its encoding for each thread, whatever the tensor's size.

use std::ops::Range;
use std::thread;

use checkpoint::view::RowReader;
use model::StoredType;
use stage_api::{Error, Result};

use crate::stage_error;

/// Values of a block: 2 MiB of `f32`.
const BLOCK_VALUES: usize = 1 << 19;

/// Bytes that a stream holds at most, for rows that become `to` on `threads` threads.
pub fn stream_memory(threads: usize, columns: u64, to: StoredType) -> u64 {
    let values = (BLOCK_VALUES as u64).max(columns);
    threads as u64 * (4 * values + to.row_bytes(values - values % to.block_len()).unwrap_or(4 * values))
}

/// Encodes whole rows; called from several threads at once.
pub type Encode<'a> = dyn Fn(&[f32], &mut [u8]) -> Result<()> + Sync + 'a;

/// Writes `reader`'s rows, merged and in `f32`, as `to` through `encode`. A value that is no number stops it.
pub fn stream_encoded(
    reader: &RowReader<'_>,
    to: StoredType,
    threads: usize,
    encode: &Encode<'_>,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let columns = reader.columns() as u64;
    let row_bytes = to.row_bytes(columns).ok_or_else(|| {
        Error::new("bad_recipe", format!("rows of `{}` ({columns} values) are no whole blocks of {to}", reader.name()))
    })?;
    let blocks: Vec<Range<u64>> = reader.blocks(BLOCK_VALUES).collect();
    let mut buffers = vec![(Vec::new(), Vec::new()); threads.clamp(1, blocks.len().max(1))];
    for wave in blocks.chunks(buffers.len()) {
        let results: Vec<Result<()>> = thread::scope(|scope| {
            let work = wave.iter().zip(&mut buffers).map(|(block, (values, bytes))| {
                scope.spawn(move || {
                    let rows = (block.end - block.start) as usize;
                    values.resize(rows * columns as usize, 0.0);
                    bytes.resize(rows * row_bytes as usize, 0);
                    reader.read_finite(block.clone(), values).map_err(stage_error("unreadable_tensor"))?;
                    encode(values, bytes).map_err(|e| e.with_cause(format!("in tensor `{}`", reader.name())))
                })
            });
            let handles: Vec<_> = work.collect();
            handles.into_iter().map(|h| h.join().unwrap_or_else(|_| Err(worker_panicked(reader)))).collect()
        });
        results.into_iter().collect::<Result<()>>()?;
        for (_, (_, bytes)) in wave.iter().zip(&buffers) {
            write(bytes)?;
        }
    }
    Ok(())
}

/// Writes `reader`'s rows as they lie; only for readers whose `stored_type` says that they lie in one type.
pub fn stream_raw(
    reader: &RowReader<'_>,
    stored_type: StoredType,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let row_bytes = stored_type.row_bytes(reader.columns() as u64).unwrap_or(0) as usize;
    let mut copy = Vec::new();
    for block in reader.blocks(BLOCK_VALUES) {
        match reader.raw_rows(block.clone()) {
            Some(rows) => write(rows.bytes)?,
            None => {
                copy.resize((block.end - block.start) as usize * row_bytes, 0);
                reader.copy_raw(block, &mut copy).map_err(stage_error("unreadable_tensor"))?;
                write(&copy)?;
            }
        }
    }
    Ok(())
}

fn worker_panicked(reader: &RowReader<'_>) -> Error {
    Error::new(Error::PANIC, format!("a thread panicked while it encoded `{}`", reader.name()))
}
