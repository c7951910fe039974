//! When a worker is asked to end, and when it is ended.

use std::time::{Duration, Instant};

use super::super::event::EventBody;
use super::process::Process;

/// How long a worker may show nothing.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Without any sign of life, not even a heartbeat, which comes twice a second. `HOST_WORKER_SILENCE_SECONDS`.
    pub silence: Duration,
    /// Alive, but without an event and without using the processor: a deadlock, or a peer that never answers.
    /// `HOST_WORKER_STALL_SECONDS`.
    pub stall: Duration,
    /// Between the request to stop and SIGTERM; the worker ends itself a little earlier.
    pub cancel_grace: Duration,
    /// Between SIGTERM and SIGKILL.
    pub terminate_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(60),
            stall: Duration::from_secs(600),
            cancel_grace: Duration::from_secs(12),
            terminate_grace: Duration::from_secs(3),
        }
    }
}

impl Limits {
    /// The defaults, with what the environment changes.
    pub fn from_environment() -> Self {
        let mut limits = Self::default();
        let seconds = |name: &str| std::env::var(name).ok()?.parse().ok().map(Duration::from_secs);
        if let Some(silence) = seconds("HOST_WORKER_SILENCE_SECONDS") {
            limits.silence = silence;
        }
        if let Some(stall) = seconds("HOST_WORKER_STALL_SECONDS") {
            limits.stall = stall;
        }
        limits
    }
}

/// Why a worker was ended by us.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Cancelled,
    Silent(Duration),
    Stalled(Duration),
}

/// Below this share of one processor a worker counts as idle.
const IDLE_SHARE: f64 = 0.01;

pub(super) struct Patience {
    limits: Limits,
    last_sign: Instant,
    /// The last event that was more than a heartbeat, and the processor time then.
    last_deed: (Instant, u64),
    cpu_ms: u64,
    end: Option<End>,
    asked: Option<Instant>,
    terminated: Option<Instant>,
    killed: bool,
}

impl Patience {
    pub(super) fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            limits,
            last_sign: now,
            last_deed: (now, 0),
            cpu_ms: 0,
            end: None,
            asked: None,
            terminated: None,
            killed: false,
        }
    }

    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    pub(super) fn saw(&mut self, event: &EventBody) {
        self.last_sign = Instant::now();
        match event {
            EventBody::Beat { cpu_ms, .. } => self.cpu_ms = *cpu_ms,
            _ => self.last_deed = (self.last_sign, self.cpu_ms),
        }
        if self.idle_share() >= IDLE_SHARE {
            self.last_deed = (self.last_sign, self.cpu_ms);
        }
    }

    /// The share of a processor that was used since the last deed; a short while says nothing yet.
    fn idle_share(&self) -> f64 {
        let (at, cpu_ms) = self.last_deed;
        let elapsed = at.elapsed().max(Duration::from_secs(1)).as_secs_f64() * 1000.0;
        self.cpu_ms.saturating_sub(cpu_ms) as f64 / elapsed
    }

    /// Does what is due: asks, terminates, kills.
    pub(super) fn act(&mut self, process: &Process, cancel: bool) {
        if self.end.is_none() {
            self.end = self.due(cancel);
        }
        match self.end {
            None => {}
            Some(End::Cancelled) => self.cancel(process),
            Some(End::Silent(_) | End::Stalled(_)) => self.kill(process),
        }
    }

    fn due(&self, cancel: bool) -> Option<End> {
        let (silent, stalled) = (self.last_sign.elapsed(), self.last_deed.0.elapsed());
        if cancel {
            Some(End::Cancelled)
        } else if silent > self.limits.silence {
            Some(End::Silent(silent))
        } else if stalled > self.limits.stall {
            Some(End::Stalled(stalled))
        } else {
            None
        }
    }

    fn cancel(&mut self, process: &Process) {
        let Some(asked) = self.asked else {
            process.ask_to_stop();
            self.asked = Some(Instant::now());
            return;
        };
        match self.terminated {
            None if asked.elapsed() > self.limits.cancel_grace => {
                process.terminate();
                self.terminated = Some(Instant::now());
            }
            Some(at) if at.elapsed() > self.limits.terminate_grace => self.kill(process),
            _ => {}
        }
    }

    fn kill(&mut self, process: &Process) {
        if !self.killed {
            process.kill();
            self.killed = true;
        }
    }
}
