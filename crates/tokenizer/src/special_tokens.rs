//! Tokens with a role: where text begins, where it ends, what pads it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a special token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Beginning of a text.
    Bos,
    /// End of a text or of a turn.
    Eos,
    /// Stands for what the vocabulary lacks.
    Unk,
    /// Between two texts.
    Sep,
    /// Fills up a batch.
    Pad,
    /// First token of a classifier.
    Cls,
    /// A hidden token.
    Mask,
    /// End of a turn, where it is another token than [`Role::Eos`].
    Eot,
    /// End of a message that waits for a tool.
    Eom,
}

impl Role {
    /// The roles that transformers knows, in the order in which llama.cpp's converter looks for them.
    pub const NAMED: [Self; 7] = [Self::Bos, Self::Eos, Self::Unk, Self::Sep, Self::Pad, Self::Cls, Self::Mask];

    /// Short name: `bos` as in `bos_token` and `add_bos_token`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bos => "bos",
            Self::Eos => "eos",
            Self::Unk => "unk",
            Self::Sep => "sep",
            Self::Pad => "pad",
            Self::Cls => "cls",
            Self::Mask => "mask",
            Self::Eot => "eot",
            Self::Eom => "eom",
        }
    }
}

/// Special tokens by role, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    named: Vec<(Role, String)>,
    additional: Vec<String>,
}

impl SpecialTokens {
    /// Reads both files; a role that the first leaves open is taken from the second.
    pub(crate) fn read(tokenizer_config: &Value, special_tokens_map: &Value) -> Self {
        let named = Role::NAMED.into_iter().filter_map(|role| {
            let key = format!("{}_token", role.name());
            let entry = tokenizer_config.get(&key).or_else(|| special_tokens_map.get(&key))?;
            Some((role, token_text(entry)?.to_owned()))
        });
        let additional = ["extra_special_tokens", "additional_special_tokens"]
            .into_iter()
            .flat_map(|key| [tokenizer_config.get(key), special_tokens_map.get(key)])
            .flatten()
            .find_map(Value::as_array)
            .map(|tokens| tokens.iter().filter_map(token_text).map(str::to_owned).collect());
        Self { named: named.collect(), additional: additional.unwrap_or_default() }
    }

    /// The token of a role.
    pub fn get(&self, role: Role) -> Option<&str> {
        self.named.iter().find(|(named, _)| *named == role).map(|(_, text)| text.as_str())
    }

    /// Tokens by role, in the order of [`Role::NAMED`].
    pub fn named(&self) -> impl Iterator<Item = (Role, &str)> {
        self.named.iter().map(|(role, text)| (*role, text.as_str()))
    }

    /// Special tokens without a role.
    pub fn additional(&self) -> &[String] {
        &self.additional
    }

    /// The variables that transformers gives to chat templates: `bos_token` and kin.
    pub fn template_variables(&self) -> Vec<(String, Value)> {
        let mut variables: Vec<(String, Value)> =
            self.named().map(|(role, text)| (format!("{}_token", role.name()), text.into())).collect();
        if !self.additional.is_empty() {
            variables.push(("additional_special_tokens".into(), self.additional.clone().into()));
        }
        variables
    }
}

/// A token is written as its text, or as an object with its text and flags.
pub(crate) fn token_text(entry: &Value) -> Option<&str> {
    entry.as_str().or_else(|| entry.get("content")?.as_str())
}
