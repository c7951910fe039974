//! An adapter's files, read as far as their headers.

use std::collections::BTreeMap;
use std::fmt;

use checkpoint::adapter::AdapterConfig;
use model::description::StoredTensor;
use model::inventory::{Dialect, Inventory, Role};
use stage_model::ModelInput;

use crate::change::Change;
use crate::error::ImportError;
use crate::names::core;
use crate::params::Params;
use crate::source::Files;
use crate::weights::Weights;
use crate::{gguf, mlx, peft};

/// Who wrote an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Peft,
    Mlx,
    Gguf,
}

impl Kind {
    /// The spellings whose tensors it names.
    pub fn dialects(self) -> &'static [Dialect] {
        match self {
            Kind::Peft | Kind::Mlx => &[Dialect::Published, Dialect::Transformers5, Dialect::Mlx],
            Kind::Gguf => &[Dialect::Gguf],
        }
    }

    /// What it calls the stored tensor: GGUF by its whole name, the others by the module.
    pub fn name_of(self, stored: &str) -> Option<&str> {
        match self {
            Kind::Gguf => Some(stored),
            Kind::Peft | Kind::Mlx => stored.strip_suffix(".weight"),
        }
    }

    /// What of one of its names tells it from others.
    pub fn key_of(self, name: &str) -> &str {
        match self {
            Kind::Gguf => name,
            Kind::Peft | Kind::Mlx => core(name),
        }
    }

    /// Whether one of its names is an embedding's.
    pub fn is_embedding(self, inventory: &Inventory, name: &str) -> bool {
        let mut embeddings = inventory.tensors.iter().filter(|spec| spec.role == Role::Embedding);
        embeddings.any(|spec| self.name_of(&spec.name).is_some_and(|known| self.key_of(known) == self.key_of(name)))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Peft => "PEFT",
            Kind::Mlx => "mlx-lm",
            Kind::Gguf => "GGUF",
        })
    }
}

/// An adapter as its files have it.
pub struct Found {
    pub kind: Kind,
    /// The model that it was made for, as its maker called it.
    pub base: Option<String>,
    /// By the names that its maker uses.
    pub changes: BTreeMap<String, Change>,
    /// Whole weights by the names of their modules, which PEFT saves beside the factors that change them.
    pub saved: BTreeMap<String, StoredTensor>,
    /// Where embedding and head are one matrix: whether a change of the embedding is one of both.
    pub keeps_tie: bool,
    /// The head's own factors, where they must be the embedding's.
    pub repeated: Option<Change>,
    /// PEFT's configuration.
    pub config: Option<AdapterConfig>,
    pub weights: Weights,
}

impl Found {
    /// Reads headers; `model` is what the adapter shall be for.
    pub fn read(files: &Files, params: &Params, model: &ModelInput) -> Result<Self, ImportError> {
        if params.scale.is_some() && !matches!(files, Files::Mlx { .. }) {
            return Err(ImportError::NeedlessScale);
        }
        match files {
            Files::Peft { config, weights } => peft::read(config, weights, model),
            Files::Mlx { config, weights } => mlx::read(config, weights, params.scale, model),
            Files::Gguf(path) => gguf::read(path, &model.reading.gguf.architecture),
        }
    }
}
