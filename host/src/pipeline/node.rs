//! TOML as a tree in which every key and value knows where it was written.
//!
//! serde stops at the first mistake and loses places once tables are merged; this tree is what lets all mistakes show
//! at once, each with its line.

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::{Located, Span};

/// A value and where it was written.
pub type Node = Located<Value>;

/// A TOML value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A string.
    String(String),
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date or time, as written.
    Datetime(String),
    /// An array.
    Array(Vec<Node>),
    /// A table, inline or not.
    Table(Table),
}

/// Entries in the order of the text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table(pub Vec<Entry>);

/// One key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Located<String>,
    /// Its value.
    pub node: Node,
}

impl Table {
    /// The entry of `key`.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|e| e.key.value == key)
    }

    /// Every key, in order.
    pub fn keys(&self) -> Vec<String> {
        self.0.iter().map(|e| e.key.value.clone()).collect()
    }

    /// Takes over what parsing gave; `source` is the number of the parsed text.
    pub fn from_toml(table: DeTable<'_>, source: usize) -> Self {
        let mut entries: Vec<Entry> = table
            .into_iter()
            .map(|(key, value)| Entry {
                key: Located::new(key.get_ref().to_string(), Span { source, range: key.span() }),
                node: node_from_toml(value, source),
            })
            .collect();
        entries.sort_by_key(|e| e.key.span.range.start);
        Self(entries)
    }

    /// Lays `other` over this table: tables merge, anything else is replaced.
    pub fn overlay(&mut self, other: Table) {
        for new in other.0 {
            let Some(old) = self.0.iter_mut().find(|e| e.key.value == new.key.value) else {
                self.0.push(new);
                continue;
            };
            match (&mut old.node.value, new.node.value) {
                (Value::Table(old), Value::Table(new)) => old.overlay(new),
                (_, value) => old.node = Node::new(value, new.node.span),
            }
        }
    }
}

fn node_from_toml(value: Spanned<DeValue<'_>>, source: usize) -> Node {
    let span = Span { source, range: value.span() };
    let value = match value.into_inner() {
        DeValue::String(s) => Value::String(s.into_owned()),
        DeValue::Integer(i) => match i64::from_str_radix(i.as_str(), i.radix()) {
            Ok(i) => Value::Integer(i),
            Err(_) => Value::Float(i.as_str().parse().unwrap_or(f64::INFINITY)),
        },
        DeValue::Float(f) => Value::Float(f.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(b) => Value::Boolean(b),
        DeValue::Datetime(d) => Value::Datetime(d.to_string()),
        DeValue::Array(items) => Value::Array(items.into_iter().map(|n| node_from_toml(n, source)).collect()),
        DeValue::Table(table) => Value::Table(Table::from_toml(table, source)),
    };
    Node::new(value, span)
}

impl Value {
    /// What to call the type in a message.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    /// The same value as JSON, which is what stages are given. Dates become strings, and so does a number that is not
    /// finite, which JSON does not have: no schema of a number accepts a string, but one may accept a null.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::String(s) | Value::Datetime(s) => s.clone().into(),
            Value::Integer(i) => (*i).into(),
            Value::Float(f) if f.is_finite() => (*f).into(),
            Value::Float(f) => f.to_string().into(),
            Value::Boolean(b) => (*b).into(),
            Value::Array(items) => items.iter().map(|n| n.value.to_json()).collect(),
            Value::Table(table) => table.to_json(),
        }
    }
}

impl Table {
    /// The same table as a JSON object.
    pub fn to_json(&self) -> serde_json::Value {
        self.0.iter().map(|e| (e.key.value.clone(), e.node.value.to_json())).collect::<serde_json::Map<_, _>>().into()
    }
}
