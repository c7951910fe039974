//! The table of stored types: how safetensors and GGUF lay numbers out on disk.
//!
//! A stored type is a block of `block_len` values in `block_bytes` bytes; plain numbers are blocks of one.
//! Names and ids are those of `ggml.h` (`enum ggml_type`), names lowercase as llama.cpp prints them.

use serde::{Deserialize, Serialize};

macro_rules! stored_types {
    ($($variant:ident $name:literal ggml $id:literal block $len:literal bytes $bytes:literal;)*) => {
        /// How a tensor's values lie in a file.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum StoredType {
            $(#[doc = concat!("`", $name, "`")] #[serde(rename = $name)] $variant,)*
            /// `u8`: no GGUF id; safetensors only.
            #[serde(rename = "u8")] U8,
            /// `u16`: no GGUF id; safetensors only.
            #[serde(rename = "u16")] U16,
            /// `u32`: no GGUF id; safetensors only (mlx's packed weights).
            #[serde(rename = "u32")] U32,
            /// `u64`: no GGUF id; safetensors only.
            #[serde(rename = "u64")] U64,
            /// `bool`: no GGUF id; safetensors only.
            #[serde(rename = "bool")] Bool,
        }

        impl StoredType {
            /// Every type that has a GGUF id, in id order.
            pub const GGML: &'static [StoredType] = &[$(StoredType::$variant,)*];

            /// The name as llama.cpp prints it, lowercase: `q4_0`, `bf16`.
            pub fn name(self) -> &'static str {
                match self {
                    $(StoredType::$variant => $name,)*
                    StoredType::U8 => "u8",
                    StoredType::U16 => "u16",
                    StoredType::U32 => "u32",
                    StoredType::U64 => "u64",
                    StoredType::Bool => "bool",
                }
            }

            /// The id in a GGUF tensor info (`enum ggml_type`); `None` for types that GGUF cannot hold.
            pub fn ggml_id(self) -> Option<u32> {
                match self {
                    $(StoredType::$variant => Some($id),)*
                    _ => None,
                }
            }

            /// The type of a GGUF tensor info's id.
            pub fn from_ggml_id(id: u32) -> Option<StoredType> {
                match id {
                    $($id => Some(StoredType::$variant),)*
                    _ => None,
                }
            }

            /// (values in a block, bytes of a block).
            const fn block(self) -> (u64, u64) {
                match self {
                    $(StoredType::$variant => ($len, $bytes),)*
                    StoredType::U8 | StoredType::Bool => (1, 1),
                    StoredType::U16 => (1, 2),
                    StoredType::U32 => (1, 4),
                    StoredType::U64 => (1, 8),
                }
            }
        }
    };
}

stored_types! {
    F32     "f32"     ggml 0  block 1   bytes 4;
    F16     "f16"     ggml 1  block 1   bytes 2;
    Q4_0    "q4_0"    ggml 2  block 32  bytes 18;
    Q4_1    "q4_1"    ggml 3  block 32  bytes 20;
    Q5_0    "q5_0"    ggml 6  block 32  bytes 22;
    Q5_1    "q5_1"    ggml 7  block 32  bytes 24;
    Q8_0    "q8_0"    ggml 8  block 32  bytes 34;
    Q8_1    "q8_1"    ggml 9  block 32  bytes 36;
    Q2K     "q2_k"    ggml 10 block 256 bytes 84;
    Q3K     "q3_k"    ggml 11 block 256 bytes 110;
    Q4K     "q4_k"    ggml 12 block 256 bytes 144;
    Q5K     "q5_k"    ggml 13 block 256 bytes 176;
    Q6K     "q6_k"    ggml 14 block 256 bytes 210;
    Q8K     "q8_k"    ggml 15 block 256 bytes 292;
    Iq2Xxs  "iq2_xxs" ggml 16 block 256 bytes 66;
    Iq2Xs   "iq2_xs"  ggml 17 block 256 bytes 74;
    Iq3Xxs  "iq3_xxs" ggml 18 block 256 bytes 98;
    Iq1S    "iq1_s"   ggml 19 block 256 bytes 50;
    Iq4Nl   "iq4_nl"  ggml 20 block 32  bytes 18;
    Iq3S    "iq3_s"   ggml 21 block 256 bytes 110;
    Iq2S    "iq2_s"   ggml 22 block 256 bytes 82;
    Iq4Xs   "iq4_xs"  ggml 23 block 256 bytes 136;
    I8      "i8"      ggml 24 block 1   bytes 1;
    I16     "i16"     ggml 25 block 1   bytes 2;
    I32     "i32"     ggml 26 block 1   bytes 4;
    I64     "i64"     ggml 27 block 1   bytes 8;
    F64     "f64"     ggml 28 block 1   bytes 8;
    Iq1M    "iq1_m"   ggml 29 block 256 bytes 56;
    Bf16    "bf16"    ggml 30 block 1   bytes 2;
    Tq1_0   "tq1_0"   ggml 34 block 256 bytes 54;
    Tq2_0   "tq2_0"   ggml 35 block 256 bytes 66;
    Mxfp4   "mxfp4"   ggml 39 block 32  bytes 17;
}

