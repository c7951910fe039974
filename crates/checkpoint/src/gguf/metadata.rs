//! Key-value pairs in file order, with typed access.

use std::collections::BTreeMap;

use model::description::MetaValue;

use super::from_value::{FromValue, Mismatch};
use super::value::Value;

/// A metadata value that is not there or not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// No such key.
    #[error("metadata key `{key}` is missing, expected {expected}")]
    Missing {
        /// The key.
        key: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A value of another type.
    #[error("metadata key `{key}` is {got}, expected {expected}")]
    WrongType {
        /// The key.
        key: String,
        /// The type it has.
        got: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A number that the asked type cannot hold.
    #[error("metadata key `{key}` is {got}, which does not fit {expected}")]
    OutOfRange {
        /// The key.
        key: String,
        /// The number.
        got: String,
        /// What it should fit.
        expected: &'static str,
    },
    /// A string that is no text.
    #[error("metadata key `{key}` holds `{got}`, which is not UTF-8")]
    NotUtf8 {
        /// The key.
        key: String,
        /// The bytes, escaped.
        got: String,
    },
}

impl MetadataError {
    pub(super) fn wrong_type(key: &str, got: &Value, expected: &'static str) -> Self {
        MetadataError::WrongType { key: key.to_owned(), got: got.describe_type(), expected }
    }
}

/// Key-value pairs in file order; every key once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metadata {
    pairs: Vec<(String, Value)>,
}

impl Metadata {
    /// The value of `key` as it is stored.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// The value of `key` as `T`, `None` where the key is missing; an integer of any width does where its value fits.
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, MetadataError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        T::from_value(value).map(Some).map_err(|mismatch| match mismatch {
            Mismatch::Type => MetadataError::wrong_type(key, value, T::EXPECTED),
            Mismatch::Range { got } => MetadataError::OutOfRange { key: key.to_owned(), got, expected: T::EXPECTED },
            Mismatch::NotUtf8 { got } => MetadataError::NotUtf8 { key: key.to_owned(), got },
        })
    }

    /// The value of `key` as `T`; a missing key is an error.
    pub fn require<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, MetadataError> {
        let missing = || MetadataError::Missing { key: key.to_owned(), expected: T::EXPECTED };
        self.get(key)?.ok_or_else(missing)
    }

    /// Replaces the value of `key` in its place, or appends the pair.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.pairs.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => *old = value,
            None => self.append(key, value),
        }
    }

    /// Takes the pair out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.pairs.iter().position(|(k, _)| k == key)?;
        Some(self.pairs.remove(at).1)
    }

    /// Every pair in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The pairs as a model's description holds them: without arrays of more than `max_array` items, those
    /// of arrays inside them counted.
    ///
    /// Bytes that are no UTF-8 are replaced; a description explains, it is not written back.
    pub fn describe(&self, max_array: usize) -> BTreeMap<String, MetaValue> {
        let short = |value: &Value| !matches!(value, Value::Array(array) if array.total_len() > max_array);
        let pairs = self.pairs.iter().filter(|(_, value)| short(value));
        pairs.map(|(key, value)| (key.clone(), value.into())).collect()
    }

    /// Appends a pair whose key is known to be new.
    pub(super) fn append(&mut self, key: String, value: Value) {
        self.pairs.push((key, value));
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut metadata = Metadata::default();
        pairs.into_iter().for_each(|(key, value)| metadata.set(key, value));
        metadata
    }
}
