//! Writing an adapter directory that PEFT loads.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use model::StoredType;
use model::description::StoredTensor;

use super::read::{A_SUFFIX, B_SUFFIX, PREFIX};
use super::{Adapter, CONFIG_FILE, Error, Matrix, Problem, WEIGHTS_FILE};
use crate::partial_file::PartialFile;
use crate::safetensors::{self, Writer};

impl Adapter {
    /// Writes matrices in `f32` and the configuration into `dir`, which exists; the same adapter gives the same bytes.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        self.check().map_err(|problem| Error::at(dir, problem))?;
        let matrices = self.named_matrices();
        let planned: Vec<_> = matrices.iter().map(|(name, matrix)| planned(name, matrix)).collect();
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let weights = || -> Result<(), safetensors::Error> {
            let mut writer = Writer::create(&dir.join(WEIGHTS_FILE), &planned, &metadata)?;
            for (name, matrix) in &matrices {
                for row in matrix.values.chunks(matrix.columns.max(1)) {
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

    /// Every matrix under PEFT's name, in the order of names.
    fn named_matrices(&self) -> BTreeMap<String, &Matrix> {
        let both = self.modules.iter().flat_map(|(module, lora)| {
            [(format!("{PREFIX}{module}{A_SUFFIX}"), &lora.a), (format!("{PREFIX}{module}{B_SUFFIX}"), &lora.b)]
        });
        both.collect()
    }
}

fn planned(name: &str, matrix: &Matrix) -> StoredTensor {
    let shape = vec![matrix.rows as u64, matrix.columns as u64];
    StoredTensor { name: name.to_owned(), stored_type: StoredType::F32, shape }
}
