//! What decides a stage's result, as text and as the hash of that text.
//!
//! In: the stage's id and revision, parameters that can change results (paths by content), contents of inputs and the
//! facts of their descriptions, pins, extensions, numeric mode. Out: the stage's name in the TOML, threads, memory,
//! device, where anything lies.

mod canonical;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use stage_api::{Plan, Signature};

use crate::pipeline::schema;
use crate::worker::ExtensionUse;

/// The version of this form; part of every key.
///
/// 2: inputs with their facts. A file whose pre-tokenizer was named has the content of one whose was not, and another
/// meaning.
const KEY_SCHEMA: u32 = 2;

/// Everything that decides a stage's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyParts {
    /// The version of this form.
    pub schema: u32,
    /// The id in `uses`, without a plugin's name.
    pub stage: String,
    /// The declared output revision, else the digest of the plugin.
    pub revision: String,
    /// Resolved parameters without those that only concern execution; a path is `{"content": digest}`.
    pub params: Value,
    /// What each connected input is.
    pub inputs: BTreeMap<String, InputParts>,
    /// What `plan` looked up outside.
    pub pins: BTreeMap<String, String>,
    /// `kind/id` of each extension that `plan` used, to its plugin's digest.
    pub extensions: BTreeMap<String, String>,
    /// Compute and storage dtype.
    pub numeric_mode: Option<String>,
}

/// What an input is: its bytes, and how its stage says they are to be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputParts {
    /// Content digest.
    pub content: String,
    /// Of its description.
    pub facts: BTreeMap<String, String>,
}

/// The hash of [`KeyParts`], lowercase hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key(String);

impl Key {
    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough digits for a person.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

/// What is needed to tell a stage's key.
pub struct KeyInput<'a> {
    /// What the stage is.
    pub signature: &'a Signature,
    /// Digest of the plugin that has it.
    pub plugin_digest: &'a str,
    /// Its parameters, paths absolute.
    pub params: &'a Value,
    /// Content digests of the paths among the parameters, by JSON pointer.
    pub paths: &'a BTreeMap<String, String>,
    /// What each connected input is.
    pub inputs: BTreeMap<String, InputParts>,
    /// What the stage planned.
    pub plan: &'a Plan,
    /// What it used for that.
    pub extensions: &'a [ExtensionUse],
}

impl KeyParts {
    /// Gathers what decides the result.
    pub fn new(from: KeyInput<'_>) -> Self {
        let signature = from.signature;
        let revision = match signature.revision {
            Some(revision) => revision.to_string(),
            None => format!("sha256:{}", from.plugin_digest),
        };
        let digest = |e: &ExtensionUse| e.digest.clone().unwrap_or_default();
        Self {
            schema: KEY_SCHEMA,
            stage: signature.id.clone(),
            revision,
            params: keyed_params(&signature.params, from.params, from.paths, &from.plan.resolved),
            inputs: from.inputs,
            pins: from.plan.pins.clone(),
            extensions: from.extensions.iter().map(|e| (format!("{}/{}", e.kind, e.id), digest(e))).collect(),
            numeric_mode: from.plan.numeric_mode.clone(),
        }
    }

    /// The text that is hashed: JSON with sorted keys and without blanks.
    pub fn canonical(&self) -> String {
        // Serializing plain data cannot fail; an empty text would still only be a key of its own.
        serde_json::to_value(self).map(|v| canonical::text(&v)).unwrap_or_default()
    }

    /// The key.
    pub fn key(&self) -> Key {
        let digest = Sha256::digest(self.canonical());
        Key(digest.iter().map(|b| format!("{b:02x}")).collect())
    }

    /// The first difference from an earlier key of the same stage, as a person would say it.
    pub fn difference(&self, earlier: &Self) -> Option<String> {
        if self.revision != earlier.revision {
            return Some("the stage itself changed".into());
        }
        if self.params != earlier.params {
            return Some(changed_name("parameter", &earlier.params, &self.params));
        }
        changed_entry("input", &earlier.inputs, &self.inputs)
            .or_else(|| changed_entry("pin", &earlier.pins, &self.pins))
            .or_else(|| changed_entry("extension", &earlier.extensions, &self.extensions))
            .or_else(|| (self.numeric_mode != earlier.numeric_mode).then(|| "the numeric mode changed".into()))
    }
}

fn changed_entry<T: PartialEq>(what: &str, old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> Option<String> {
    let name = new.keys().chain(old.keys()).find(|k| new.get(*k) != old.get(*k))?;
    Some(format!("{what} `{name}` changed"))
}

fn changed_name(what: &str, old: &Value, new: &Value) -> String {
    let empty = serde_json::Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let name = new.keys().chain(old.keys()).find(|k| new.get(*k) != old.get(*k)).cloned().unwrap_or_default();
    format!("{what} `{name}` changed")
}

/// Parameters as they enter the key: what `plan` resolved overrides what was given.
fn keyed_params(
    schema: &Value,
    given: &Value,
    paths: &BTreeMap<String, String>,
    resolved: &BTreeMap<String, Value>,
) -> Value {
    let mut params = given.clone();
    for (pointer, digest) in paths {
        if let Some(value) = params.pointer_mut(pointer) {
            *value = serde_json::json!({ "content": digest });
        }
    }
    if let Some(object) = params.as_object_mut() {
        object.extend(resolved.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
    for pointer in schema::marked(schema, &params, schema::is_execution) {
        let (parent, name) = pointer.rsplit_once('/').unwrap_or_default();
        if let Some(object) = params.pointer_mut(parent).and_then(Value::as_object_mut) {
            object.remove(&name.replace("~1", "/").replace("~0", "~"));
        }
    }
    params
}

#[cfg(test)]
mod tests;
