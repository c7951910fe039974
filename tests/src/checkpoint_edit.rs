//! Files of a model, changed on purpose: a tensor less, a value that is no number, a header that lies.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::Dir;
use crate::tiny_llama::Files;

/// Tensors of a safetensors file by name, as the format lays them out: a JSON header, then the data.
pub struct Tensors {
    by_name: BTreeMap<String, Tensor>,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// The format's name of the type: `F32`.
    pub dtype: String,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Values, little-endian.
    pub data: Vec<u8>,
}

impl Tensors {
    /// Reads a file's bytes.
    pub fn parse(file: &[u8]) -> Self {
        let (length, rest) = file.split_first_chunk::<8>().expect("a header's length");
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let mut header: BTreeMap<String, Value> = serde_json::from_slice(header).expect("a JSON header");
        header.remove("__metadata__");
        let tensor = |(name, entry): (String, Value)| {
            let number = |v: &Value| v.as_u64().expect("a whole number");
            let [from, to] = [0, 1].map(|i| number(&entry["data_offsets"][i]) as usize);
            let tensor = Tensor {
                dtype: entry["dtype"].as_str().expect("a type").into(),
                shape: entry["shape"].as_array().expect("a shape").iter().map(number).collect(),
                data: data[from..to].to_vec(),
            };
            (name, tensor)
        };
        Self { by_name: header.into_iter().map(tensor).collect() }
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let (mut header, mut data) = (BTreeMap::new(), Vec::new());
        for (name, tensor) in &self.by_name {
            let from = data.len();
            data.extend(&tensor.data);
            let entry = json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [from, data.len()] });
            header.insert(name, entry);
        }
        let header = serde_json::to_vec(&header).expect("a header");
        [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
    }

    /// Tensors by name.
    pub fn by_name(&mut self) -> &mut BTreeMap<String, Tensor> {
        &mut self.by_name
    }

    /// A tensor that is there.
    pub fn get(&mut self, name: &str) -> &mut Tensor {
        self.by_name.get_mut(name).unwrap_or_else(|| panic!("no tensor `{name}`"))
    }
}

impl Tensor {
    /// Sets one value of a matrix of `f32`.
    pub fn set(&mut self, row: usize, column: usize, value: f32) {
        let columns = *self.shape.last().expect("a matrix") as usize;
        let at = 4 * (row * columns + column);
        self.data[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Widens `bf16` to `f32`.
    pub fn widen(&mut self) {
        self.dtype = "F32".into();
        self.data = self.data.chunks_exact(2).flat_map(|half| [0, 0, half[0], half[1]]).collect();
    }

    /// Cuts `f32` to `bf16`.
    pub fn cut_to_bf16(&mut self) {
        self.dtype = "BF16".into();
        self.data = self.data.chunks_exact(4).flat_map(|v| [v[2], v[3]]).collect();
    }
}

/// The tiny model in one file, so that its tensors can be changed freely.
pub fn in_one_file(files: Files) -> (Tensors, Files) {
    let (mut tensors, mut others) = (Tensors { by_name: BTreeMap::new() }, Files::new());
    for (name, content) in files {
        match name.as_str() {
            shard if shard.ends_with(".safetensors") => tensors.by_name.extend(Tensors::parse(&content).by_name),
            "model.safetensors.index.json" | "pytorch_model.bin" => {}
            _ => others.push((name, content)),
        }
    }
    (tensors, others)
}

/// Writes a model's directory; `config` changes its configuration.
pub fn write_model(dir: &Dir, name: &str, (tensors, files): &(Tensors, Files), config: impl FnOnce(&mut Value)) {
    dir.write(&format!("{name}/model.safetensors"), tensors.bytes());
    for (file, content) in files {
        dir.write(&format!("{name}/{file}"), content);
    }
    let mut keys = dir.json(&format!("{name}/config.json"));
    config(&mut keys);
    dir.write(&format!("{name}/config.json"), keys.to_string());
}

/// Where a GGUF's header describes a tensor: after the name come the number of dimensions, the dimensions, the type
/// and the offset.
pub struct TensorInfo {
    /// Where the type lies.
    pub stored_type: usize,
    /// Where the offset lies.
    pub offset: usize,
}

impl TensorInfo {
    /// Finds the description of `name` in a GGUF.
    pub fn find(gguf: &[u8], name: &str) -> Self {
        let wanted = [&(name.len() as u64).to_le_bytes()[..], name.as_bytes()].concat();
        let start = gguf.windows(wanted.len()).position(|w| w == wanted).expect("the tensor's name");
        let dimensions = start + wanted.len();
        let stored_type = dimensions + 4 + 8 * usize::from(gguf[dimensions]);
        Self { stored_type, offset: stored_type + 4 }
    }
}
