//! What goes on beside the work: the heartbeat, measuring memory, and listening for the request to stop.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::super::event::{Command, EventBody};
use super::super::{Job, MemoryPeak, exit_code};
use super::reporter::Reporter;
use crate::platform::{self, own_memory};

const BEAT_INTERVAL: Duration = Duration::from_millis(500);
/// A reading costs 10 µs; an allocation that lives shorter than this is missed.
const MEMORY_INTERVAL: Duration = Duration::from_millis(20);
/// How long a stage has to notice that it should stop.
const CANCEL_GRACE: Duration = Duration::from_secs(10);

/// State shared with the threads beside the work.
#[derive(Clone, Default)]
pub(super) struct Watch {
    cancelled: Arc<AtomicBool>,
    sealed: Arc<AtomicBool>,
    peak_anonymous: Arc<AtomicU64>,
}

impl Watch {
    pub(super) fn start(job: &Job, reporter: Arc<Reporter>) -> Self {
        let watch = Self::default();
        let cancelled = watch.cancelled.clone();
        // Only fails where a handler exists already, and this process has no other.
        let _ = ctrlc::set_handler(move || cancelled.store(true, Ordering::Relaxed));
        let listening = watch.clone();
        let detached = job.detached;
        thread::spawn(move || listening.listen(detached));
        let living = watch.clone();
        thread::spawn(move || living.live(&reporter));
        watch
    }

    pub(super) fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// From here on the job ends by itself in a moment.
    pub(super) fn refuse_to_be_ended(&self) {
        self.sealed.store(true, Ordering::Relaxed);
    }

    pub(super) fn memory_peak(&self) -> MemoryPeak {
        let Some(now) = self.measure() else { return MemoryPeak::default() };
        MemoryPeak { anonymous: Some(self.peak_anonymous.load(Ordering::Relaxed)), resident: Some(now.peak_resident) }
    }

    fn measure(&self) -> Option<platform::MemoryUsage> {
        let usage = own_memory()?;
        self.peak_anonymous.fetch_max(usage.anonymous, Ordering::Relaxed);
        Some(usage)
    }

    /// Commands come on stdin; its end means that whoever started this process is gone.
    fn listen(&self, detached: bool) {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if let Ok(Command::Cancel) = serde_json::from_str(&line) {
                self.cancelled.store(true, Ordering::Relaxed);
            }
        }
        if !detached {
            self.cancelled.store(true, Ordering::Relaxed);
        }
    }

    fn live(&self, reporter: &Reporter) {
        let mut next_beat = Instant::now();
        let mut cancelled_at = None;
        loop {
            self.measure();
            if Instant::now() >= next_beat {
                next_beat += BEAT_INTERVAL;
                reporter.send(self.beat());
            }
            if self.cancelled() && !self.sealed.load(Ordering::Relaxed) {
                let since = *cancelled_at.get_or_insert_with(Instant::now);
                if since.elapsed() > CANCEL_GRACE {
                    reporter.finish(EventBody::Error { error: stage_api::Error::cancelled() });
                    platform::end_process(exit_code::CANCELLED);
                }
            }
            thread::sleep(MEMORY_INTERVAL);
        }
    }

    fn beat(&self) -> EventBody {
        let MemoryPeak { anonymous, resident } = self.memory_peak();
        let cpu_ms = u64::try_from(platform::cpu_time().as_millis()).unwrap_or(u64::MAX);
        EventBody::Beat { cpu_ms, anonymous, resident }
    }
}
