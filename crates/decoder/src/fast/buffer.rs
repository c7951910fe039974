//! Recycled memory: a step asks for the same sizes again and again, and fresh pages cost as much as the arithmetic.
//!
//! Nothing is given back to the system until a batch of another size comes, so the peak is the sum of all buffers;
//! [`crate::plan`] keeps the same books without the memory.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Values of a cache line; vector loads that straddle two cost twice.
const LINE: usize = 16;

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Buffers that nobody uses, by length.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    free: Mutex<BTreeMap<usize, Vec<Vec<Line>>>>,
    /// Lines of all buffers, whether used or not.
    lines: AtomicUsize,
    /// Tokens and targets of the batch that buffers are kept for.
    batch: Mutex<(usize, usize)>,
}

/// f32 values that begin on a cache line and return to their arena when dropped.
#[derive(Debug)]
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
    arena: Arc<Arena>,
}

impl Arena {
    /// Buffers for a batch of this size will be asked for: those of another size are of no use.
    pub(crate) fn begin(&self, batch: (usize, usize)) {
        let before = std::mem::replace(&mut *self.batch.lock().unwrap_or_else(PoisonError::into_inner), batch);
        if before != batch {
            let unused = std::mem::take(&mut *self.free.lock().unwrap_or_else(PoisonError::into_inner));
            let lines: usize = unused.iter().map(|(lines, buffers)| lines * buffers.len()).sum();
            self.lines.fetch_sub(lines, Ordering::Relaxed);
        }
    }

    /// A buffer of `len` values that hold whatever was there before.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let lines = len.div_ceil(LINE);
        let recycled = self.free.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&lines).and_then(Vec::pop);
        let lines = recycled.unwrap_or_else(|| {
            self.lines.fetch_add(lines, Ordering::Relaxed);
            vec![Line([0.0; LINE]); lines]
        });
        Buffer { lines, len, arena: Arc::clone(self) }
    }

    /// Bytes of all buffers.
    pub(crate) fn bytes(&self) -> u64 {
        (self.lines.load(Ordering::Relaxed) * size_of::<Line>()) as u64
    }

    /// A buffer of `len` zeros.
    pub(crate) fn take_zeroed(self: &Arc<Self>, len: usize) -> Buffer {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        let mut free = self.arena.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.entry(lines.len()).or_default().push(lines);
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: a `Line` is sixteen f32 without padding, and `len` is at most `16 · lines`.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and `self` is borrowed for as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_taken_again() {
        let arena = Arc::new(Arena::default());
        let mut first = arena.take(100);
        assert!((first.as_ptr() as usize).is_multiple_of(64));
        first[99] = 1.0;
        let at = first.as_ptr();
        drop(first);
        assert_eq!(arena.take(200).len(), 200);
        let again = arena.take_zeroed(98);
        assert_eq!((again.as_ptr(), again.len()), (at, 98));
        assert!(again.iter().all(|x| *x == 0.0));

        assert_eq!(arena.bytes(), (112 + 208) * 4);
        drop(again);
        arena.begin((1, 1));
        assert_eq!(arena.bytes(), 0);
    }
}
