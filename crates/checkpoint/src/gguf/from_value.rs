//! Metadata values as Rust types.

use super::value::{Array, ByteString, Value};

/// Why a value is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// It has another type.
    Type,
    /// It is a number too small or too large.
    Range {
        /// The number.
        got: String,
    },
    /// It is a string without text.
    NotUtf8 {
        /// Its bytes, escaped.
        got: String,
    },
}

/// A type that [`super::Metadata::get`] gives.
pub trait FromValue<'a>: Sized {
    /// The type as messages name it.
    const EXPECTED: &'static str;

    /// The value, or why it is none.
    fn from_value(value: &'a Value) -> Result<Self, Mismatch>;
}

/// An integer of any width.
fn integer(value: &Value) -> Result<i128, Mismatch> {
    Ok(match value {
        Value::U8(v) => i128::from(*v),
        Value::I8(v) => i128::from(*v),
        Value::U16(v) => i128::from(*v),
        Value::I16(v) => i128::from(*v),
        Value::U32(v) => i128::from(*v),
        Value::I32(v) => i128::from(*v),
        Value::U64(v) => i128::from(*v),
        Value::I64(v) => i128::from(*v),
        _ => return Err(Mismatch::Type),
    })
}

/// Integers of any width.
fn integers(value: &Value) -> Result<Vec<i128>, Mismatch> {
    let Value::Array(array) = value else {
        return Err(Mismatch::Type);
    };
    Ok(match array {
        Array::U8(items) => items.iter().map(|v| i128::from(*v)).collect(),
        Array::I8(items) => items.iter().map(|v| i128::from(*v)).collect(),
        Array::U16(items) => items.iter().map(|v| i128::from(*v)).collect(),
        Array::I16(items) => items.iter().map(|v| i128::from(*v)).collect(),
        Array::U32(items) => items.iter().map(|v| i128::from(*v)).collect(),
        Array::I32(items) => items.iter().map(|v| i128::from(*v)).collect(),
        Array::U64(items) => items.iter().map(|v| i128::from(*v)).collect(),
        Array::I64(items) => items.iter().map(|v| i128::from(*v)).collect(),
        _ => return Err(Mismatch::Type),
    })
}

fn narrow<T: TryFrom<i128>>(wide: i128) -> Result<T, Mismatch> {
    T::try_from(wide).map_err(|_| Mismatch::Range { got: wide.to_string() })
}

macro_rules! integers {
    ($($rust:ident $name:literal $list:literal;)*) => {$(
        impl FromValue<'_> for $rust {
            const EXPECTED: &'static str = $name;

            fn from_value(value: &Value) -> Result<Self, Mismatch> {
                narrow(integer(value)?)
            }
        }

        impl FromValue<'_> for Vec<$rust> {
            const EXPECTED: &'static str = $list;

            fn from_value(value: &Value) -> Result<Self, Mismatch> {
                integers(value)?.into_iter().map(narrow).collect()
            }
        }
    )*};
}

integers! {
    u8 "u8" "array of u8";
    u16 "u16" "array of u16";
    i32 "i32" "array of i32";
    u32 "u32" "array of u32";
    i64 "i64" "array of i64";
    u64 "u64" "array of u64";
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "bool";

    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        if let Value::Bool(v) = value { Ok(*v) } else { Err(Mismatch::Type) }
    }
}

impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "f32";

    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        if let Value::F32(v) = value { Ok(*v) } else { Err(Mismatch::Type) }
    }
}

impl<'a> FromValue<'a> for &'a [f32] {
    const EXPECTED: &'static str = "array of f32";

    fn from_value(value: &'a Value) -> Result<Self, Mismatch> {
        if let Value::Array(Array::F32(v)) = value { Ok(v) } else { Err(Mismatch::Type) }
    }
}

impl<'a> FromValue<'a> for &'a [ByteString] {
    const EXPECTED: &'static str = "array of string";

    fn from_value(value: &'a Value) -> Result<Self, Mismatch> {
        if let Value::Array(Array::String(v)) = value { Ok(v) } else { Err(Mismatch::Type) }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "string";

    fn from_value(value: &'a Value) -> Result<Self, Mismatch> {
        if let Value::String(v) = value { text(v) } else { Err(Mismatch::Type) }
    }
}

impl<'a> FromValue<'a> for Vec<&'a str> {
    const EXPECTED: &'static str = "array of string";

    fn from_value(value: &'a Value) -> Result<Self, Mismatch> {
        <&[ByteString]>::from_value(value)?.iter().map(text).collect()
    }
}

fn text(bytes: &ByteString) -> Result<&str, Mismatch> {
    bytes.as_str().map_err(|_| Mismatch::NotUtf8 { got: bytes.0.escape_ascii().to_string() })
}
