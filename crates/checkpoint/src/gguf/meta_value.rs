//! Metadata between a file's types and those of a model's description.

use model::description::MetaValue;

use super::value::{Array, Value};

/// A list that no GGUF array can be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArrayError {
    /// An array stores the type of its items, and there is none.
    #[error("an empty list has no item type, so it cannot be stored; leave the key out")]
    Empty,
    /// Items of different types.
    #[error("a list that begins with {first} holds {other} too; items of an array have one type")]
    Mixed {
        /// The first item, as it prints.
        first: String,
        /// The first unlike it.
        other: String,
    },
}

/// As a description shows it; bytes that are no UTF-8 are replaced, since a description is not written back.
impl From<&Value> for MetaValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::U8(v) => MetaValue::U8(*v),
            Value::I8(v) => MetaValue::I8(*v),
            Value::U16(v) => MetaValue::U16(*v),
            Value::I16(v) => MetaValue::I16(*v),
            Value::U32(v) => MetaValue::U32(*v),
            Value::I32(v) => MetaValue::I32(*v),
            Value::F32(v) => MetaValue::F32(*v),
            Value::U64(v) => MetaValue::U64(*v),
            Value::I64(v) => MetaValue::I64(*v),
            Value::F64(v) => MetaValue::F64(*v),
            Value::Bool(v) => MetaValue::Bool(*v),
            Value::String(v) => MetaValue::String(String::from_utf8_lossy(&v.0).into_owned()),
            Value::Array(v) => MetaValue::Array(items_of(v)),
        }
    }
}

fn items_of(array: &Array) -> Vec<MetaValue> {
    match array {
        Array::U8(items) => items.iter().copied().map(MetaValue::U8).collect(),
        Array::I8(items) => items.iter().copied().map(MetaValue::I8).collect(),
        Array::U16(items) => items.iter().copied().map(MetaValue::U16).collect(),
        Array::I16(items) => items.iter().copied().map(MetaValue::I16).collect(),
        Array::U32(items) => items.iter().copied().map(MetaValue::U32).collect(),
        Array::I32(items) => items.iter().copied().map(MetaValue::I32).collect(),
        Array::F32(items) => items.iter().copied().map(MetaValue::F32).collect(),
        Array::U64(items) => items.iter().copied().map(MetaValue::U64).collect(),
        Array::I64(items) => items.iter().copied().map(MetaValue::I64).collect(),
        Array::F64(items) => items.iter().copied().map(MetaValue::F64).collect(),
        Array::Bool(items) => items.iter().copied().map(MetaValue::Bool).collect(),
        Array::String(items) => {
            items.iter().map(|v| MetaValue::String(String::from_utf8_lossy(&v.0).into_owned())).collect()
        }
        Array::Array(items) => items.iter().map(|v| MetaValue::Array(items_of(v))).collect(),
    }
}

/// What a family computed, as a file stores it.
impl TryFrom<&MetaValue> for Value {
    type Error = ArrayError;

    fn try_from(value: &MetaValue) -> Result<Self, ArrayError> {
        Ok(match value {
            MetaValue::U8(v) => Value::U8(*v),
            MetaValue::I8(v) => Value::I8(*v),
            MetaValue::U16(v) => Value::U16(*v),
            MetaValue::I16(v) => Value::I16(*v),
            MetaValue::U32(v) => Value::U32(*v),
            MetaValue::I32(v) => Value::I32(*v),
            MetaValue::F32(v) => Value::F32(*v),
            MetaValue::U64(v) => Value::U64(*v),
            MetaValue::I64(v) => Value::I64(*v),
            MetaValue::F64(v) => Value::F64(*v),
            MetaValue::Bool(v) => Value::Bool(*v),
            MetaValue::String(v) => Value::String(v.as_str().into()),
            MetaValue::Array(items) => Value::Array(array_of(items)?),
        })
    }
}

fn array_of(items: &[MetaValue]) -> Result<Array, ArrayError> {
    macro_rules! all {
        ($variant:ident, $convert:expr) => {
            Array::$variant(collect(items, |item| match item {
                MetaValue::$variant(value) => Some($convert(value)),
                _ => None,
            })?)
        };
    }
    Ok(match items.first().ok_or(ArrayError::Empty)? {
        MetaValue::U8(_) => all!(U8, |v: &u8| *v),
        MetaValue::I8(_) => all!(I8, |v: &i8| *v),
        MetaValue::U16(_) => all!(U16, |v: &u16| *v),
        MetaValue::I16(_) => all!(I16, |v: &i16| *v),
        MetaValue::U32(_) => all!(U32, |v: &u32| *v),
        MetaValue::I32(_) => all!(I32, |v: &i32| *v),
        MetaValue::F32(_) => all!(F32, |v: &f32| *v),
        MetaValue::U64(_) => all!(U64, |v: &u64| *v),
        MetaValue::I64(_) => all!(I64, |v: &i64| *v),
        MetaValue::F64(_) => all!(F64, |v: &f64| *v),
        MetaValue::Bool(_) => all!(Bool, |v: &bool| *v),
        MetaValue::String(_) => all!(String, |v: &String| v.as_str().into()),
        MetaValue::Array(_) => {
            let arrays = collect(items, |item| match item {
                MetaValue::Array(inner) => Some(array_of(inner)),
                _ => None,
            })?;
            Array::Array(arrays.into_iter().collect::<Result<_, _>>()?)
        }
    })
}

fn collect<T>(items: &[MetaValue], convert: impl Fn(&MetaValue) -> Option<T>) -> Result<Vec<T>, ArrayError> {
    let mixed = |other: &MetaValue| ArrayError::Mixed { first: format!("{:?}", items[0]), other: format!("{other:?}") };
    items.iter().map(|item| convert(item).ok_or_else(|| mixed(item))).collect()
}
