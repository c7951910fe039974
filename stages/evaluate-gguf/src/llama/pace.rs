//! How many threads a batch gets: all of them, or one where others keep the machine busy.
//!
//! llama.cpp's threads wait for each other by spinning, some hundred times a token. Where another program takes one of
//! them off its core, the rest burn their time: two threads on two busy cores were seen to be 80 times slower than one.
//! Results do not depend on the number of threads, so whatever is faster just now is right.

use std::time::Duration;

/// Every so many batches the slower way is tried again, since machines become busy and idle.
const RETRY: u64 = 32;

/// Tokens through the network, and how fast they went.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Way {
    tokens: u64,
    time: Duration,
    /// Tokens a second of late; `None` until tried.
    recent: Option<f64>,
}

impl Way {
    fn record(&mut self, tokens: usize, time: Duration) {
        self.tokens += tokens as u64;
        self.time += time;
        let rate = tokens as f64 / time.as_secs_f64().max(1e-9);
        self.recent = Some(self.recent.map_or(rate, |before| (before + rate) / 2.0));
    }

    fn tokens_per_second(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.tokens as f64 / self.time.as_secs_f64().max(1e-9))
    }
}

/// The pace of one kind of batch: prompts, or single tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    threads: usize,
    all: Way,
    one: Way,
    batches: u64,
}

impl Pace {
    /// With so many threads at most.
    pub(super) fn new(threads: usize) -> Self {
        Self { threads: threads.max(1), all: Way::default(), one: Way::default(), batches: 0 }
    }

    /// Threads of the next batch.
    pub(super) fn threads(&self) -> usize {
        let all_is_faster = match (self.all.recent, self.one.recent) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(all), Some(one)) => all >= one,
        };
        let try_again = self.batches % RETRY == RETRY - 1;
        if self.threads == 1 || all_is_faster != try_again { self.threads } else { 1 }
    }

    /// Learns from a batch that had `threads` threads.
    pub(super) fn record(&mut self, threads: usize, tokens: usize, time: Duration) {
        self.batches += 1;
        let way = if threads == self.threads { &mut self.all } else { &mut self.one };
        way.record(tokens, time);
    }

    /// Tokens a second of the faster way; `None` where nothing was decoded.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let rates = [self.all.tokens_per_second(), self.one.tokens_per_second()];
        rates.into_iter().flatten().max_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: usize = 1;

    fn run(pace: &mut Pace, batches: usize, time: impl Fn(usize) -> Duration) -> Vec<usize> {
        let batch = |_| {
            let threads = pace.threads();
            pace.record(threads, TOKEN, time(threads));
            threads
        };
        (0..batches).map(batch).collect()
    }

    #[test]
    fn an_idle_machine_gets_all_threads_and_a_busy_one_a_single() {
        let idle = |threads: usize| Duration::from_millis(20 / threads as u64);
        let busy = |threads: usize| Duration::from_millis(if threads == 1 { 20 } else { 1000 });
        let mut pace = Pace::new(2);
        assert_eq!(run(&mut pace, 5, idle), [2, 1, 2, 2, 2]);
        assert_eq!(pace.tokens_per_second(), Some(100.0));
        let mut pace = Pace::new(2);
        assert_eq!(run(&mut pace, 5, busy), [2, 1, 1, 1, 1]);
        assert_eq!(pace.tokens_per_second(), Some(50.0));
        // once in a while the other way is tried, so that the change is noticed
        let later = run(&mut pace, 600, idle);
        assert_eq!(later.last(), Some(&2));
    }

    #[test]
    fn one_thread_stays_one() {
        let mut pace = Pace::new(1);
        assert_eq!(run(&mut pace, 40, |_| Duration::from_millis(1)), [1; 40]);
        assert_eq!(Pace::new(4).tokens_per_second(), None);
    }
}
