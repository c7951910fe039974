//! What a stage takes and gives, as data: help, checks and completion come from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The artifact kinds that stages exchange. A port may name another kind; the host only compares names.
pub mod kind {
    /// A language model: a Hugging Face directory or a GGUF.
    pub const MODEL: &str = "model";
    /// Low-rank changes to a model.
    pub const ADAPTER: &str = "adapter";
    /// Reference logits of a text.
    pub const LOGITS: &str = "logits";
    /// Per-column importance of a model's matrices.
    pub const IMPORTANCE: &str = "importance";
    /// Findings and figures for people.
    pub const REPORT: &str = "report";
}

/// Everything that the host must know about a stage before it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// The name in a pipeline's `uses`.
    pub id: String,
    /// One line for `host plugins list`.
    pub summary: String,
    /// Raised whenever the same inputs and parameters give other bytes; `None` puts the plugin's digest in the key.
    #[serde(default)]
    pub revision: Option<u32>,
    /// Input ports by declaration order.
    #[serde(default)]
    pub inputs: Vec<Port>,
    /// Output ports; the first is what `"stage"` without a port name means, and never changes.
    #[serde(default)]
    pub outputs: Vec<Port>,
    /// JSON Schema of the parameters (an object). Extension keywords: `"x-execution": true` keeps a parameter that
    /// cannot change results (threads, device, memory, log interval) out of the key; `"format": "path"` marks a path,
    /// resolved relative to the pipeline file and keyed by content.
    pub params: Value,
}

/// One input or output of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The name in a pipeline's `inputs`, or after the dot in `"stage.output"`.
    pub name: String,
    /// The artifact kind, see [`kind`].
    pub kind: String,
    /// Whether an input may be left out.
    #[serde(default)]
    pub optional: bool,
    /// Facts that the description must have: fact name to accepted values (`container` → `["gguf"]`).
    #[serde(default)]
    pub constraints: BTreeMap<String, Vec<String>>,
    /// One line of help.
    #[serde(default)]
    pub summary: String,
}

impl Port {
    /// A required port.
    pub fn new(name: &str, kind: &str, summary: &str) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            optional: false,
            constraints: BTreeMap::new(),
            summary: summary.into(),
        }
    }

    /// Lets a pipeline leave this input out.
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Demands that the description's fact `name` is one of `accepted`.
    pub fn requires(mut self, name: &str, accepted: &[&str]) -> Self {
        self.constraints.insert(name.into(), accepted.iter().map(|s| (*s).to_owned()).collect());
        self
    }
}
