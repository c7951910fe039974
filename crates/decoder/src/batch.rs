//! A batch: tokens one after the other, without padding.
//!
//! Attention and positions respect the segments, everything else works token by token; so packing, batching and single
//! samples are the same computation.

use std::ops::Range;

use crate::error::{DecoderError, Result};

/// One sequence.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// Names the sample among all, for random numbers.
    pub id: u64,
    /// Token ids.
    pub tokens: &'a [u32],
    /// How much predicting each token counts: 1 where it is learned, 0 where it is only read. The first token has
    /// nothing before it, so its weight has no effect.
    pub weights: &'a [f32],
}

/// Samples as the network sees them.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    ids: Vec<u32>,
    segments: Vec<(u64, Range<usize>)>,
    targets: Vec<Target>,
}

/// A token that is to be predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// The token that predicts: the one before.
    pub position: usize,
    /// What is predicted.
    pub token: u32,
    /// How much it counts.
    pub weight: f32,
}

impl Batch {
    /// Puts samples together.
    ///
    /// # Errors
    /// Where a sample is empty, or has as many weights as it hasn't tokens.
    pub fn new(samples: &[Sample<'_>]) -> Result<Self> {
        let mut batch = Self { ids: Vec::new(), segments: Vec::with_capacity(samples.len()), targets: Vec::new() };
        for Sample { id, tokens, weights } in samples {
            if tokens.len() != weights.len() {
                return Err(DecoderError::Lengths { sample: *id, tokens: tokens.len(), weights: weights.len() });
            }
            if tokens.is_empty() {
                return Err(DecoderError::EmptySample { sample: *id });
            }
            let start = batch.ids.len();
            batch.ids.extend_from_slice(tokens);
            batch.segments.push((*id, start..batch.ids.len()));
            for (i, (token, weight)) in tokens.iter().zip(*weights).enumerate().skip(1) {
                if *weight != 0.0 {
                    batch.targets.push(Target { position: start + i - 1, token: *token, weight: *weight });
                }
            }
        }
        Ok(batch)
    }

    /// Sequences of which nothing is learned.
    ///
    /// # Errors
    /// Where one is empty.
    pub fn read_only(sequences: &[&[u32]]) -> Result<Self> {
        let weights: Vec<Vec<f32>> = sequences.iter().map(|tokens| vec![0.0; tokens.len()]).collect();
        let sample = |(i, (tokens, weights))| Sample { id: i as u64, tokens, weights };
        let samples: Vec<_> =
            sequences.iter().copied().zip(weights.iter().map(Vec::as_slice)).enumerate().map(sample).collect();
        Self::new(&samples)
    }

    /// Token ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The number of tokens.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Where each sequence lies.
    pub fn segments(&self) -> impl Iterator<Item = Range<usize>> {
        self.segments.iter().map(|(_, range)| range.clone())
    }

    /// What is to be predicted, in order.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The sum of the targets' weights.
    pub fn learned(&self) -> f64 {
        self.targets.iter().map(|t| f64::from(t.weight)).sum()
    }

    /// (sample id, position in it) of every token.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u64, u64)> {
        self.segments.iter().flat_map(|(id, range)| (0..range.len() as u64).map(move |position| (*id, position)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn targets_never_cross_segments() {
        let a = Sample { id: 1, tokens: &[5, 6, 7], weights: &[1.0, 0.0, 1.0] };
        let b = Sample { id: 2, tokens: &[8, 9], weights: &[1.0, 0.5] };
        let batch = Batch::new(&[a, b]).unwrap();
        let target = |position, token, weight| Target { position, token, weight };
        assert_eq!(batch.targets(), [target(1, 7, 1.0), target(3, 9, 0.5)]);
        assert_eq!(batch.segments().collect::<Vec<_>>(), [0..3, 3..5]);
        assert_eq!(batch.places().collect::<Vec<_>>(), [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]);
        assert_eq!(batch.learned(), 1.5);
    }

    #[test]
    fn empty_and_uneven_samples_are_refused() {
        let empty = Batch::read_only(&[&[]]);
        assert!(matches!(empty, Err(DecoderError::EmptySample { sample: 0 })));
        let uneven = Batch::new(&[Sample { id: 3, tokens: &[1], weights: &[] }]);
        assert!(matches!(uneven, Err(DecoderError::Lengths { sample: 3, tokens: 1, weights: 0 })));
    }
}
