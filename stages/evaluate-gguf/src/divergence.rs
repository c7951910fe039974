//! How far a file's predictions are from the reference's, token by token.

use serde::Serialize;

use crate::distribution::{by_row, divergence, most_likely};
use crate::perplexity::{Likelihood, Perplexity};
use crate::windows::Block;

/// The figures of a comparison. Divergences are `KL(reference ‖ file)` in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Divergence {
    /// Mean over tokens.
    pub mean: f64,
    /// Standard error of the mean, taking tokens as independent.
    pub standard_error: f64,
    /// Half of the tokens are below.
    pub median: f64,
    /// 99 % of the tokens are at or below.
    pub p99: f64,
    /// The worst token.
    pub max: f64,
    /// Share of tokens with the same most likely successor.
    pub top1_agreement: f64,
    /// Tokens compared.
    pub tokens: u64,
    /// Columns compared: a padded vocabulary has rows that nothing trained.
    pub vocab_size: usize,
    /// The file on the reference's text.
    pub perplexity: Option<Perplexity>,
    /// The reference on its own text.
    pub reference_perplexity: Option<Perplexity>,
}

/// Collects blocks in order.
#[derive(Debug, Default)]
pub struct Comparison {
    divergences: Vec<f64>,
    agreed: u64,
    file: Likelihood,
    reference: Likelihood,
    vocab_size: usize,
}

struct Row {
    divergence: f64,
    agreed: bool,
    likelihoods: Option<(f64, f64)>,
}

impl Comparison {
    /// Compares a decoded block with the same rows of the reference, `[rows, reference_vocab_size]`, over the columns
    /// that both have.
    pub fn add(&mut self, block: &Block<'_>, reference: &[f32], reference_vocab_size: usize, threads: usize) {
        let columns = block.vocab_size.min(reference_vocab_size);
        let rows = by_row(block.rows(), threads, |row| {
            let ours = &block.row(row)[..columns];
            let theirs = &reference[row * reference_vocab_size..][..columns];
            compare(theirs, ours, block.target(row).map(|token| token as usize))
        });
        for row in rows {
            self.divergences.push(row.divergence);
            self.agreed += u64::from(row.agreed);
            if let Some((reference, file)) = row.likelihoods {
                self.reference.add(reference);
                self.file.add(file);
            }
        }
        self.vocab_size = columns;
    }

    /// The figures; `None` where nothing was compared.
    pub fn finish(mut self) -> Option<Divergence> {
        let tokens = self.divergences.len();
        if tokens == 0 {
            return None;
        }
        let n = tokens as f64;
        let mean = self.divergences.iter().sum::<f64>() / n;
        let variance = self.divergences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        self.divergences.sort_by(f64::total_cmp);
        Some(Divergence {
            mean,
            standard_error: (variance / n).sqrt(),
            median: quantile(&self.divergences, 0.5),
            p99: quantile(&self.divergences, 0.99),
            max: self.divergences[tokens - 1],
            top1_agreement: self.agreed as f64 / n,
            tokens: tokens as u64,
            vocab_size: self.vocab_size,
            perplexity: self.file.perplexity(),
            reference_perplexity: self.reference.perplexity(),
        })
    }
}

fn compare(reference: &[f32], ours: &[f32], target: Option<usize>) -> Row {
    use crate::distribution::negative_log_likelihood as nll;
    Row {
        divergence: divergence(reference, ours),
        agreed: most_likely(reference) == most_likely(ours),
        likelihoods: target.map(|token| (nll(reference, token), nll(ours, token))),
    }
}

/// The smallest value that at least the share `q` of the values does not exceed; `sorted` is not empty.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::windows::Window;

    #[test]
    fn quantiles_by_hand() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.5), 100.0);
        assert_eq!(quantile(&values, 0.99), 198.0);
        assert_eq!(quantile(&[3.0], 0.99), 3.0);
    }

    #[test]
    fn a_padded_vocabulary_is_compared_on_the_columns_both_have() {
        let window = Window::new(vec![0, 1, 0]);
        let wide = [0.0, 1.0, 9.0, 0.0, 1.0, 9.0, 2.0, 0.0, 9.0];
        let block = Block { window: &window, first: 0, logits: &wide, vocab_size: 3 };
        let mut comparison = Comparison::default();
        comparison.add(&block, &[0.0, 1.0, 0.0, 1.0, 0.0, 2.0], 2, 1);
        let got = comparison.finish().unwrap();
        // two rows are equal, the third is (2, 0) against (0, 2): 2 tanh(1)
        let expected = 2.0 * 1f64.tanh();
        assert!((got.max - expected).abs() < 1e-12, "{got:?}");
        assert!((got.mean - expected / 3.0).abs() < 1e-12);
        assert!(got.median < 1e-15);
        assert!((got.top1_agreement - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!((got.tokens, got.vocab_size), (3, 2));
        // rows 0 and 1 have targets 1 and 0: ln(1+e) - 1 and ln(1+e) in both models
        let expected = (1.0 + 1f64.exp()).ln() - 0.5;
        assert!((got.perplexity.unwrap().mean_nll - expected).abs() < 1e-12);
        assert_eq!(got.perplexity, got.reference_perplexity);
    }

    #[test]
    fn nothing_compared_is_no_figure() {
        assert_eq!(Comparison::default().finish(), None);
    }
}
