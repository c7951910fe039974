//! Adapters that other libraries made of the tiny families' models, with what these compute (`tests/data/adapters/make.py`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::Dir;
use crate::checkpoint_edit::Tensors;

/// One of the adapters.
pub struct ForeignAdapter {
    data: PathBuf,
}

impl ForeignAdapter {
    /// The adapter of that name.
    pub fn named(name: &str) -> Self {
        Self { data: Path::new(env!("CARGO_MANIFEST_DIR")).join("data/adapters").join(name) }
    }

    /// Copies its files into `dir`.
    pub fn write(&self, dir: &Dir, name: &str) {
        for entry in self.data.read_dir().expect("the adapter's directory") {
            let path = entry.expect("an entry").path();
            let file = path.file_name().expect("a name").to_string_lossy().into_owned();
            if file != "golden.safetensors" {
                dir.write(&format!("{name}/{file}"), fs::read(&path).expect("a file"));
            }
        }
    }

    /// A tensor file of it.
    pub fn tensors(&self, file: &str) -> Tensors {
        Tensors::parse(&fs::read(self.data.join(file)).unwrap_or_else(|e| panic!("`{file}`: {e}")))
    }

    /// Its library's logits of the families' text, `(tokens, vocab_size)`.
    pub fn golden(&self) -> Vec<f32> {
        let mut tensors = self.tensors("golden.safetensors");
        let words = tensors.get("logits").data.chunks_exact(4);
        words.map(|w| f32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect()
    }
}
