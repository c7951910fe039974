//! The stage's parameters, as pipelines write them under `with`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What to measure. Without any of it the file is loaded and continues a short text, which proves that it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Plain text (UTF-8) whose perplexity is measured.
    #[schemars(extend("format" = "path"))]
    pub text: Option<PathBuf>,
    /// Chats, one JSON object with `messages` a line; the perplexity of each one's last answer is measured.
    #[schemars(extend("format" = "path"))]
    pub chats: Option<PathBuf>,
    /// Questions, one JSON object a line: `question` or `messages`, `required` and `forbidden` strings.
    #[schemars(extend("format" = "path"))]
    pub questions: Option<PathBuf>,
    /// Tokens of `text` that are decoded together, each window from an empty context.
    #[schemars(range(min = 2))]
    pub window: usize,
    /// Most tokens of an answer.
    #[schemars(range(min = 1))]
    pub max_tokens: usize,
    /// Compare answers with `required` and `forbidden` in lower case.
    pub ignore_case: bool,
    /// The date that chat templates show, so that prompts are the same tomorrow.
    #[schemars(extend("format" = "date"))]
    pub date: String,
    /// Fail where the share of answers that hit is below.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_accuracy: Option<f64>,
    /// Fail where the mean divergence from `reference` (nats a token) is above.
    #[schemars(range(min = 0.0))]
    pub max_kl: Option<f64>,
    /// Threads to keep busy; the host's share where left out.
    #[schemars(range(min = 1), extend("x-execution" = true))]
    pub threads: Option<usize>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            text: None,
            chats: None,
            questions: None,
            window: 512,
            max_tokens: 128,
            ignore_case: true,
            date: "2024-07-26".into(),
            min_accuracy: None,
            max_kl: None,
            threads: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_schema_marks_paths_and_what_cannot_change_results() {
        let schema = serde_json::to_value(schemars::schema_for!(Params)).unwrap();
        for path in ["text", "chats", "questions"] {
            assert_eq!(schema["properties"][path]["format"], "path");
        }
        assert_eq!(schema["properties"]["threads"]["x-execution"], true);
        assert_eq!(schema["properties"]["window"]["default"], 512);
        assert_eq!(schema["additionalProperties"], false);
        assert!(schema["required"].is_null());
    }
}
