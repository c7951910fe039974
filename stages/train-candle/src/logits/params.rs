//! The parameters of `logits`, as pipelines write them under `with`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Of which text, and how much of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["text"]))]
pub struct Params {
    /// Plain text (UTF-8).
    #[serde(skip_serializing_if = "is_left_out")]
    #[schemars(extend("format" = "path"))]
    pub text: PathBuf,
    /// Tokens of all windows together; each takes `4 × vocab_size` bytes on disk.
    #[schemars(range(min = 2))]
    pub tokens: usize,
    /// Tokens that see each other; each window begins from an empty context.
    #[schemars(range(min = 2))]
    pub window: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self { text: PathBuf::new(), tokens: 4096, window: 512 }
    }
}

fn is_left_out(path: &Path) -> bool {
    path.as_os_str().is_empty()
}
