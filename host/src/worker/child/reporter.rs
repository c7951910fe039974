//! Writes events: to the pipe, and to the attempt's event file, which outlives a lost pipe.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::event::{Event, EventBody};

/// Progress is for eyes; ten a second are enough.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

pub(super) struct Reporter {
    started: Instant,
    state: Mutex<State>,
}

struct State {
    wire: File,
    copy: Option<File>,
    seq: u64,
    /// When each unit was last shown.
    shown: BTreeMap<String, Instant>,
    finished: bool,
}

impl Reporter {
    pub(super) fn new(wire: File) -> Self {
        let state = State { wire, copy: None, seq: 0, shown: BTreeMap::new(), finished: false };
        Self { started: Instant::now(), state: Mutex::new(state) }
    }

    pub(super) fn also_write_to(&self, path: &Path) -> io::Result<()> {
        self.state().copy = Some(File::options().create(true).append(true).open(path)?);
        Ok(())
    }

    pub(super) fn send(&self, body: EventBody) {
        self.write(&mut self.state(), body);
    }

    /// The last event; what other threads still say is dropped.
    pub(super) fn finish(&self, body: EventBody) {
        let mut state = self.state();
        self.write(&mut state, body);
        state.finished = true;
    }

    pub(super) fn progress(&self, unit: &str, done: u64, total: u64) {
        let mut state = self.state();
        let now = Instant::now();
        let recent = state.shown.get(unit).is_some_and(|at| now - *at < PROGRESS_INTERVAL);
        if recent && done != total {
            return;
        }
        state.shown.insert(unit.into(), now);
        self.write(&mut state, EventBody::Progress { unit: unit.into(), done, total });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, state: &mut State, body: EventBody) {
        if state.finished {
            return;
        }
        let t_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let Ok(mut line) = serde_json::to_vec(&Event { seq: state.seq, t_ms, body }) else { return };
        line.push(b'\n');
        state.seq += 1;
        // Nobody may be listening any more, which shows at the end of stdin; the work is not lost by it.
        let _ = state.wire.write_all(&line);
        if let Some(copy) = &mut state.copy {
            let _ = copy.write_all(&line);
        }
    }
}