impl StoredType {
    /// Values in one block; 1 for plain numbers.
    pub const fn block_len(self) -> u64 {
        self.block().0
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> u64 {
        self.block().1
    }

    /// Bytes of a row of `values` numbers; `None` where they fill no whole number of blocks, or overflow.
    pub fn row_bytes(self, values: u64) -> Option<u64> {
        let (len, bytes) = self.block();
        if !values.is_multiple_of(len) {
            return None;
        }
        (values / len).checked_mul(bytes)
    }

    /// Bytes of a tensor of `shape` (outermost dimension first); `None` where its rows fill no whole blocks, or overflow.
    pub fn tensor_bytes(self, shape: &[u64]) -> Option<u64> {
        let (columns, rows) = match shape.split_last() {
            None => (1, 1),
            Some((columns, outer)) => (*columns, outer.iter().try_fold(1u64, |n, d| n.checked_mul(*d))?),
        };
        self.row_bytes(columns)?.checked_mul(rows)
    }

    /// The spelling in a safetensors header (`BF16`); `None` for block types.
    pub fn safetensors_name(self) -> Option<&'static str> {
        Some(match self {
            StoredType::F64 => "F64",
            StoredType::F32 => "F32",
            StoredType::F16 => "F16",
            StoredType::Bf16 => "BF16",
            StoredType::I8 => "I8",
            StoredType::I16 => "I16",
            StoredType::I32 => "I32",
            StoredType::I64 => "I64",
            StoredType::U8 => "U8",
            StoredType::U16 => "U16",
            StoredType::U32 => "U32",
            StoredType::U64 => "U64",
            StoredType::Bool => "BOOL",
            _ => return None,
        })
    }

    /// The type of a safetensors header's `dtype`.
    pub fn from_safetensors_name(name: &str) -> Option<StoredType> {
        const ALL: [StoredType; 13] = [
            StoredType::F64,
            StoredType::F32,
            StoredType::F16,
            StoredType::Bf16,
            StoredType::I8,
            StoredType::I16,
            StoredType::I32,
            StoredType::I64,
            StoredType::U8,
            StoredType::U16,
            StoredType::U32,
            StoredType::U64,
            StoredType::Bool,
        ];
        ALL.into_iter().find(|t| t.safetensors_name() == Some(name))
    }

    /// The type that llama.cpp prints under `name`.
    pub fn from_name(name: &str) -> Option<StoredType> {
        Self::GGML.iter().copied().find(|t| t.name() == name)
    }

    /// Whether values are binary floating-point numbers of their own, not members of a block.
    pub const fn is_float(self) -> bool {
        matches!(self, StoredType::F64 | StoredType::F32 | StoredType::F16 | StoredType::Bf16)
    }

    /// Whether values share a block's scale.
    pub const fn is_quantized(self) -> bool {
        self.block_len() > 1
    }
}

impl std::fmt::Display for StoredType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_round_trip() {
        for t in StoredType::GGML {
            assert_eq!(t.ggml_id().and_then(StoredType::from_ggml_id), Some(*t));
            assert_eq!(StoredType::from_name(t.name()), Some(*t));
        }
        assert_eq!(StoredType::from_ggml_id(31), None, "removed repacked types stay unknown");
    }

    #[test]
    fn bytes_of_rows_and_tensors() {
        assert_eq!(StoredType::Q4_0.row_bytes(576), Some(576 / 32 * 18));
        assert_eq!(StoredType::Q4K.row_bytes(576), None);
        assert_eq!(StoredType::Bf16.tensor_bytes(&[3, 5]), Some(30));
        assert_eq!(StoredType::F32.tensor_bytes(&[]), Some(4));
        assert_eq!(StoredType::F32.tensor_bytes(&[u64::MAX, 2]), None);
    }
}
