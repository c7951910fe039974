//! Adapters that llama.cpp loads and then crashes on. It checks names and the first two dimensions; what is left would
//! end the process without a word.

use std::path::{Path, PathBuf};

use checkpoint::gguf::{EMBEDDING, Gguf, HEAD};

/// Why an adapter cannot be run beside its base.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// One of the two files is broken.
    #[error(transparent)]
    File(#[from] checkpoint::gguf::Error),
    /// The embedding is the head too, and llama.cpp would multiply with the wrong half.
    #[error(
        "`{}` changes `token_embd.weight`, which `{}` also uses as its output: llama.cpp aborts on that; \
         train without the embedding, or merge the adapter (stage `fuse`)",
        adapter.display(), base.display()
    )]
    TiedEmbedding { adapter: PathBuf, base: PathBuf },
    /// A matrix for all experts at once.
    #[error(
        "`{tensor}` in `{}` has {got} dimensions, but its base has {expected}: llama.cpp crashes on that",
        adapter.display()
    )]
    Dimensions { adapter: PathBuf, tensor: String, got: usize, expected: usize },
}

/// Looks for what crashes; everything else llama.cpp checks itself.
///
/// # Errors
/// See [`AdapterError`].
pub fn check(adapter: &Path, base: &Path) -> Result<(), AdapterError> {
    let (lora, model) = (Gguf::open(adapter)?, Gguf::open(base)?);
    for tensor in lora.tensors() {
        let Some(name) = tensor.name.strip_suffix(".lora_a").or_else(|| tensor.name.strip_suffix(".lora_b")) else {
            continue;
        };
        if name == EMBEDDING && model.get(HEAD).is_none() {
            return Err(AdapterError::TiedEmbedding { adapter: adapter.to_owned(), base: base.to_owned() });
        }
        let (got, expected) = (tensor.shape.len(), model.get(name).map_or(2, |(base, _)| base.shape.len()));
        if got != expected {
            let tensor = tensor.name.clone();
            return Err(AdapterError::Dimensions { adapter: adapter.to_owned(), tensor, got, expected });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tiny::{Lora, Tiny};

    #[test]
    fn what_crashes_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let base = Tiny::default().write(dir.path());
        let error = |lora: Lora| check(&lora.write(dir.path()), &base).map_err(|error| error.to_string());
        assert_eq!(error(Lora::ffn_down()), Ok(()));
        let tied = Lora { target: EMBEDDING, out_features: 260, in_features: 32, experts: false };
        assert!(error(tied).unwrap_err().contains("also uses as its output"));
        let experts = Lora { experts: true, ..Lora::ffn_down() };
        assert!(error(experts).unwrap_err().contains("has 3 dimensions, but its base has 2"));
    }
}
