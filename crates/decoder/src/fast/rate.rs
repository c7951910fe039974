//! What this machine's matrix product reaches: the figure by which training is planned and measured.

use std::time::{Duration, Instant};

use super::Fast;
use super::pool::with_scratch;
use crate::matmul::{self, Left, Rows, RowsMut, Store};

/// Rows, columns and summed values of the product that is timed: its operands fit a core's cache.
const DIMS: (usize, usize, usize) = (96, 64, 576);

impl Fast {
    /// Operations a second of all threads together on products that stay in the cores' caches: the best of what fits
    /// into `time`.
    pub fn product_rate(&self, time: Duration) -> f64 {
        const REPEATS: usize = 32;
        let (m, n, k) = DIMS;
        let start = Instant::now();
        let mut best = f64::INFINITY;
        while best == f64::INFINITY || start.elapsed() < time {
            let round = Instant::now();
            let done = self.pool.each(self.threads(), |_| {
                with_scratch([m * k, k * n, m * n], |[a, b, c]| {
                    a.fill(1.0);
                    b.fill(1.0);
                    for _ in 0..REPEATS {
                        let (a, b) = (Rows { data: &*a, stride: k }, Rows { data: &*b, stride: n });
                        matmul::product(DIMS, Left::Plain, a, b, RowsMut { data: &mut *c, stride: n }, Store::Replace);
                    }
                });
                Ok::<(), std::convert::Infallible>(())
            });
            let Ok(()) = done;
            best = best.min(round.elapsed().as_secs_f64());
        }
        (2 * m * n * k * REPEATS * self.threads()) as f64 / best
    }
}
