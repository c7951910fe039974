//! Distributions over the vocabulary, from rows of logits.
//!
//! `p_i = exp(x_i) / Z`, `Z = Σ exp(x_j)`; everything is summed in f64, since the divergences that a good file shows
//! (1e-10) are far below f32's resolution.

/// `ln Z` of a row, shifted by its maximum so that nothing overflows.
pub fn log_normalizer(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let max = f64::from(max);
    max + logits.iter().map(|&x| (f64::from(x) - max).exp()).sum::<f64>().ln()
}

/// Negative log-likelihood of `token`, nats: `ln Z - x_token`.
pub fn negative_log_likelihood(logits: &[f32], token: usize) -> f64 {
    log_normalizer(logits) - f64::from(logits[token])
}

/// Kullback-Leibler divergence `Σ p ln(p / q)`, nats, of `q` from the reference `p`, both given as logits.
///
/// Summed as `Σ p ln(p / q) - p + q`, which is the same (both sum to 1), but never negative in any term, so rounding
/// cannot cancel a small divergence away.
pub fn divergence(reference: &[f32], logits: &[f32]) -> f64 {
    let (p_norm, q_norm) = (log_normalizer(reference), log_normalizer(logits));
    let terms = reference.iter().zip(logits).map(|(&a, &b)| {
        let (ln_p, ln_q) = (f64::from(a) - p_norm, f64::from(b) - q_norm);
        let p = ln_p.exp();
        let d = ln_q - ln_p;
        if p == 0.0 {
            ln_q.exp()
        } else if d.abs() < 1.0 {
            p * (d.exp_m1() - d) // q - p = p (e^d - 1), without cancellation
        } else {
            ln_q.exp() - p - p * d
        }
    });
    terms.sum()
}

/// The most likely token; the lowest id where several are.
pub fn most_likely(logits: &[f32]) -> usize {
    let mut best = 0;
    for (id, &x) in logits.iter().enumerate() {
        if x > logits[best] {
            best = id;
        }
    }
    best
}

/// `f(row)` for every row below `rows`, in order, computed by `threads` threads.
pub fn by_row<T: Send>(rows: usize, threads: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let share = rows.div_ceil(threads.max(1)).max(1);
    let starts: Vec<usize> = (0..rows).step_by(share).collect();
    std::thread::scope(|scope| {
        let f = &f;
        let workers: Vec<_> = starts
            .iter()
            .map(|&start| scope.spawn(move || (start..rows.min(start + share)).map(f).collect::<Vec<T>>()))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() <= 1e-12, "got {got}, expected {expected}");
    }

    /// Logits of the distribution (1/2, 1/4, 1/4), exact in f32.
    fn halves() -> [f32; 3] {
        [0.0, -std::f32::consts::LN_2, -std::f32::consts::LN_2]
    }

    #[test]
    fn normalizer_survives_large_logits() {
        close(log_normalizer(&[1000.0, 1000.0]), 1000.0 + 2f64.ln());
        close(log_normalizer(&[-1000.0, -1000.0]), -1000.0 + 2f64.ln());
    }

    #[test]
    fn likelihood_by_hand() {
        assert!((negative_log_likelihood(&halves(), 0) - 2f64.ln()).abs() < 1e-7);
        assert!((negative_log_likelihood(&halves(), 2) - 4f64.ln()).abs() < 1e-7);
        close(negative_log_likelihood(&[0.0; 8], 3), 8f64.ln());
    }

    #[test]
    fn divergence_by_hand() {
        // Σ p ln(p/q) with p = (1/2, 1/4, 1/4), q uniform: ln 3 - 1.5 ln 2
        let expected = 3f64.ln() - 1.5 * 2f64.ln();
        assert!((divergence(&halves(), &[0.0; 3]) - expected).abs() < 1e-7);
        // and the other way round: -ln 3 + (1/3)(ln 2 + 2 ln 4)
        let expected = (2f64.ln() + 2.0 * 4f64.ln()) / 3.0 - 3f64.ln();
        assert!((divergence(&[0.0; 3], &halves()) - expected).abs() < 1e-7);
    }

    #[test]
    fn divergence_of_equal_rows_is_nothing_and_of_shifted_rows_too() {
        assert_eq!(divergence(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), 0.0);
        assert!(divergence(&[1.0, 2.0, 3.0], &[3.0, 4.0, 5.0]).abs() < 1e-15);
    }

    #[test]
    fn a_tiny_divergence_keeps_its_digits() {
        // To second order, half the variance of the change under p: x1 + e on (1/2, 1/2) gives e²/8.
        let e = 1e-4f32;
        let expected = f64::from(e).powi(2) / 8.0;
        let got = divergence(&[0.0, 0.0], &[0.0, e]);
        assert!((got / expected - 1.0).abs() < 1e-6, "got {got}, expected {expected}");
    }

    #[test]
    fn an_impossible_token_adds_its_mass() {
        // p(1) underflows to 0 in f64; the term is then q alone, nothing is NaN
        let got = divergence(&[0.0, -1e4], &[0.0, 0.0]);
        assert!((got - 2f64.ln()).abs() < 1e-12, "{got}");
    }

    #[test]
    fn the_most_likely_token_is_the_first_of_equals() {
        assert_eq!(most_likely(&[0.5, 2.0, 2.0, -1.0]), 1);
    }

    #[test]
    fn rows_come_back_in_order_for_any_number_of_threads() {
        for threads in [1, 2, 3, 16] {
            assert_eq!(by_row(7, threads, |row| row * row), [0, 1, 4, 9, 16, 25, 36]);
        }
        assert!(by_row(0, 2, |row| row).is_empty());
    }
}
