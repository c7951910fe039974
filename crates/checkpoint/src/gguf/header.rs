//! The header of one GGUF file, read as strictly as `gguf.cpp` reads it.

use std::collections::BTreeSet;

use model::StoredType;
use model::description::StoredTensor;

use super::cursor::Cursor;
use super::value::{Array, ByteString, Value, ValueType};
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, MAX_DIMENSIONS, MAX_NAME_BYTES, Metadata, Problem};
use crate::source::ByteSource;
use crate::tensor::{LocatedTensor, byte_len};

/// llama.cpp reads no nested array at all; so deep is enough for anybody and safe for the stack.
const MAX_ARRAY_DEPTH: usize = 4;
/// A key's length, its type and one byte of value.
const LEAST_PAIR_BYTES: u64 = 8 + 4 + 1;
/// A name's length, the number of dimensions, type and offset.
const LEAST_TENSOR_BYTES: u64 = 8 + 4 + 4 + 8;

/// What one file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// 2 or 3, which differ in nothing that matters here.
    pub version: u32,
    /// Key-value pairs in file order.
    pub metadata: Metadata,
    /// Tensors in file order, which is the order of their bytes.
    pub tensors: Vec<LocatedTensor>,
    /// Power of two that tensors start at multiples of.
    pub alignment: u32,
}

impl Header {
    /// Reads and checks the header by growing ranged reads. Data is not touched.
    pub fn read(source: &(impl ByteSource + ?Sized)) -> Result<Self, Problem> {
        let mut cursor = Cursor::new(source);
        let version = read_version(&mut cursor)?;
        let tensor_count = cursor.u64(|| "the number of tensors".into())?;
        let pair_count = cursor.u64(|| "the number of metadata pairs".into())?;
        cursor.check_count(tensor_count, LEAST_TENSOR_BYTES, || "tensors".into())?;
        cursor.check_count(pair_count, LEAST_PAIR_BYTES, || "metadata pairs".into())?;
        let metadata = read_metadata(&mut cursor, pair_count)?;
        let alignment = alignment_of(&metadata)?;
        let infos = read_infos(&mut cursor, tensor_count)?;
        let tensors = locate(infos, cursor.position(), alignment, source.len())?;
        Ok(Self { version, metadata, tensors, alignment })
    }

    /// The header's bytes as they were read, without the padding up to the data.
    pub fn encode(&self) -> Result<Vec<u8>, Problem> {
        let tensors: Vec<_> = self.tensors.iter().map(|located| located.tensor.clone()).collect();
        super::encode::header(self.version, &self.metadata, &tensors)
    }
}

/// The alignment that metadata asks for.
pub(super) fn alignment_of(metadata: &Metadata) -> Result<u32, Problem> {
    let alignment = match metadata.value(ALIGNMENT_KEY) {
        None => DEFAULT_ALIGNMENT,
        // No other width: llama.cpp demands exactly this type.
        Some(Value::U32(alignment)) => *alignment,
        Some(other) => return Err(super::MetadataError::wrong_type(ALIGNMENT_KEY, other, "u32").into()),
    };
    if !alignment.is_power_of_two() {
        return Err(Problem::Alignment { got: alignment });
    }
    Ok(alignment)
}

fn read_version<S: ByteSource + ?Sized>(cursor: &mut Cursor<'_, S>) -> Result<u32, Problem> {
    let got = cursor.array(|| "the magic".into())?;
    if got != MAGIC {
        return Err(Problem::Magic { got });
    }
    match cursor.u32(|| "the version".into())? {
        version @ (2 | 3) => Ok(version),
        // The low half of a small number in the other byte order is zero.
        version if version != 0 && version & 0xffff == 0 => Err(Problem::BigEndian { version }),
        version => Err(Problem::Version { version }),
    }
}

fn read_metadata<S: ByteSource + ?Sized>(cursor: &mut Cursor<'_, S>, count: u64) -> Result<Metadata, Problem> {
    let mut metadata = Metadata::default();
    let mut seen = BTreeSet::new();
    for number in 0..count {
        let key = cursor.string(|| format!("metadata key number {number}"))?;
        let key = text("metadata key", key)?;
        if key.is_empty() {
            return Err(Problem::EmptyKey { number });
        }
        if !seen.insert(key.clone()) {
            return Err(Problem::Duplicate { what: "metadata key", name: key });
        }
        let value_type = read_type(cursor, &key)?;
        let value = match value_type {
            ValueType::Array => Value::Array(read_array(cursor, &key, 1)?),
            scalar => read_scalar(cursor, &key, scalar)?,
        };
        metadata.append(key, value);
    }
    Ok(metadata)
}

