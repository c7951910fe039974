//! Brings a file to disk while it is still being written, so that the last `sync` has little left to wait for.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Bytes after which another round begins, unless one is still under way.
const ROUND_BYTES: u64 = 64 << 20;

/// A thread that syncs one file's data, round after round.
#[derive(Debug)]
pub(crate) struct WriteBehind {
    /// Bytes since the last round.
    waiting: u64,
    /// From the first round on: a small file needs no thread.
    rounds: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
}

impl WriteBehind {
    pub(crate) fn new() -> Self {
        Self { waiting: 0, rounds: None }
    }

    /// Accounts for bytes that the system has been given for `file`.
    pub(crate) fn wrote(&mut self, file: &File, bytes: usize) -> io::Result<()> {
        self.waiting += bytes as u64;
        if self.waiting < ROUND_BYTES {
            return Ok(());
        }
        self.waiting = 0;
        if self.rounds.is_none() {
            let file = file.try_clone()?;
            let (begin, rounds) = sync_channel(1);
            self.rounds = Some((begin, thread::spawn(move || sync_rounds(&file, &rounds))));
        }
        if let Some((begin, _)) = &self.rounds {
            // Where a round waits already, it will bring these bytes too.
            let _ = begin.try_send(());
        }
        Ok(())
    }

    /// Waits for the last round. The system tells an error of a file once, perhaps to a round: then it is told here.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let Some((begin, thread)) = self.rounds.take() else { return Ok(()) };
        drop(begin);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that brings the file to disk panicked")))
    }
}

fn sync_rounds(file: &File, rounds: &Receiver<()>) -> io::Result<()> {
    rounds.iter().try_for_each(|()| file.sync_data())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    #[test]
    fn only_large_files_get_a_thread_and_it_ends() {
        let mut file = tempfile::tempfile().unwrap();
        let mut behind = WriteBehind::new();
        file.write_all(b"abc").unwrap();
        behind.wrote(&file, 3).unwrap();
        assert!(behind.rounds.is_none());
        for _ in 0..3 {
            behind.wrote(&file, ROUND_BYTES as usize).unwrap();
        }
        assert!(behind.rounds.is_some());
        behind.finish().unwrap();
        assert!(behind.rounds.is_none());
    }

    #[test]
    fn an_error_of_a_round_is_told_at_the_end() {
        // A pipe cannot be synced, which is as good as a disk that fails.
        let (_reader, writer) = std::io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut behind = WriteBehind::new();
        behind.wrote(&file, ROUND_BYTES as usize).unwrap();
        assert!(behind.finish().is_err());
    }
}
