//! What of an adapter does not fit the model.

use model::StoredType;
use model::expr::ExprError;
use model::inventory::Role;
use stage_model::ModelInput;

use crate::error::quoted;
use crate::found::{Found, Kind};
use crate::names::last_part;

/// Factors that are no module's of the model.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("`{}` and `{}` are the same module", names[0], names[1])]
    Same { names: [String; 2] },
    #[error("the model has no matrix `{name}`; it has {}", quoted(similar))]
    Unknown { name: String, similar: Vec<String> },
    #[error(
        "`{tensor}` is a whole weight in {stored_type}, and the connected model's own is {own}: whether the two are the same \
         cannot be told"
    )]
    SavedIncomparable { tensor: String, stored_type: StoredType, own: StoredType },
    #[error("`{tensor}` is {got:?}, the model's own {expected:?}: the vocabulary was resized before training")]
    Resized { tensor: String, got: Vec<u64>, expected: Vec<u64> },
    #[error("`{name}` is {}", if *is_embedding { "an embedding, and its factors are a linear's" }
        else { "no embedding, and its factors are one's" })]
    OtherKind { name: String, is_embedding: bool },
    #[error(
        "`{name}` is the embedding and the head in one, for which llama.cpp has no adapters: nobody has run this one"
    )]
    TiedGguf { name: String },
    #[error("`{name}` is {what}, which is not merged: {why}")]
    NoMatrix { name: String, what: &'static str, why: &'static str },
    #[error("`{module}` is {got:?} in the adapter, {expected:?} in the model")]
    Shape { module: String, got: Vec<u64>, expected: Vec<u64> },
    #[error("the parts of `{module}` do not fit each other: {source}")]
    Unplaceable { module: String, source: ExprError },
    #[error("`{module}` is computed from what is stored, not moved, so no factors are its own")]
    Computed { module: String },
    #[error("only part of `{module}` has DoRA's lengths: `{with}` has them, {}",
        without.as_ref().map_or("the rest is not adapted".to_owned(), |name| format!("`{name}` has none")))]
    HalfDora { module: String, with: String, without: Option<String> },
}

impl Problem {
    /// A name that no module takes.
    pub fn unknown(name: &str, found: &Found, model: &ModelInput) -> Self {
        let stored = if found.kind == Kind::Gguf { name.to_owned() } else { format!("{name}.weight") };
        let is_it = |known: &str| found.kind.key_of(known) == found.kind.key_of(&stored);
        let inventory = &model.reading.inventory;
        let in_gguf = inventory.gguf.iter().map(|t| (t.name.as_str(), t.role));
        let role = match found.kind {
            Kind::Gguf => in_gguf.clone().find(|(known, _)| is_it(known)),
            _ => inventory.tensors.iter().map(|t| (t.name.as_str(), t.role)).find(|(known, _)| is_it(known)),
        };
        if let Some((what, why)) = role.and_then(|(_, role)| no_matrix(role)) {
            return Self::NoMatrix { name: name.to_owned(), what, why };
        }
        let modules = inventory.tensors.iter().filter_map(|t| Some(t.adapter.as_ref()?.module.as_str()));
        let known: Vec<&str> = match found.kind {
            Kind::Gguf => in_gguf.filter(|(_, role)| role.is_matrix()).map(|(name, _)| name).collect(),
            _ => modules.collect(),
        };
        Self::Unknown { name: name.to_owned(), similar: similar(name, &known) }
    }

    pub fn help(&self) -> &'static str {
        match self {
            Self::Same { .. } => "two adapters lie in one file; save one of them alone",
            Self::NoMatrix { .. } => "train without it, or merge with the tool that trained it and `fetch` the result",
            Self::OtherKind { .. } => "merge with the tool that trained it and `fetch` the result",
            Self::SavedIncomparable { .. } => {
                "save the adapter again with `save_embedding_layers=False`, or connect the model that it was trained on"
            }
            Self::TiedGguf { .. } => "import the adapter that it was converted from",
            Self::Resized { .. } => {
                "save the resized base, or merge with PEFT's `merge_and_unload`, and `fetch` the result"
            }
            Self::HalfDora { .. } => "the model keeps both parts in one matrix; train both with DoRA, or neither",
            _ => "the adapter was made for another model",
        }
    }
}

impl From<Problem> for stage_api::Error {
    fn from(problem: Problem) -> Self {
        Self::from_source("unfit_adapter", &problem).with_help(problem.help())
    }
}

/// Tensors that trainers change and that no product with a module's input is.
fn no_matrix(role: Role) -> Option<(&'static str, &'static str)> {
    match role {
        Role::Norm => Some(("a norm", "it is no matrix, and llama.cpp reads over it")),
        Role::Bias | Role::StateSpace => {
            Some(("no matrix of a product", "llama.cpp loads such an adapter and computes without it"))
        }
        Role::Frequencies => Some(("a fact of the architecture", "nothing learns it")),
        _ => None,
    }
}

/// Names of the same last part, else the last parts that there are.
fn similar(name: &str, known: &[&str]) -> Vec<String> {
    let alike: Vec<String> =
        known.iter().filter(|known| last_part(known) == last_part(name)).take(3).map(|k| (*k).to_owned()).collect();
    if !alike.is_empty() {
        return alike;
    }
    let mut lasts: Vec<String> = Vec::new();
    for last in known.iter().map(|known| last_part(known)) {
        if !lasts.iter().any(|known| known == last) {
            lasts.push(last.to_owned());
        }
    }
    lasts
}
