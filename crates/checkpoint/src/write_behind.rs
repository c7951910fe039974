//! Has the system bring a file to disk while it is still being written, so that the last `sync` has little left to wait
//! for. A `sync` now and then would do it too, but each one waits for the file system's journal, and writes wait for it.

use std::fs::File;

/// Bytes after which the system is told.
const ROUND_BYTES: u64 = 16 << 20;

/// How far a file that is written from its start is on its way to disk.
#[derive(Debug, Default)]
pub(crate) struct WriteBehind {
    /// Bytes that are on their way.
    begun: u64,
    written: u64,
}

impl WriteBehind {
    /// Accounts for bytes that were appended to `file`, the last `held` of all not given to the system yet.
    pub(crate) fn wrote(&mut self, file: &File, bytes: usize, held: usize) {
        self.written += bytes as u64;
        let given = self.written - held as u64;
        if given >= self.begun + ROUND_BYTES {
            begin(file, self.begun, given - self.begun);
            self.begun = given;
        }
    }
}

/// Starts to write a range and does not wait. What fails is told by the last `sync`.
#[cfg(target_os = "linux")]
fn begin(file: &File, start: u64, len: u64) {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the call touches no memory of ours.
    unsafe { libc::sync_file_range(file.as_raw_fd(), start as i64, len as i64, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Other systems have no such call; there the last `sync` does it all.
#[cfg(not(target_os = "linux"))]
fn begin(_file: &File, _start: u64, _len: u64) {}
