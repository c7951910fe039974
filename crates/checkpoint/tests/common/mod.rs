//! What the tests of both containers share.

/// A small seeded generator (SplitMix64), so that a failing mutation is the same one next time.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// One to four edits: a byte changed, a run of bytes set to a large number, bytes removed or doubled.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes[at] = self.next() as u8,
                1 => bytes[at] ^= 1 << self.below(8),
                2 => {
                    let large = [u64::MAX, 1 << 63, 1 << 40, u64::from(u32::MAX), 0][self.below(5)];
                    let end = (at + 8).min(bytes.len());
                    bytes[at..end].copy_from_slice(&large.to_le_bytes()[..end - at]);
                }
                3 => drop(bytes.drain(at..(at + 1 + self.below(16)).min(bytes.len()))),
                _ => bytes.insert(at, self.next() as u8),
            }
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
    }
}

/// Counts what is allocated at once, so that a test can hold a reader to the size of its file.
pub mod allocations {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    thread_local! {
        static LARGEST: Cell<usize> = const { Cell::new(0) };
    }

    pub struct Watching;

    // SAFETY: every call is passed on to the system allocator unchanged; noting a number allocates nothing.
    unsafe impl GlobalAlloc for Watching {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(layout.size())));
            // SAFETY: the caller's promise about `layout` is passed on.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            // SAFETY: `at` came from `System` with the same `layout`.
            unsafe { System.dealloc(at, layout) }
        }
    }

    /// The largest single allocation that `run` makes on this thread.
    pub fn largest_of<T>(run: impl FnOnce() -> T) -> (usize, T) {
        LARGEST.with(|largest| largest.set(0));
        let result = run();
        (LARGEST.with(Cell::get), result)
    }
}
