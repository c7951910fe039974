//! Who is held out, and in which order the others come: by counters alone, so the same whatever else happens.

use sha2::{Digest, Sha256};

/// `0..count` in an order that `seed` and `round` name: ascending digests of (seed, round, index).
fn permutation(count: usize, seed: u64, round: u64) -> Vec<usize> {
    let mut keyed: Vec<([u8; 32], usize)> = (0..count)
        .map(|index| {
            let counters = [seed, round, index as u64].map(u64::to_le_bytes).concat();
            (Sha256::digest(counters).into(), index)
        })
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, index)| index).collect()
}

/// The round of the permutation that chooses who is held out; epochs count from 0.
const HELD_OUT_ROUND: u64 = u64::MAX;

/// Splits samples into those that are trained on and a share of `held_out`, both in their old order. Where any share is
/// held out, both sides have at least one sample, if there are two.
pub fn split<T>(samples: Vec<T>, held_out: f64, seed: u64) -> (Vec<T>, Vec<T>) {
    let count = samples.len();
    if held_out <= 0.0 || count < 2 {
        return (samples, Vec::new());
    }
    let chosen = ((count as f64 * held_out).round() as usize).clamp(1, count - 1);
    let mut is_held_out = vec![false; count];
    for index in &permutation(count, seed, HELD_OUT_ROUND)[..chosen] {
        is_held_out[*index] = true;
    }
    let marked: Vec<(T, bool)> = samples.into_iter().zip(is_held_out).collect();
    let (held_out, rest): (Vec<_>, Vec<_>) = marked.into_iter().partition(|(_, held_out)| *held_out);
    let unmark = |marked: Vec<(T, bool)>| marked.into_iter().map(|(sample, _)| sample).collect();
    (unmark(rest), unmark(held_out))
}

/// Which samples each optimizer step sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Samples that there are, at least one.
    pub samples: usize,
    /// Samples of a batch.
    pub batch_size: usize,
    /// Batches of a step.
    pub accumulation: usize,
    /// `None` for the file's order in each epoch.
    pub shuffle: Option<u64>,
}

impl Order {
    /// Optimizer steps of an epoch; the last one may be smaller than the others.
    pub fn steps_per_epoch(&self) -> u64 {
        self.samples.div_ceil(self.batch_size.max(1)).div_ceil(self.accumulation.max(1)) as u64
    }

    /// The samples of the first `steps` steps, step by step, each as its batches.
    pub fn steps(self, steps: u64) -> impl Iterator<Item = Vec<Vec<usize>>> {
        let epochs = (0..).map(move |epoch| match self.shuffle {
            Some(seed) => permutation(self.samples, seed, epoch),
            None => (0..self.samples).collect(),
        });
        let in_epoch = move |order: Vec<usize>| {
            let batches: Vec<Vec<usize>> = order.chunks(self.batch_size.max(1)).map(<[usize]>::to_vec).collect();
            batches.chunks(self.accumulation.max(1)).map(<[Vec<usize>]>::to_vec).collect::<Vec<_>>()
        };
        epochs.flat_map(in_epoch).take(steps as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_has_each_sample_once_in_an_order_of_its_own() {
        let order = Order { samples: 11, batch_size: 2, accumulation: 3, shuffle: Some(7) };
        assert_eq!(order.steps_per_epoch(), 2);
        let steps: Vec<_> = order.steps(4).collect();
        let sizes: Vec<Vec<usize>> = steps.iter().map(|step| step.iter().map(Vec::len).collect()).collect();
        assert_eq!(sizes, [vec![2, 2, 2], vec![2, 2, 1], vec![2, 2, 2], vec![2, 2, 1]]);
        let epoch = |steps: &[Vec<Vec<usize>>]| steps.concat().concat();
        let (first, second) = (epoch(&steps[..2]), epoch(&steps[2..]));
        for epoch in [&first, &second] {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..11).collect::<Vec<_>>());
        }
        assert_ne!(first, second);
        let again: Vec<_> = order.steps(4).collect();
        assert_eq!(steps, again);
        let unshuffled = Order { shuffle: None, ..order };
        assert_eq!(unshuffled.steps(1).next(), Some(vec![vec![0, 1], vec![2, 3], vec![4, 5]]));
    }

    #[test]
    fn a_share_is_held_out_and_nobody_is_on_both_sides() {
        let (train, held_out) = split((0..100).collect(), 0.1, 42);
        assert_eq!((train.len(), held_out.len()), (90, 10));
        let mut all = [train, held_out.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert_ne!(held_out, split((0..100).collect(), 0.1, 43).1);
        assert_eq!(split(vec![1, 2], 0.9, 0).0.len(), 1);
        assert_eq!(split(vec![1, 2], 0.0, 0), (vec![1, 2], vec![]));
    }
}
