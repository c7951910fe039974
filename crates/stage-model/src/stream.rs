//! Rows of a model through an encoder to a writer: threads encode blocks of a tensor in turn while blocks before them are
//! written.
//!
//! Blocks are whole rows and are written in order, so the bytes do not depend on the number of threads. What is held is,
//! for each thread, some rows of `f32`, few enough for its cache, and two encoded blocks, whatever the tensor's size; the
//! next tensor gets the same buffers.

use std::ops::Range;
use std::thread;

use checkpoint::map_pages;
use checkpoint::view::{RawRows, RowReader};
use model::StoredType;
use model::description::StoredTensor;
use stage_api::{Error, Result};

use crate::lane::{Buffers, Lane, Task};
use crate::stage_error;

/// Values of a block, which is written as one: 512 KiB in two bytes each.
const BLOCK_VALUES: usize = 1 << 18;

/// Encodes whole rows; called from several threads at once.
pub type Encode<'a> = dyn Fn(&[f32], &mut [u8]) -> Result<()> + Sync + 'a;

/// The buffers through which tensors go, one after the other.
#[derive(Debug)]
pub struct RowStream {
    threads: Vec<Buffers>,
}

impl RowStream {
    /// A stream that keeps `threads` threads busy.
    pub fn new(threads: usize) -> Self {
        Self { threads: (0..threads.max(1)).map(|_| Buffers::default()).collect() }
    }

    /// Bytes that it holds at most for these tensors, as they come out of the encoder.
    pub fn memory<'a>(threads: usize, encoded: impl Iterator<Item = &'a StoredTensor>) -> u64 {
        let (mut values, mut bytes) = (0, 0);
        for tensor in encoded {
            let columns = tensor.shape.last().copied().unwrap_or(1).max(1);
            let block = tensor.values().min((BLOCK_VALUES as u64 / columns).max(1) * columns);
            values = values.max(4 * block.min(Task::piece_rows(columns) * columns));
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
        let task = Task { reader, row_bytes, encode };
        let blocks: Vec<Range<u64>> = reader.blocks(BLOCK_VALUES).collect();
        if let [block] = blocks.as_slice() {
            let Buffers { values, blocks: [bytes, _] } = &mut self.threads[0];
            task.encode(block, values, bytes)?;
            return write(bytes);
        }
        let threads = self.threads.len();
        self.threads.iter_mut().for_each(|buffers| task.grow(&blocks[0], buffers));
        thread::scope(|scope| {
            let start = |(i, buffers)| Lane::start(scope, task, blocks.iter().skip(i).step_by(threads), buffers);
            let lanes: Vec<Lane<'_>> = self.threads.iter_mut().enumerate().map(start).collect();
            let written = (0..blocks.len()).try_for_each(|i| lanes[i % threads].pass_on(write));
            lanes.into_iter().map(Lane::finish).fold(written, Result::and)
        })
    }

    /// Writes `reader`'s rows as they lie; only for readers whose `stored_type` says that they lie in one type. A value
    /// that is no number stops it, where values lie by themselves.
    pub fn raw(
        &mut self,
        reader: &RowReader<'_>,
        stored_type: StoredType,
        write: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let row_bytes = stored_type.row_bytes(reader.columns() as u64).unwrap_or(0) as usize;
        let copy = &mut self.threads[0].blocks[0];
        for block in reader.blocks(BLOCK_VALUES) {
            let start = block.start;
            let bytes = match reader.raw_rows(block.clone()) {
                Some(rows) => {
                    map_pages(rows.bytes);
                    rows.bytes
                }
                None => {
                    copy.resize((block.end - block.start) as usize * row_bytes, 0);
                    reader.copy_raw(block, copy).map_err(stage_error("unreadable_tensor"))?;
                    copy.as_slice()
                }
            };
            reader.check_finite(start, RawRows { stored_type, bytes }).map_err(stage_error("unreadable_tensor"))?;
            write(bytes)?;
        }
        Ok(())
    }
}
