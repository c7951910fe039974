//! Anonymous memory that every stage over a model takes beside its own buffers, as measured.

/// A worker with its libraries and thread stacks, bytes.
pub const PROCESS_MEMORY: u64 = 8 << 20;

/// A tokenizer: texts, merges and hash maps, a token.
const TOKENIZER_PER_TOKEN: u64 = 450;
/// The vocabulary as a GGUF's key-values: texts and merges, a token.
const VOCABULARY_PER_TOKEN: u64 = 150;

/// Bytes of a tokenizer of `vocab_size` tokens.
pub fn tokenizer_memory(vocab_size: u64) -> u64 {
    vocab_size * TOKENIZER_PER_TOKEN
}

/// Bytes of a vocabulary of `vocab_size` tokens on its way into a GGUF.
pub fn vocabulary_memory(vocab_size: u64) -> u64 {
    vocab_size * VOCABULARY_PER_TOKEN
}
