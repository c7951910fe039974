//! Free memory made the same for all sides: that of this machine, and not still to be asked for.
//!
//! The host of a virtual machine may take back what its guest does not use (free page reporting), and then the first use
//! of each page waits for it: writing 3 GB to a file took 0.7 s or 7 s on one machine. What was used a moment ago is
//! still the guest's.

use std::hint::black_box;

/// More than a side needs for what it holds and for the files that it writes.
const TOUCHED: u64 = 7 << 30;
/// At most the size of a page, wherever this runs.
const PAGE: usize = 4096;

/// Uses memory and gives it back.
pub fn touch() {
    let Ok(bytes) = usize::try_from(TOUCHED) else { return };
    let mut memory = vec![0u8; bytes];
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    black_box(&memory);
}
