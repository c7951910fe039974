//! Reading `config.json` so that no key is dropped in silence.
//!
//! A family asks for the keys that it knows. What is left must be on its list of harmless keys; any other key may
//! change what the network computes, and is an error.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::family::FamilyError;

/// A configuration that remembers which keys were read.
pub struct Config<'a> {
    keys: &'a Map<String, Value>,
    read: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Config<'a> {
    /// Wraps a JSON object.
    pub fn new(config: &'a Value) -> Result<Self, FamilyError> {
        let keys = config.as_object().ok_or_else(|| FamilyError::BadKey {
            key: "config.json".into(),
            got: kind_of(config).into(),
            expected: "an object".into(),
        })?;
        Ok(Self { keys, read: RefCell::default() })
    }

    /// The value of `key`; `None` where it is absent or null.
    pub fn optional(&self, key: &str) -> Option<&'a Value> {
        let (key, value) = self.keys.get_key_value(key)?;
        self.read.borrow_mut().insert(key);
        (!value.is_null()).then_some(value)
    }

    /// A whole number that must be there and positive.
    pub fn size(&self, key: &str) -> Result<u64, FamilyError> {
        self.optional_size(key)?.ok_or_else(|| FamilyError::MissingKey { key: key.into() })
    }

    /// A positive whole number.
    pub fn optional_size(&self, key: &str) -> Result<Option<u64>, FamilyError> {
        self.convert(key, "a positive whole number", |v| v.as_u64().filter(|n| *n > 0))
    }

    /// A number that must be there.
    pub fn number(&self, key: &str) -> Result<f64, FamilyError> {
        self.optional_number(key)?.ok_or_else(|| FamilyError::MissingKey { key: key.into() })
    }

    /// A number.
    pub fn optional_number(&self, key: &str) -> Result<Option<f64>, FamilyError> {
        self.convert(key, "a number", Value::as_f64)
    }

    /// A boolean, `default` where absent.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, FamilyError> {
        Ok(self.convert(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    /// A string.
    pub fn optional_str(&self, key: &str) -> Result<Option<&'a str>, FamilyError> {
        self.convert(key, "a string", Value::as_str)
    }

    /// A nested object, read by the same rules.
    pub fn optional_object(&self, key: &str) -> Result<Option<Config<'a>>, FamilyError> {
        self.convert(key, "an object", |value| value.is_object().then_some(value))?.map(Config::new).transpose()
    }

    fn convert<T>(
        &self,
        key: &str,
        expected: &str,
        take: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, FamilyError> {
        let Some(value) = self.optional(key) else { return Ok(None) };
        take(value).map(Some).ok_or_else(|| FamilyError::BadKey {
            key: key.into(),
            got: value.to_string(),
            expected: expected.into(),
        })
    }

    /// Refuses every key that was neither read nor is in `harmless`.
    pub fn finish(&self, harmless: &[&str]) -> Result<(), FamilyError> {
        let read = self.read.borrow();
        let known = |key: &str| read.contains(key) || harmless.contains(&key) || key.starts_with('_');
        // A null says "not set", whatever the key would mean.
        let set = self.keys.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key);
        let unknown: Vec<String> = set.filter(|k| !known(k)).cloned().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(FamilyError::UnknownKeys { unknown, known: read.iter().map(|k| (*k).to_owned()).collect() })
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Keys of every published `config.json` that do not change what a causal language model computes.
pub const HARMLESS: &[&str] = &[
    "architectures",
    "attention_dropout",
    "auto_map",
    "bos_token_id",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "initializer_range",
    "model_type",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];
