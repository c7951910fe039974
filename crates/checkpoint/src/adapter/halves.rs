//! The tensors of an adapter's file by the module that they change.

use std::collections::BTreeMap;

use model::description::StoredTensor;

use super::{Matrix, Problem, lookup, read};
use crate::safetensors::Safetensors;

/// A module's matrices as they turn up.
#[derive(Default)]
pub(super) struct Halves {
    a: Option<Matrix>,
    b: Option<Matrix>,
    pub(super) magnitude: Option<Vec<f32>>,
}

/// Factors by PEFT's path of their module.
#[derive(Default)]
pub(super) struct Found {
    /// Of linears, and of parameters.
    pub(super) linears: BTreeMap<String, Halves>,
    /// Of embeddings, exchanged and transposed: A (r, features) and B (entries, r).
    pub(super) lookups: BTreeMap<String, Halves>,
}

impl Found {
    /// Reads every tensor; all of them must be factors, or lengths of rows.
    pub(super) fn read(file: &Safetensors) -> Result<Self, Problem> {
        let mut found = Self::default();
        for tensor in file.tensors() {
            let path = tensor.name.strip_prefix(read::PREFIX).unwrap_or_default();
            let bytes = file.get(&tensor.name).map(|(_, bytes)| bytes).unwrap_or_default();
            let linear = |suffix: &str| path.strip_suffix(suffix).map(str::to_owned);
            if let Some(module) = linear(read::A_SUFFIX) {
                found.linears.entry(module).or_default().a = Some(matrix(tensor, bytes)?);
            } else if let Some(module) = linear(read::B_SUFFIX) {
                found.linears.entry(module).or_default().b = Some(matrix(tensor, bytes)?);
            } else if let Some(module) = linear(read::MAGNITUDE_SUFFIX) {
                found.linears.entry(module).or_default().magnitude = Some(vector(tensor, bytes)?);
            } else if let Some(module) = linear(lookup::A_SUFFIX) {
                found.lookups.entry(module).or_default().b = Some(transposed(tensor, bytes)?);
            } else if let Some(module) = linear(lookup::B_SUFFIX) {
                found.lookups.entry(module).or_default().a = Some(transposed(tensor, bytes)?);
            } else {
                return Err(Problem::UnexpectedTensor { name: tensor.name.clone() });
            }
        }
        let has_lengths =
            |module: &&String| found.linears.get(*module).is_some_and(|halves| halves.magnitude.is_some());
        match found.lookups.keys().find(has_lengths) {
            Some(module) => Err(Problem::LookupDora { module: module.clone() }),
            None => Ok(found),
        }
    }
}

impl Halves {
    /// A (r, in) and B (out, r); `module` is for messages.
    pub(super) fn of_linear(self, module: &str) -> Result<(Matrix, Matrix), Problem> {
        self.both(module, ["lora_A", "lora_B"])
    }

    /// The same of an embedding.
    pub(super) fn of_lookup(self, module: &str) -> Result<(Matrix, Matrix), Problem> {
        self.both(module, ["lora_embedding_B", "lora_embedding_A"])
    }

    fn both(self, module: &str, names: [&'static str; 2]) -> Result<(Matrix, Matrix), Problem> {
        let missing = |missing| Problem::MissingHalf { module: module.to_owned(), missing };
        Ok((self.a.ok_or_else(|| missing(names[0]))?, self.b.ok_or_else(|| missing(names[1]))?))
    }
}

fn matrix(tensor: &StoredTensor, bytes: &[u8]) -> Result<Matrix, Problem> {
    let not_matrix = || Problem::NotMatrix {
        name: tensor.name.clone(),
        got: format!("{} of shape {:?}", tensor.stored_type, tensor.shape),
    };
    let [rows, columns] = tensor.shape[..] else {
        return Err(not_matrix());
    };
    if !tensor.stored_type.is_float() {
        return Err(not_matrix());
    }
    let mut values = vec![0.0; (rows * columns) as usize];
    blocks::decode_rows(tensor.stored_type, bytes, &mut values).map_err(|_| not_matrix())?;
    Matrix::new(rows as usize, columns as usize, values).ok_or_else(not_matrix)
}

/// A matrix's transpose, read row by row: an embedding has so many entries that the two are not held at once.
fn transposed(tensor: &StoredTensor, bytes: &[u8]) -> Result<Matrix, Problem> {
    let [rows, columns] = tensor.shape[..] else { return matrix(tensor, bytes) };
    if !tensor.stored_type.is_float() {
        return matrix(tensor, bytes);
    }
    let (count, len) = (rows as usize, columns as usize);
    let row = StoredTensor { shape: vec![1, columns], ..tensor.clone() };
    let mut values = vec![0.0; count * len];
    for (i, bytes) in bytes.chunks((bytes.len() / count.max(1)).max(1)).enumerate() {
        let read = matrix(&row, bytes)?;
        read.values.iter().enumerate().for_each(|(k, value)| values[k * count + i] = *value);
    }
    Ok(Matrix { rows: len, columns: count, values })
}

/// DoRA's lengths, one a row of B.
fn vector(tensor: &StoredTensor, bytes: &[u8]) -> Result<Vec<f32>, Problem> {
    let column = StoredTensor { shape: vec![tensor.values(), 1], ..tensor.clone() };
    let of = if tensor.shape.len() == 1 { &column } else { tensor };
    matrix(of, bytes).map(|matrix| matrix.values)
}
