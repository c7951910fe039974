//! Memory beside the decoder's, and a first guess of the time.

use std::time::Duration;

use decoder::Fast;
use decoder::plan::Length;
use stage_model::{ModelInput, opened_memory, tokenizer_memory};

/// What of the machine's product rate a whole pass reaches: rows are decoded on the way, and not all is products.
const EFFICIENCY: f64 = 0.6;
/// How long the product rate is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// Bytes of a worker with the model open and its tokenizer loaded.
pub fn base(model: &ModelInput) -> u64 {
    opened_memory(model) + tokenizer_memory(model)
}

/// Bytes of tokenized samples: an id and a mark a token.
pub fn samples(lengths: &[Length]) -> u64 {
    let tokens: usize = lengths.iter().map(|length| length.tokens).sum();
    (tokens * 5 + lengths.len() * 64) as u64
}

/// How long `flops` operations take on this machine; `None` where it has no threads to give.
pub fn seconds(flops: f64, threads: usize) -> Option<f64> {
    let fast = Fast::new(threads).ok()?;
    Some(flops / (EFFICIENCY * fast.product_rate(GLANCE)))
}
