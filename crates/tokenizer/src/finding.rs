//! What reading or writing a vocabulary found worth saying, as data: a stage turns it into its own findings.

use serde::{Deserialize, Serialize};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Note,
    /// Answers may differ from what the author of the model intended.
    Warning,
}

/// One finding: a stable code to match on, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Stable kebab-case name, e.g. `pre-tokenizer-missing`.
    pub code: String,
    /// What was found, what it means and what to do.
    pub message: String,
}

impl Finding {
    /// Something that may change answers.
    pub fn warning(code: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, code: code.into(), message: message.into() }
    }

    /// Something worth knowing.
    pub fn note(code: &str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, code: code.into(), message: message.into() }
    }
}
