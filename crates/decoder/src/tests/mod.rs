//! Tests of the whole network: its derivatives, its independence of threads, batches and containers, its golden values.

#![allow(clippy::unwrap_used)]

mod golden;
mod gradients;
mod invariance;
mod llama_files;
mod memory;
mod real_models;
mod stored_types;
mod synthetic;

use model::{Architecture, StoredType};

use crate::{Batch, Fast, Matrix, Network, Reference, Sample, Step};
use candle_core::{DType, Device};
use synthetic::Synthetic;

/// Three samples of odd lengths, one longer than a tile; some tokens are only read, one weighs half.
fn batch(vocab_size: u32) -> Batch {
    let ids: Vec<Vec<u32>> =
        [37, 70, 5].iter().map(|n| synthetic::tokens(&format!("ids{n}"), *n, vocab_size)).collect();
    let weight = |i: usize| {
        if i.is_multiple_of(3) {
            0.0
        } else if i == 4 {
            0.5
        } else {
            1.0
        }
    };
    let weights: Vec<Vec<f32>> = ids.iter().map(|ids| (0..ids.len()).map(weight).collect()).collect();
    let samples: Vec<Sample<'_>> = ids
        .iter()
        .zip(&weights)
        .enumerate()
        .map(|(i, (tokens, weights))| Sample { id: i as u64, tokens, weights })
        .collect();
    Batch::new(&samples).unwrap()
}

fn fast(architecture: &Architecture, threads: usize, stored_type: StoredType) -> Network<Fast> {
    Network::new(Fast::new(threads).unwrap(), architecture, &Synthetic { stored_type }).unwrap()
}

fn reference(architecture: &Architecture, dtype: DType) -> Network<Reference> {
    let weights = Synthetic { stored_type: StoredType::F32 };
    Network::new(Reference::new(Device::Cpu, dtype), architecture, &weights).unwrap()
}

/// The length of the difference of two vectors, relative to the second's.
fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let apart = got.iter().zip(want).map(|(g, w)| f64::from(*g) - f64::from(*w));
    length(&mut { apart }) / length(&mut want.iter().map(|w| f64::from(*w))).max(1e-30)
}

/// Holds two steps of the same adapters against each other.
fn assert_close(got: &Step<Matrix>, want: &Step<Matrix>, bound: f64) {
    let relative = (got.loss.loss_sum - want.loss.loss_sum).abs() / want.loss.loss_sum;
    assert!(relative <= bound, "losses differ by {relative:e}: {:?} and {:?}", got.loss, want.loss);
    for (got, want) in got.gradients.iter().zip(want.gradients.iter()) {
        for (part, mine, theirs) in [("A", &got.a, &want.a), ("B", &got.b, &want.b)] {
            let apart = distance(mine.values(), theirs.values());
            assert!(apart <= bound, "{part} of `{}` differs by {apart:e}", want.module);
        }
    }
}
