//! Tiny random models of every family, with what transformers computes from them (`tests/data/families/make.py`), and
//! PEFT adapters of those with experts (`adapters.py`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Dir;
use crate::checkpoint_edit::{Tensor, Tensors};

/// One of the models.
pub struct FamilyModel {
    data: PathBuf,
}

/// How a model's directory is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// As on the hub.
    Published,
    /// As transformers 5 saves it.
    Transformers5,
    /// As mlx-lm saves it.
    Mlx,
}

impl FamilyModel {
    /// The model of that name.
    pub fn named(name: &str) -> Self {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/families");
        Self { data: data.join(name) }
    }

    /// Writes its directory.
    pub fn write(&self, dir: &Dir, name: &str, spelling: Spelling) {
        let read = |file: &str| fs::read(self.data.join(file)).unwrap_or_else(|e| panic!("`{file}`: {e}"));
        let config = if spelling == Spelling::Transformers5 { "config.v5.json" } else { "config.json" };
        dir.write(&format!("{name}/config.json"), read(config));
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            dir.write(&format!("{name}/{file}"), read(file));
        }
        let mut tensors = Tensors::parse(&read("model.safetensors"));
        if spelling == Spelling::Mlx {
            to_mlx(tensors.by_name());
        }
        dir.write(&format!("{name}/model.safetensors"), tensors.bytes());
    }

    /// A tensor that mlx-lm saves otherwise.
    pub fn has_mlx_spelling(&self) -> bool {
        let file = fs::read(self.data.join("model.safetensors")).expect("the model");
        let mut tensors = Tensors::parse(&file);
        tensors
            .by_name()
            .keys()
            .any(|name| ["conv1d.weight", "block_sparse_moe.", "shared_mlp."].iter().any(|part| name.contains(part)))
    }

    /// The text that the golden logits are of.
    pub fn text(&self) -> PathBuf {
        self.data.with_file_name("text.txt")
    }

    /// Whether a mixture of experts is in it.
    pub fn has_experts(&self) -> bool {
        let mut tensors = Tensors::parse(&fs::read(self.data.join("model.safetensors")).expect("the model"));
        tensors.by_name().keys().any(|name| name.contains("block_sparse_moe."))
    }

    /// Ids of the text, and transformers' logits, `(tokens, vocab_size)`.
    pub fn golden(&self) -> (Vec<u64>, Vec<f32>) {
        self.logits("golden.safetensors")
    }

    /// The directory of an adapter that PEFT saved.
    pub fn adapter(&self) -> PathBuf {
        self.data.join("adapter")
    }

    /// Ids of the text, and PEFT's logits with that adapter.
    pub fn adapted(&self) -> (Vec<u64>, Vec<f32>) {
        self.logits("adapted.safetensors")
    }

    fn logits(&self, file: &str) -> (Vec<u64>, Vec<f32>) {
        let mut tensors = self.tensors(file);
        let ids = words(tensors.get("ids")).map(|w| u64::from(u32::from_le_bytes(w))).collect();
        (ids, words(tensors.get("logits")).map(f32::from_le_bytes).collect())
    }

    /// Where experts are chosen: the smallest distance of all tokens and layers between the last chosen and the first
    /// unchosen router logit in transformers, and how far rounding moves a router logit there.
    pub fn router_margin(&self) -> Option<(f32, f32)> {
        let config = fs::read(self.data.join("config.json")).expect("a configuration");
        let config: Value = serde_json::from_slice(&config).expect("JSON");
        config["num_local_experts"].as_u64().filter(|experts| *experts > 0)?;
        let mut tensors = self.tensors("golden.safetensors");
        let mut value = |name: &str| words(tensors.get(name)).map(f32::from_le_bytes).next().expect("a value");
        Some((value("router_margin"), value("router_rounding")))
    }

    fn tensors(&self, file: &str) -> Tensors {
        Tensors::parse(&fs::read(self.data.join(file)).expect("golden values"))
    }
}

fn words(tensor: &Tensor) -> impl Iterator<Item = [u8; 4]> {
    tensor.data.chunks_exact(4).map(|w| [w[0], w[1], w[2], w[3]])
}

/// mlx-lm has gate and up of experts apart, those of the shared network where there are no experts, and the convolution's
/// kernel in the middle.
fn to_mlx(tensors: &mut BTreeMap<String, Tensor>) {
    let has_experts = tensors.keys().any(|name| name.contains("block_sparse_moe."));
    for (name, mut tensor) in std::mem::take(tensors) {
        let renamed = |from: &str, to: &str| name.replace(from, to);
        if name.ends_with("conv1d.weight") {
            tensor.shape.swap(1, 2);
            tensors.insert(name, tensor);
        } else if name.ends_with("block_sparse_moe.input_linear.weight") {
            for (half, part) in ["gate", "up"].iter().zip(halves(&tensor)) {
                tensors.insert(renamed("input_linear", &format!("switch_mlp.{half}_proj")), part);
            }
        } else if name.ends_with("block_sparse_moe.output_linear.weight") {
            tensors.insert(renamed("output_linear", "switch_mlp.down_proj"), tensor);
        } else if !has_experts && name.ends_with("shared_mlp.input_linear.weight") {
            for (half, part) in ["gate", "up"].iter().zip(halves(&tensor)) {
                tensors.insert(renamed("shared_mlp.input_linear", &format!("mlp.{half}_proj")), part);
            }
        } else if !has_experts && name.ends_with("shared_mlp.output_linear.weight") {
            tensors.insert(renamed("shared_mlp.output_linear", "mlp.down_proj"), tensor);
        } else {
            tensors.insert(name, tensor);
        }
    }
}

/// The first and the second half of the rows, of every expert's where there are experts.
fn halves(tensor: &Tensor) -> [Tensor; 2] {
    let experts: u64 = tensor.shape.iter().rev().skip(2).product();
    let expert = tensor.data.len() / experts as usize;
    let mut shape = tensor.shape.clone();
    let rows = shape.len() - 2;
    shape[rows] /= 2;
    [0, 1].map(|half| {
        let of_expert = |data: &[u8]| data[half * expert / 2..(half + 1) * expert / 2].to_vec();
        let data = tensor.data.chunks_exact(expert).flat_map(of_expert).collect();
        Tensor { dtype: tensor.dtype.clone(), shape: shape.clone(), data }
    })
}

/// Ids and rows of a `logits` artifact.
pub fn read_logits(artifact: &Path) -> (Vec<u64>, Vec<f32>) {
    let tokens = fs::read_to_string(artifact.join("tokens.json")).expect("tokens");
    let tokens: Value = serde_json::from_str(&tokens).expect("JSON");
    let windows = tokens["windows"].as_array().expect("windows").iter();
    let ids = windows.flat_map(|w| w.as_array().expect("ids")).map(|id| id.as_u64().expect("an id")).collect();
    let bytes = fs::read(artifact.join("logits.f32")).expect("logits");
    let values = bytes.chunks_exact(4).map(|w| f32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
    (ids, values)
}

/// The greatest difference, as a share of the standard deviation of `expected`.
pub fn apart(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let n = expected.len() as f64;
    let mean = expected.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let variance = expected.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
    let differences = got.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()));
    differences.fold(0.0, f64::max) / variance.sqrt()
}
