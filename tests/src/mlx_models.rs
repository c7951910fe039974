//! Tiny random models that mlx-lm quantized, with what transformers and numpy make of them (`tests/data/mlx/make.py`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Dir;
use crate::checkpoint_edit::{Tensor, Tensors};
use crate::tiny_llama::Files;

/// Files beside the checkpoint that say what to expect of it.
const EXPECTED: [&str; 2] = ["golden.safetensors", "values.json"];

/// One of the models.
pub struct MlxModel {
    data: PathBuf,
}

impl MlxModel {
    /// The model of that name.
    pub fn named(name: &str) -> Self {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mlx");
        Self { data: data.join(name) }
    }

    /// The files that mlx-lm wrote.
    pub fn files(&self) -> Files {
        let entries = fs::read_dir(&self.data).unwrap_or_else(|e| panic!("`{}`: {e}", self.data.display()));
        let names = entries.map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned());
        let names = names.filter(|name| !EXPECTED.contains(&name.as_str()));
        names.map(|name| (name.clone(), self.read(&name))).collect()
    }

    /// Writes its directory, as mlx-lm did.
    pub fn write(&self, dir: &Dir, name: &str) {
        for (file, content) in self.files() {
            dir.write(&format!("{name}/{file}"), content);
        }
    }

    /// The text that the golden logits are of.
    pub fn text(&self) -> PathBuf {
        self.data.with_file_name("text.txt")
    }

    /// Ids of the text, and transformers' logits on the dequantized weights, `(tokens, vocab_size)`.
    pub fn golden(&self) -> (Vec<u64>, Vec<f32>) {
        let mut tensors = Tensors::parse(&self.read("golden.safetensors"));
        let words = |tensor: &Tensor| tensor.data.chunks_exact(4).map(|w| [w[0], w[1], w[2], w[3]]).collect::<Vec<_>>();
        let ids = words(tensors.get("ids")).into_iter().map(|w| u64::from(u32::from_le_bytes(w))).collect();
        (ids, words(tensors.get("logits")).into_iter().map(f32::from_le_bytes).collect())
    }

    /// SHA-256 of every canonical tensor's values in f32.
    pub fn values(&self) -> BTreeMap<String, String> {
        serde_json::from_slice(&self.read("values.json")).expect("digests")
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(self.data.join(file)).unwrap_or_else(|e| panic!("`{file}`: {e}"))
    }
}

/// SHA-256 of every tensor's bytes.
pub fn digests(tensors: &mut Tensors) -> BTreeMap<String, String> {
    let digest = |data: &[u8]| Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
    tensors.by_name().iter().map(|(name, tensor)| (name.clone(), digest(&tensor.data))).collect()
}