fn read_type<S: ByteSource + ?Sized>(cursor: &mut Cursor<'_, S>, key: &str) -> Result<ValueType, Problem> {
    let id = cursor.u32(|| format!("the type of metadata key `{key}`"))?;
    ValueType::from_id(id).ok_or_else(|| Problem::UnknownValueType { key: key.to_owned(), id })
}

fn read_scalar<S: ByteSource + ?Sized>(
    cursor: &mut Cursor<'_, S>,
    key: &str,
    value_type: ValueType,
) -> Result<Value, Problem> {
    let what = || format!("the value of metadata key `{key}`");
    Ok(match value_type {
        ValueType::U8 => Value::U8(u8::from_le_bytes(cursor.array(what)?)),
        ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.array(what)?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.array(what)?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.array(what)?)),
        ValueType::U32 => Value::U32(u32::from_le_bytes(cursor.array(what)?)),
        ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.array(what)?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.array(what)?)),
        ValueType::U64 => Value::U64(u64::from_le_bytes(cursor.array(what)?)),
        ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.array(what)?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.array(what)?)),
        ValueType::Bool => Value::Bool(bool_of(key, cursor.array::<1>(what)?[0])?),
        ValueType::String => Value::String(ByteString(cursor.string(what)?)),
        ValueType::Array => Value::Array(read_array(cursor, key, 1)?),
    })
}

fn read_array<S: ByteSource + ?Sized>(cursor: &mut Cursor<'_, S>, key: &str, depth: usize) -> Result<Array, Problem> {
    if depth > MAX_ARRAY_DEPTH {
        return Err(Problem::TooDeep { key: key.to_owned(), limit: MAX_ARRAY_DEPTH });
    }
    let item = read_type(cursor, key)?;
    let count = cursor.u64(|| format!("the length of metadata key `{key}`"))?;
    Ok(match item {
        ValueType::U8 => Array::U8(read_numbers(cursor, key, count, u8::from_le_bytes)?),
        ValueType::I8 => Array::I8(read_numbers(cursor, key, count, i8::from_le_bytes)?),
        ValueType::U16 => Array::U16(read_numbers(cursor, key, count, u16::from_le_bytes)?),
        ValueType::I16 => Array::I16(read_numbers(cursor, key, count, i16::from_le_bytes)?),
        ValueType::U32 => Array::U32(read_numbers(cursor, key, count, u32::from_le_bytes)?),
        ValueType::I32 => Array::I32(read_numbers(cursor, key, count, i32::from_le_bytes)?),
        ValueType::F32 => Array::F32(read_numbers(cursor, key, count, f32::from_le_bytes)?),
        ValueType::U64 => Array::U64(read_numbers(cursor, key, count, u64::from_le_bytes)?),
        ValueType::I64 => Array::I64(read_numbers(cursor, key, count, i64::from_le_bytes)?),
        ValueType::F64 => Array::F64(read_numbers(cursor, key, count, f64::from_le_bytes)?),
        ValueType::Bool => {
            let bytes = read_numbers(cursor, key, count, u8::from_le_bytes)?;
            Array::Bool(bytes.into_iter().map(|byte| bool_of(key, byte)).collect::<Result<_, _>>()?)
        }
        ValueType::String => {
            // A string takes at least its length.
            let item = |cursor: &mut Cursor<'_, S>| Ok(ByteString(cursor.string(|| format!("a string of `{key}`"))?));
            Array::String(read_items(cursor, key, count, 8, item)?)
        }
        ValueType::Array => {
            // An array takes at least its item type and length.
            Array::Array(read_items(cursor, key, count, 12, |cursor| read_array(cursor, key, depth + 1))?)
        }
    })
}

