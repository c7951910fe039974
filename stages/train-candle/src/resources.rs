//! Memory beside the decoder's, and a first guess of the time.

use std::time::Duration;

use decoder::Fast;
use decoder::plan::Length;

/// The process with its libraries and thread stacks.
const PROCESS: u64 = 12 << 20;
/// A tokenizer, a token of its vocabulary: texts, merges, hash maps.
const TOKENIZER_PER_TOKEN: u64 = 450;
/// What of the machine's product rate a whole pass reaches: rows are decoded on the way, and not all is products.
const EFFICIENCY: f64 = 0.6;
/// How long the product rate is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// Bytes that the process and its tokenizer take.
pub fn process(vocab_size: u64) -> u64 {
    PROCESS + vocab_size * TOKENIZER_PER_TOKEN
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
