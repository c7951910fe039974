//! Perplexity: `exp` of the mean negative log-likelihood of a text's tokens.

use serde::Serialize;

/// Likelihoods as they come in.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Likelihood {
    sum: f64,
    sum_of_squares: f64,
    tokens: u64,
}

/// How well a model predicts a text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Perplexity {
    /// `exp(mean_nll)`.
    pub perplexity: f64,
    /// Mean negative log-likelihood, nats a token.
    pub mean_nll: f64,
    /// Standard error of `mean_nll`, taking tokens as independent.
    pub standard_error: f64,
    /// Tokens that counted.
    pub tokens: u64,
}

impl Likelihood {
    /// Adds the negative log-likelihood of one token, nats.
    pub fn add(&mut self, nll: f64) {
        self.sum += nll;
        self.sum_of_squares += nll * nll;
        self.tokens += 1;
    }

    /// The figures; `None` before the first token.
    pub fn perplexity(&self) -> Option<Perplexity> {
        if self.tokens == 0 {
            return None;
        }
        let n = self.tokens as f64;
        let mean_nll = self.sum / n;
        let variance = (self.sum_of_squares / n - mean_nll * mean_nll).max(0.0);
        let standard_error = if self.tokens > 1 { (variance / (n - 1.0)).sqrt() } else { 0.0 };
        Some(Perplexity { perplexity: mean_nll.exp(), mean_nll, standard_error, tokens: self.tokens })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn perplexity_by_hand() {
        assert_eq!(Likelihood::default().perplexity(), None);
        let mut likelihood = Likelihood::default();
        for nll in [2f64.ln(), 8f64.ln()] {
            likelihood.add(nll);
        }
        let got = likelihood.perplexity().unwrap();
        // the geometric mean of 2 and 8; the two values lie ln 2 from their mean, so the error is ln 2
        assert!((got.perplexity - 4.0).abs() < 1e-12);
        assert!((got.standard_error - 2f64.ln()).abs() < 1e-12);
        assert_eq!(got.tokens, 2);
    }
}