/// Fixed-size items, taken at once after the count was held against the file.
fn read_numbers<S: ByteSource + ?Sized, T, const N: usize>(
    cursor: &mut Cursor<'_, S>,
    key: &str,
    count: u64,
    decode: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, Problem> {
    cursor.check_count(count, N as u64, || format!("items of metadata key `{key}`"))?;
    let bytes = cursor.take(count * N as u64, || format!("the items of metadata key `{key}`"))?;
    let (items, _) = bytes.as_chunks::<N>();
    Ok(items.iter().map(|item| decode(*item)).collect())
}

/// Items of varying size; the list grows with what was really read.
fn read_items<S: ByteSource + ?Sized, T>(
    cursor: &mut Cursor<'_, S>,
    key: &str,
    count: u64,
    least: u64,
    mut item: impl FnMut(&mut Cursor<'_, S>) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    cursor.check_count(count, least, || format!("items of metadata key `{key}`"))?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(cursor)?);
    }
    Ok(items)
}

/// Tensor infos with their offsets in the data.
fn read_infos<S: ByteSource + ?Sized>(
    cursor: &mut Cursor<'_, S>,
    count: u64,
) -> Result<Vec<(StoredTensor, u64)>, Problem> {
    let mut infos = Vec::new();
    let mut seen = BTreeSet::new();
    for number in 0..count {
        let name = cursor.string(|| format!("the name of tensor number {number}"))?;
        let name = text("tensor name", name)?;
        if name.len() >= MAX_NAME_BYTES {
            return Err(Problem::NameTooLong { name });
        }
        if !seen.insert(name.clone()) {
            return Err(Problem::Duplicate { what: "tensor", name });
        }
        infos.push(read_info(cursor, name)?);
    }
    Ok(infos)
}

fn read_info<S: ByteSource + ?Sized>(cursor: &mut Cursor<'_, S>, name: String) -> Result<(StoredTensor, u64), Problem> {
    let what = || format!("the info of tensor `{name}`");
    let dimensions = cursor.u32(what)?;
    if dimensions as usize > MAX_DIMENSIONS {
        return Err(Problem::Dimensions { name, got: u64::from(dimensions) });
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        shape.push(cursor.u64(what)?);
    }
    shape.reverse();
    let id = cursor.u32(what)?;
    let offset = cursor.u64(what)?;
    let Some(stored_type) = StoredType::from_ggml_id(id) else {
        return Err(Problem::UnknownType { name, id });
    };
    Ok((StoredTensor { name, stored_type, shape }, offset))
}

/// Checks that tensors lie back to back, each padded, and inside the file.
fn locate(
    infos: Vec<(StoredTensor, u64)>,
    infos_end: u64,
    alignment: u32,
    file_bytes: u64,
) -> Result<Vec<LocatedTensor>, Problem> {
    let alignment = u64::from(alignment);
    let mut tensors = Vec::with_capacity(infos.len());
    // The header was read from the file, so its end is far from overflowing when padded by less than 2³².
    let data_start = infos_end.next_multiple_of(alignment);
    let mut expected = 0u64;
    for (tensor, offset) in infos {
        let overflow = |tensor: &StoredTensor| Problem::Shape {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            stored_type: tensor.stored_type,
        };
        if offset != expected {
            return Err(Problem::Offset { name: tensor.name, got: offset, expected });
        }
        let bytes = byte_len(&tensor).ok_or_else(|| overflow(&tensor))?;
        let start = data_start.checked_add(offset).ok_or_else(|| overflow(&tensor))?;
        let end = start.checked_add(bytes).ok_or_else(|| overflow(&tensor))?;
        if end > file_bytes {
            return Err(Problem::DataTruncated { name: tensor.name, end, file_bytes });
        }
        expected = (offset + bytes).checked_next_multiple_of(alignment).ok_or_else(|| overflow(&tensor))?;
        tensors.push(LocatedTensor { tensor, offset: start, bytes });
    }
    Ok(tensors)
}

fn text(what: &'static str, bytes: Vec<u8>) -> Result<String, Problem> {
    String::from_utf8(bytes).map_err(|error| Problem::NameNotUtf8 { what, name: error.into_bytes() })
}

fn bool_of(key: &str, byte: u8) -> Result<bool, Problem> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        got => Err(Problem::NotBool { key: key.to_owned(), got }),
    }
}
