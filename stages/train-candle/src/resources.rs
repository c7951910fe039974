//! Memory beside the decoder's, and a first guess of the time.

use decoder::plan::Length;

/// The process with its libraries and thread stacks.
const PROCESS: u64 = 12 << 20;
/// A tokenizer, a token of its vocabulary: texts, merges, hash maps.
const TOKENIZER_PER_TOKEN: u64 = 900;
/// Multiplications and additions a second and thread, of products of f32 with rows that are decoded on the way.
const FLOPS_PER_THREAD: f64 = 4e10;

/// Bytes that the process and its tokenizer take.
pub fn process(vocab_size: u64) -> u64 {
    PROCESS + vocab_size * TOKENIZER_PER_TOKEN
}

/// Bytes of tokenized samples: an id and a mark a token.
pub fn samples(lengths: &[Length]) -> u64 {
    let tokens: usize = lengths.iter().map(|length| length.tokens).sum();
    (tokens * 5 + lengths.len() * 64) as u64
}

/// How long `flops` operations take.
pub fn seconds(flops: f64, threads: usize) -> f64 {
    flops / (FLOPS_PER_THREAD * threads as f64)
}
