//! Adapters that other libraries made of the tiny families' models, with what these compute (`tests/data/adapters/make.py`).

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Dir;
use crate::checkpoint_edit::Tensors;
use crate::family_models::{FamilyModel, Spelling, apart, read_logits};
use crate::report::output;

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

/// A pipeline's head, with the model of [`prepared`] as `base`.
pub const BASE: &str = "schema = 1\n[pipeline]\nname = \"tiny\"\n\
    [stages.base]\nuses = \"fetch\"\nwith = { source = \"path:model\" }\n";

/// Stage `adapter`, which imports for `base`.
pub fn import(base: &str, with: &str) -> String {
    format!("[stages.adapter]\nuses = \"import-adapter\"\ninputs = {{ model = \"{base}\" }}\nwith = {{ {with} }}\n")
}

/// Any stage.
pub fn stage(name: &str, uses: &str, inputs: &str, with: &str) -> String {
    format!("[stages.{name}]\nuses = \"{uses}\"\ninputs = {{ {inputs} }}\nwith = {{ {with} }}\n")
}

/// A stage of logits of the prepared text.
pub fn logits(name: &str, inputs: &str) -> String {
    stage(name, "logits", inputs, "text = \"text.txt\", tokens = 256, window = 256")
}

/// Logits of the adapter beside `base`, and of the two fused.
pub fn both(base: &str) -> String {
    let beside = format!("model = \"{base}\", adapter = \"adapter\"");
    logits("beside", &beside)
        + &stage("fuse", "fuse", &beside, "dtype = \"f32\"")
        + &logits("fused", "model = \"fuse\"")
}

/// Greatest difference of logits, as a share of their standard deviation.
pub const BAR: f64 = 5e-5;
/// mlx sums in another order than torch, whose own logits of the same merged weights are 6.4e-5 from those of
/// `mlx-square`, and 6e-6 from those of the others.
const MLX_SQUARE_BAR: f64 = 1e-4;

/// The logits of [`both`] are within the bar of what the adapter's own library computes.
#[track_caller]
pub fn agrees(report: &Value, adapter: &str, family: &str) {
    let golden = ForeignAdapter::named(adapter).golden();
    let bar = if adapter == "mlx-square" { MLX_SQUARE_BAR } else { BAR };
    let (_, plain) = FamilyModel::named(family).golden();
    assert!(apart(&golden, &plain) > 0.1, "the adapter changes nothing that could be seen");
    for stage in ["beside", "fused"] {
        let far = apart(&logits_of(report, stage), &golden);
        assert!(far <= bar, "{stage}: {far:.1e} of the deviation from its own library's");
    }
}

/// The factors that an import wrote.
pub fn written(report: &Value) -> Tensors {
    Tensors::parse(&fs::read(output(report, "adapter", "adapter").join(PEFT)).expect("an adapter"))
}

/// A directory with the model, the text and the adapter.
pub fn prepared(adapter: &str, family: &str) -> Dir {
    let (dir, model) = (Dir::new(), FamilyModel::named(family));
    model.write(&dir, "model", Spelling::Published);
    fs::copy(model.text(), dir.path("text.txt")).expect("a text");
    ForeignAdapter::named(adapter).write(&dir, "adapter");
    dir
}

/// The report of a pipeline that comes to its end.
pub fn run(dir: &Dir, pipeline: &str) -> Value {
    dir.write("p.toml", pipeline);
    dir.host().args(["run", "p.toml", "--json"]).exits(0).json()
}

/// What a stage of logits computed.
pub fn logits_of(report: &Value, stage: &str) -> Vec<f32> {
    read_logits(&output(report, stage, "logits")).1
}

/// mlx-lm's file of tensors.
pub const MLX: &str = "adapters.safetensors";
/// PEFT's.
pub const PEFT: &str = "adapter_model.safetensors";
/// One of PEFT's tensors.
pub const Q_A: &str = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight";
/// The prepared adapter as the source of [`import`].
pub const HERE: &str = "source = \"path:adapter\"";

/// Changes tensors of the prepared adapter.
pub fn tensors(dir: &Dir, file: &str, change: impl FnOnce(&mut Tensors)) {
    let path = format!("adapter/{file}");
    let mut tensors = Tensors::parse(&fs::read(dir.path(&path)).expect("a tensor file"));
    change(&mut tensors);
    dir.write(&path, tensors.bytes());
}

/// Changes the prepared adapter's configuration.
pub fn config(dir: &Dir, change: impl FnOnce(&mut Value)) {
    let mut keys = dir.json("adapter/adapter_config.json");
    change(&mut keys);
    dir.write("adapter/adapter_config.json", keys.to_string());
}
