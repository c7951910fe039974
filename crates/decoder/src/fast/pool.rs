//! Threads that share work by outputs, so that results don't depend on how many there are.

use std::cell::Cell;

use rayon::prelude::*;

use crate::error::DecoderError;

/// A fixed number of threads.
#[derive(Debug)]
pub(crate) struct Pool {
    threads: rayon::ThreadPool,
}

impl Pool {
    /// `threads` threads, at least one.
    pub(crate) fn new(threads: usize) -> Result<Self, DecoderError> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1)).build()?;
        Ok(Self { threads })
    }

    /// How many threads there are.
    pub(crate) fn threads(&self) -> usize {
        self.threads.current_num_threads()
    }

    /// Runs `task` for each number below `tasks`; each must write outputs of its own.
    pub(crate) fn each<E: Send>(
        &self,
        tasks: usize,
        task: impl Fn(usize) -> Result<(), E> + Sync + Send,
    ) -> Result<(), E> {
        if self.threads() == 1 || tasks == 1 {
            return (0..tasks).try_for_each(task);
        }
        self.threads.install(|| (0..tasks).into_par_iter().with_max_len(1).try_for_each(task))
    }

    /// Runs `task` for each chunk of `len` values.
    pub(crate) fn chunks(&self, values: &mut [f32], len: usize, task: impl Fn(usize, &mut [f32]) + Sync + Send) {
        if self.threads() == 1 || values.len() <= len {
            return values.chunks_mut(len).enumerate().for_each(|(i, chunk)| task(i, chunk));
        }
        self.threads.install(|| {
            values.par_chunks_mut(len).enumerate().with_max_len(1).for_each(|(i, chunk)| task(i, chunk));
        });
    }

    /// Runs `task` for each pair of chunks, `len` values of either.
    pub(crate) fn chunk_pairs(
        &self,
        (a, b): (&mut [f32], &mut [f32]),
        len: usize,
        task: impl Fn(usize, &mut [f32], &mut [f32]) + Sync + Send,
    ) {
        if self.threads() == 1 || a.len() <= len {
            let pairs = a.chunks_mut(len).zip(b.chunks_mut(len));
            return pairs.enumerate().for_each(|(i, (a, b))| task(i, a, b));
        }
        self.threads.install(|| {
            let pairs = a.par_chunks_mut(len).zip(b.par_chunks_mut(len));
            pairs.enumerate().with_max_len(1).for_each(|(i, (a, b))| task(i, a, b));
        });
    }
}

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Lends this thread's scratch memory, cut into parts of these lengths that hold whatever was there before.
pub(crate) fn with_scratch<const N: usize, R>(lengths: [usize; N], work: impl FnOnce([&mut [f32]; N]) -> R) -> R {
    // Parts begin on cache lines.
    const LINE: usize = 16;
    let mut memory = SCRATCH.take();
    let need = lengths.iter().map(|len| len.next_multiple_of(LINE)).sum::<usize>() + LINE;
    if memory.len() < need {
        memory.resize(need, 0.0);
    }
    let skip = memory.as_ptr().align_offset(64);
    let mut rest = &mut memory[skip..];
    let parts = lengths.map(|len| {
        let (part, after) = std::mem::take(&mut rest).split_at_mut(len.next_multiple_of(LINE));
        rest = after;
        &mut part[..len]
    });
    let result = work(parts);
    SCRATCH.set(memory);
    result
}

/// A slice that several threads write, each in places of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    borrow: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: the pointer is only followed in `slice` and `write`, whose callers vouch that no two threads touch one place.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
        Self { start: values.as_mut_ptr(), len: values.len(), borrow: std::marker::PhantomData }
    }

    /// `len` values from `start` on.
    ///
    /// # Safety
    /// Nobody else touches them while the slice lives.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice(&self, start: usize, len: usize) -> &'a mut [f32] {
        assert!(start + len <= self.len, "a shared slice reaches past its end");
        // SAFETY: in bounds; the caller vouches that nobody else has these values.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_once_whatever_the_number_of_threads() {
        for threads in [1, 2, 3] {
            let pool = Pool::new(threads).unwrap();
            let mut values = vec![0.0; 100];
            pool.chunks(&mut values, 7, |i, chunk| chunk.iter_mut().for_each(|v| *v += i as f32));
            assert!(values.iter().enumerate().all(|(i, v)| *v == (i / 7) as f32));
            let shared = Shared::new(&mut values);
            let write = |i: usize| {
                // SAFETY: each task has a value of its own.
                let place = unsafe { shared.slice(i, 1) };
                place[0] = i as f32;
                Ok::<(), ()>(())
            };
            pool.each(100, write).unwrap();
            assert!(values.iter().enumerate().all(|(i, v)| *v == i as f32));
            assert_eq!(pool.each(9, |i| if i == 5 { Err(i) } else { Ok(()) }), Err(5));
        }
    }

    #[test]
    fn scratch_is_cut_on_cache_lines() {
        let total = with_scratch([3, 100, 17], |[a, b, c]| {
            assert!([a.as_ptr(), b.as_ptr(), c.as_ptr()].iter().all(|p| (*p as usize).is_multiple_of(64)));
            a.len() + b.len() + c.len()
        });
        assert_eq!(total, 120);
    }
}
