//! Metadata values as GGUF types them.

use std::fmt;

/// A string as its bytes lie; published files hold token texts that are no UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ByteString(pub Vec<u8>);

impl ByteString {
    /// The text, where the bytes are UTF-8.
    pub fn as_str(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(&self.0)
    }
}

impl fmt::Debug for ByteString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl From<&str> for ByteString {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for ByteString {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<Vec<u8>> for ByteString {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

macro_rules! value_types {
    ($($variant:ident($rust:ty) $id:literal $name:literal;)*) => {
        /// The types of `enum gguf_type`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ValueType {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
            /// `array`
            Array,
        }

        /// One metadata value.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Value {
            $(#[doc = concat!("`", $name, "`")] $variant($rust),)*
            /// Values of one type.
            Array(Array),
        }

        /// Values of one type.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Array {
            $(#[doc = concat!("`", $name, "`s")] $variant(Vec<$rust>),)*
            /// Arrays of arrays; llama.cpp reads none, the format has them.
            Array(Vec<Array>),
        }

        impl ValueType {
            const ALL: &'static [ValueType] = &[$(ValueType::$variant,)* ValueType::Array];

            /// The id in the file.
            pub fn id(self) -> u32 {
                match self {
                    $(ValueType::$variant => $id,)*
                    ValueType::Array => 9,
                }
            }

            /// The name in messages.
            pub fn name(self) -> &'static str {
                match self {
                    $(ValueType::$variant => $name,)*
                    ValueType::Array => "array",
                }
            }
        }

        impl Value {
            /// The value's type.
            pub fn value_type(&self) -> ValueType {
                match self {
                    $(Value::$variant(_) => ValueType::$variant,)*
                    Value::Array(_) => ValueType::Array,
                }
            }
        }

        impl Array {
            /// The type of the items.
            pub fn item_type(&self) -> ValueType {
                match self {
                    $(Array::$variant(_) => ValueType::$variant,)*
                    Array::Array(_) => ValueType::Array,
                }
            }

            /// The number of items.
            pub fn len(&self) -> usize {
                match self {
                    $(Array::$variant(items) => items.len(),)*
                    Array::Array(items) => items.len(),
                }
            }

            /// Whether there are no items.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }

        $(
            impl From<$rust> for Value {
                fn from(value: $rust) -> Self {
                    Value::$variant(value)
                }
            }

            impl From<Vec<$rust>> for Value {
                fn from(values: Vec<$rust>) -> Self {
                    Value::Array(Array::$variant(values))
                }
            }
        )*
    };
}

value_types! {
    U8(u8) 0 "u8";
    I8(i8) 1 "i8";
    U16(u16) 2 "u16";
    I16(i16) 3 "i16";
    U32(u32) 4 "u32";
    I32(i32) 5 "i32";
    F32(f32) 6 "f32";
    Bool(bool) 7 "bool";
    String(ByteString) 8 "string";
    U64(u64) 10 "u64";
    I64(i64) 11 "i64";
    F64(f64) 12 "f64";
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text.into())
    }
}

impl ValueType {
    /// The type of that id.
    pub fn from_id(id: u32) -> Option<ValueType> {
        Self::ALL.iter().copied().find(|t| t.id() == id)
    }
}

impl Array {
    /// The number of items, and of those of arrays among them.
    pub fn total_len(&self) -> usize {
        match self {
            Array::Array(items) => items.iter().map(Array::total_len).sum::<usize>() + items.len(),
            flat => flat.len(),
        }
    }
}

impl Value {
    /// The type as messages name it: `u32`, `array of string`.
    pub fn describe_type(&self) -> String {
        match self {
            Value::Array(array) => format!("array of {} {}", array.len(), array.item_type().name()),
            other => other.value_type().name().to_owned(),
        }
    }
}
