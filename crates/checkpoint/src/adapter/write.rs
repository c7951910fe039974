//! Writing an adapter directory that PEFT loads.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use model::description::StoredTensor;
use model::{Inventory, StoredType};

use super::parameters::WrappedParameter;
use super::read::{A_SUFFIX, B_SUFFIX, MAGNITUDE_SUFFIX, PREFIX};
use super::{Adapter, CONFIG_FILE, Error, Matrix, Problem, WEIGHTS_FILE, lookup};
use crate::partial_file::PartialFile;
use crate::safetensors::{self, Writer};

impl Adapter {
    /// Writes matrices in `f32` and the configuration into `dir`, which exists; the same adapter gives the same bytes.
    /// It adapts linears alone.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        self.write_as(dir, &[], &BTreeSet::new())
    }

    /// Writes an adapter for a model of this inventory, which may adapt the embedding, and parameters; `target_parameters`
    /// says so.
    pub fn write_for(&self, inventory: &Inventory, dir: &Path) -> Result<(), Error> {
        self.write_as(dir, &self.config.wrapped(inventory), &lookup::embeddings(inventory))
    }

    fn write_as(&self, dir: &Path, wrapped: &[WrappedParameter], lookups: &BTreeSet<String>) -> Result<(), Error> {
        self.check(wrapped).map_err(|problem| Error::at(dir, problem))?;
        let tensors = self.named_tensors(wrapped, lookups).map_err(|problem| Error::at(dir, problem))?;
        let planned: Vec<_> = tensors.iter().map(|(name, tensor)| tensor.planned(name)).collect();
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let weights = || -> Result<(), safetensors::Error> {
            let mut writer = Writer::create(&dir.join(WEIGHTS_FILE), &planned, &metadata)?;
            for (name, tensor) in &tensors {
                for row in tensor.values.chunks(tensor.row_len()) {
                    let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
                    writer.write(name, &bytes)?;
                }
            }
            writer.finish()
        };
        weights().map_err(Problem::of_weights)?;
        let path = dir.join(CONFIG_FILE);
        self.write_config(&path).map_err(|problem| Error::at(&path, problem))
    }

    fn write_config(&self, path: &Path) -> Result<(), Problem> {
        let mut json = serde_json::to_vec_pretty(&self.config.to_json()).map_err(Problem::Json)?;
        json.push(b'\n');
        let mut file = PartialFile::create(path)?;
        file.write_all(&json)?;
        Ok(file.publish()?)
    }

    /// Every tensor under PEFT's name, in the order of names.
    fn named_tensors(
        &self,
        wrapped: &[WrappedParameter],
        lookups: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Tensor<'_>>, Problem> {
        let mut tensors = BTreeMap::new();
        for parameter in wrapped {
            let missing = || Problem::MissingHalf { module: parameter.parameter.clone(), missing: "lora_A" };
            let lora = self.modules.get(&parameter.module).ok_or_else(missing)?;
            let name = |suffix: &str| format!("{PREFIX}{}{suffix}", parameter.path);
            tensors.insert(name(A_SUFFIX), Tensor::of(&lora.a));
            tensors.insert(name(B_SUFFIX), Tensor::owned(parameter.stored_b(&lora.b)));
        }
        let is_wrapped = |module: &str| wrapped.iter().any(|parameter| parameter.module == module);
        for (module, lora) in self.modules.iter().filter(|(module, _)| !is_wrapped(module)) {
            let name = |suffix: &str| format!("{PREFIX}{module}{suffix}");
            if lookups.contains(module) {
                tensors.insert(name(lookup::A_SUFFIX), Tensor::owned(lora.b.transposed()));
                tensors.insert(name(lookup::B_SUFFIX), Tensor::owned(lora.a.transposed()));
                continue;
            }
            tensors.insert(name(A_SUFFIX), Tensor::of(&lora.a));
            tensors.insert(name(B_SUFFIX), Tensor::of(&lora.b));
            tensors.extend(lora.magnitude.as_ref().map(|m| (name(MAGNITUDE_SUFFIX), Tensor::vector(m))));
        }
        Ok(tensors)
    }
}

/// What is written under one name.
struct Tensor<'a> {
    shape: Vec<u64>,
    values: Cow<'a, [f32]>,
}

impl<'a> Tensor<'a> {
    fn of(matrix: &'a Matrix) -> Self {
        Self { shape: vec![matrix.rows as u64, matrix.columns as u64], values: Cow::Borrowed(&matrix.values) }
    }

    fn owned(matrix: Matrix) -> Self {
        Self { shape: vec![matrix.rows as u64, matrix.columns as u64], values: Cow::Owned(matrix.values) }
    }

    fn vector(values: &'a [f32]) -> Self {
        Self { shape: vec![values.len() as u64], values: Cow::Borrowed(values) }
    }

    fn row_len(&self) -> usize {
        self.shape.last().map_or(1, |n| *n as usize).max(1)
    }

    fn planned(&self, name: &str) -> StoredTensor {
        StoredTensor { name: name.to_owned(), stored_type: StoredType::F32, shape: self.shape.clone() }
    }
}
