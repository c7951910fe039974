//! A GGUF header as bytes, without the padding behind it: what was read, written again byte for byte.

use model::description::StoredTensor;

use super::header::alignment_of;
use super::value::{Array, Value, ValueType};
use super::{MAGIC, MAX_DIMENSIONS, MAX_NAME_BYTES, Metadata, Problem};
use crate::tensor::byte_len;

/// Magic, version, metadata and tensor infos.
pub(super) fn header(version: u32, metadata: &Metadata, tensors: &[StoredTensor]) -> Result<Vec<u8>, Problem> {
    let alignment = u64::from(alignment_of(metadata)?);
    let mut out = MAGIC.to_vec();
    out.extend(version.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.iter().len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        string(&mut out, key.as_bytes());
        out.extend(value.value_type().id().to_le_bytes());
        scalar_or_array(&mut out, value);
    }
    let mut offset = 0u64;
    for tensor in tensors {
        info(&mut out, tensor, offset)?;
        let end = byte_len(tensor).and_then(|bytes| offset.checked_add(bytes)?.checked_next_multiple_of(alignment));
        offset = end.ok_or_else(|| too_large(tensor))?;
    }
    Ok(out)
}

fn info(out: &mut Vec<u8>, tensor: &StoredTensor, offset: u64) -> Result<(), Problem> {
    let StoredTensor { name, stored_type, shape } = tensor;
    if name.len() >= MAX_NAME_BYTES {
        return Err(Problem::NameTooLong { name: name.clone() });
    }
    if shape.len() > MAX_DIMENSIONS {
        return Err(Problem::Dimensions { name: name.clone(), got: shape.len() as u64 });
    }
    let not_storable = || Problem::NotStorable { name: name.clone(), stored_type: *stored_type };
    let id = stored_type.ggml_id().ok_or_else(not_storable)?;
    string(out, name.as_bytes());
    out.extend((shape.len() as u32).to_le_bytes());
    for dimension in shape.iter().rev() {
        out.extend(dimension.to_le_bytes());
    }
    out.extend(id.to_le_bytes());
    out.extend(offset.to_le_bytes());
    Ok(())
}

fn too_large(tensor: &StoredTensor) -> Problem {
    let StoredTensor { name, stored_type, shape } = tensor.clone();
    Problem::Shape { name, shape, stored_type }
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

fn scalar_or_array(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.extend(v.to_le_bytes()),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => string(out, &v.0),
        Value::Array(v) => array(out, v),
    }
}

fn array(out: &mut Vec<u8>, array: &Array) {
    let item_type: ValueType = array.item_type();
    out.extend(item_type.id().to_le_bytes());
    out.extend((array.len() as u64).to_le_bytes());
    match array {
        Array::U8(items) => out.extend(items),
        Array::I8(items) => out.extend(items.iter().flat_map(|v| v.to_le_bytes())),
        Array::U16(items) => out.extend(items.iter().flat_map(|v| v.to_le_bytes())),
        Array::I16(items) => out.extend(items.iter().flat_map(|v| v.to_le_bytes())),
        Array::U32(items) => out.extend(items.iter().flat_map(|v| v.to_le_bytes())),
        Array::I32(items) => out.extend(items.iter().flat_map(|v| v.to_le_bytes())),
        Array::F32(items) => out.extend(items.iter().flat_map(|v| v.to_le_bytes())),
        Array::U64(items) => out.extend(items.iter().flat_map(|v| v.to_le_bytes())),
        Array::I64(items) => out.extend(items.iter().flat_map(|v| v.to_le_bytes())),
        Array::F64(items) => out.extend(items.iter().flat_map(|v| v.to_le_bytes())),
        Array::Bool(items) => out.extend(items.iter().map(|v| u8::from(*v))),
        Array::String(items) => items.iter().for_each(|v| string(out, &v.0)),
        Array::Array(items) => items.iter().for_each(|v| self::array(out, v)),
    }
}
