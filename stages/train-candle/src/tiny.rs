//! A tiny model for tests: two layers of the Llama kind, SmolLM2's tokenizer cut to few tokens, and a host that knows
//! the family of both.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use checkpoint::Checkpoint;
use checkpoint::safetensors::Writer;
use model::architecture::{
    Activation, Attention, Branch, Embedding, Experts, Glu, GluInput, Head, Layer, Linear, Norm, Rope, StackedLinear,
    Sublayer,
};
use model::description::{GgufHeader, Reading, StoredTensor, VocabularyKeys};
use model::inventory::{AdapterFacts, Dialect, Form, Presence, Role, TensorSpec};
use model::{Architecture, Expr, Inventory, StoredType};
use serde_json::{Value, json};
use stage_api::{CatalogueEntry, Context, Error, ExtensionHandle, Host, Input, Request, Result};
use stage_model::describe_model;
use tokenizer::Tokenizer;

const HIDDEN: u64 = 32;
const INTERMEDIATE: u64 = 48;
const HEADS: u64 = 4;
const KV_HEADS: u64 = 2;
const HEAD_DIM: u64 = 8;
/// What the cut tokenizer has.
const VOCAB: u64 = 4104;

fn linear(module: String, out_features: u64, in_features: u64) -> Linear {
    Linear { module, in_features, out_features, bias: false }
}

fn norm(module: &str) -> Norm {
    Norm { weight: format!("{module}.weight"), eps: 1e-5, weight_offset: 0.0 }
}

fn layer(i: usize) -> Layer {
    let at = |name: &str| format!("model.layers.{i}.{name}");
    let attention = Attention {
        q: linear(at("self_attn.q_proj"), HEADS * HEAD_DIM, HIDDEN),
        k: linear(at("self_attn.k_proj"), KV_HEADS * HEAD_DIM, HIDDEN),
        v: linear(at("self_attn.v_proj"), KV_HEADS * HEAD_DIM, HIDDEN),
        o: linear(at("self_attn.o_proj"), HIDDEN, HEADS * HEAD_DIM),
        num_heads: HEADS,
        num_kv_heads: KV_HEADS,
        head_dim: HEAD_DIM,
        scale: (HEAD_DIM as f32).powf(-0.5),
        rope: Some(Rope { theta: 10_000.0, factors: Vec::new(), attention_factor: 1.0 }),
        window: None,
        soft_cap: None,
        q_norm: None,
        k_norm: None,
    };
    let glu = Glu {
        input: GluInput::Separate {
            gate: linear(at("mlp.gate_proj"), INTERMEDIATE, HIDDEN),
            up: linear(at("mlp.up_proj"), INTERMEDIATE, HIDDEN),
        },
        down: linear(at("mlp.down_proj"), HIDDEN, INTERMEDIATE),
        activation: Activation::Silu,
    };
    let sublayer = |name: &str, branch| Sublayer {
        input_norm: norm(&at(name)),
        branches: vec![branch],
        output_norm: None,
        residual_scale: 1.0,
    };
    let mixer = sublayer("input_layernorm", Branch::Attention(attention));
    Layer { sublayers: vec![mixer, sublayer("post_attention_layernorm", Branch::Glu(glu))] }
}

/// What the tiny model computes.
pub fn architecture() -> Architecture {
    architecture_of(VOCAB)
}

fn architecture_of(vocab_size: u64) -> Architecture {
    let embedding = "model.embed_tokens.weight".to_owned();
    Architecture {
        vocab_size,
        hidden_size: HIDDEN,
        max_position_embeddings: 512,
        embedding: Embedding { weight: embedding.clone(), scale: 1.0 },
        layers: (0..2).map(layer).collect(),
        final_norm: norm("model.norm"),
        head: Head { weight: embedding, logit_scale: 1.0, soft_cap: None },
    }
}

fn spec(name: &str, shape: &[u64], role: Role, module: Option<&str>) -> TensorSpec {
    let facts = |module: &str| AdapterFacts {
        module: module.into(),
        input_axis: 1,
        output_axis: 0,
        expert_axis: None,
        parameter: None,
    };
    TensorSpec {
        heads: None,
        name: name.into(),
        shape: shape.to_vec(),
        role,
        layer: None,
        presence: Presence::Required,
        adapter: module.map(facts),
        forms: vec![Form { dialect: Dialect::Published, expr: Expr::tensor(name) }],
    }
}

/// The reading of a tiny model with `vocab_size` tokens.
pub fn reading(vocab_size: u64) -> Reading {
    reading_of(architecture_of(vocab_size))
}

/// A reading of the tiny model with experts in its second layer, as Granite has them.
pub fn mixture() -> Reading {
    const EXPERTS: u64 = 3;
    let mut architecture = architecture();
    let at = |module: &str| format!("model.layers.1.block_sparse_moe.{module}");
    let stacked = |module: &str, out_features, in_features| StackedLinear {
        module: at(module),
        num_experts: EXPERTS,
        in_features,
        out_features,
    };
    architecture.layers[1].sublayers[1].branches = vec![Branch::Experts(Experts {
        router: linear(at("router.layer"), EXPERTS, HIDDEN),
        experts_per_token: 2,
        gate_up: stacked("input_linear", 2 * INTERMEDIATE, HIDDEN),
        down: stacked("output_linear", HIDDEN, INTERMEDIATE),
        activation: Activation::Silu,
    })];
    let mut reading = reading_of(architecture);
    let parameters = [
        ("router.layer", "router.weight"),
        ("input_linear", "experts.gate_up_proj"),
        ("output_linear", "experts.down_proj"),
    ];
    for (module, parameter) in parameters.map(|(module, parameter)| (at(module), at(parameter))) {
        let adapters = reading.inventory.tensors.iter_mut().filter_map(|spec| spec.adapter.as_mut());
        adapters.filter(|facts| facts.module == module).for_each(|facts| facts.parameter = Some(parameter.clone()));
    }
    reading
}

fn reading_of(architecture: Architecture) -> Reading {
    let vocab_size = architecture.vocab_size;
    let mut tensors = vec![spec(&architecture.embedding.weight, &[vocab_size, HIDDEN], Role::Embedding, None)];
    for module in architecture.modules() {
        let shape = [module.out_features, module.in_features];
        let name = format!("{}.weight", module.path);
        let mut tensor = spec(&name, &shape, Role::GluUp, Some(module.path));
        if let (Some(experts), Some(facts)) = (module.experts, tensor.adapter.as_mut()) {
            tensor.shape.insert(0, experts);
            (facts.expert_axis, facts.output_axis, facts.input_axis) = (Some(0), 1, 2);
        }
        tensors.push(tensor);
    }
    let norms = architecture.layers.iter().flat_map(|layer| &layer.sublayers).map(|sublayer| &sublayer.input_norm);
    for norm in norms.chain([&architecture.final_norm]) {
        tensors.push(spec(&norm.weight, &[HIDDEN], Role::Norm, None));
    }
    Reading {
        family: "tiny".into(),
        dialect: Dialect::Published,
        architecture,
        inventory: Inventory { tensors, ignored: Vec::new(), gguf: Vec::new() },
        config: json!({ "model_type": "tiny" }),
        gguf: GgufHeader { architecture: "tiny".into(), metadata: Vec::new(), vocabulary: VocabularyKeys::Llama },
        assumed: Vec::new(),
        lost_in_gguf: Vec::new(),
        notes: Vec::new(),
    }
}

fn tokenizer_files() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../crates/tokenizer/tests/golden/smollm2-cut")
}

/// SmolLM2's tokenizer, cut to few tokens.
pub fn tokenizer() -> Tokenizer {
    Tokenizer::from_directory(&tokenizer_files()).unwrap()
}

/// The length of the difference of two vectors, relative to the second's.
pub fn apart(got: &[f32], want: &[f32]) -> f64 {
    let length = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = length(&mut got.iter().zip(want).map(|(a, b)| f64::from(a - b)));
    difference / length(&mut want.iter().map(|x| f64::from(*x)))
}

/// A directory with a tiny model in it, and a context over it.
pub struct Bench {
    pub directory: tempfile::TempDir,
    pub host: Arc<TinyHost>,
}

impl Bench {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        write_model(&directory.path().join("model"));
        Self { directory, host: Arc::default() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// A context of a stage on the model; `made` says whether it is there already.
    pub fn context(&self, params: Value, made: bool, threads: usize) -> Context {
        let path = self.path("model");
        let mut description = Checkpoint::open(&path).unwrap().describe();
        description.config = Some(json!({ "model_type": "tiny" }));
        let description = describe_model(&description, "tiny").unwrap();
        let request = Request {
            stage: "under-test".into(),
            params,
            inputs: BTreeMap::from([("model".into(), Input { description, path: made.then_some(path) })]),
            attempt: Some(self.path("attempt")),
            threads,
            ..Request::default()
        };
        Context::new(request, self.host.clone())
    }
}

fn write_model(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    for entry in std::fs::read_dir(tokenizer_files()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), directory.join(entry.file_name())).unwrap();
    }
    let tensors: Vec<StoredTensor> = reading(VOCAB)
        .inventory
        .tensors
        .into_iter()
        .map(|spec| StoredTensor { name: spec.name, stored_type: StoredType::F32, shape: spec.shape })
        .collect();
    let mut writer = Writer::create(&directory.join("model.safetensors"), &tensors, &BTreeMap::new()).unwrap();
    let mut state = 1u32;
    for tensor in &tensors {
        let is_norm = tensor.shape.len() == 1;
        let values = (0..tensor.values()).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let uniform = (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
            if is_norm { 1.0 + 0.1 * uniform } else { 0.4 * uniform }
        });
        let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        writer.write(&tensor.name, &bytes).unwrap();
    }
    writer.finish().unwrap();
}

/// A host that knows the tiny family and keeps the metrics.
#[derive(Default)]
pub struct TinyHost {
    metrics: Mutex<BTreeMap<String, Vec<(u64, f64)>>>,
    progress: Mutex<Vec<(u64, u64)>>,
    /// Says stop once so many points of progress were shown.
    pub stop_after: Mutex<Option<usize>>,
}

impl TinyHost {
    /// The points of a series.
    pub fn metric(&self, name: &str) -> Vec<(u64, f64)> {
        self.metrics.lock().unwrap().get(name).cloned().unwrap_or_default()
    }

    /// (done, total) in order.
    pub fn progress(&self) -> Vec<(u64, u64)> {
        self.progress.lock().unwrap().clone()
    }
}

impl Host for TinyHost {
    fn progress(&self, unit: &str, done: u64, total: u64) {
        assert_eq!(unit, "tokens");
        self.progress.lock().unwrap().push((done, total));
    }

    fn metric(&self, name: &str, step: u64, value: f64) {
        self.metrics.lock().unwrap().entry(name.into()).or_default().push((step, value));
    }

    fn cancelled(&self) -> bool {
        let shown = self.progress.lock().unwrap().len();
        self.stop_after.lock().unwrap().is_some_and(|stop| shown >= stop)
    }

    fn catalogue(&self) -> Vec<CatalogueEntry> {
        let claims = BTreeMap::from([("model_type".to_owned(), vec!["tiny".to_owned()])]);
        vec![CatalogueEntry { kind: "family".into(), id: "tiny".into(), plugin: "test".into(), claims }]
    }

    fn extension(&self, _: &str, _: &str) -> Result<Arc<dyn ExtensionHandle>> {
        Ok(Arc::new(TinyFamily))
    }
}

struct TinyFamily;

impl ExtensionHandle for TinyFamily {
    fn id(&self) -> &str {
        "tiny"
    }

    fn call(&self, _: &str, _: Value) -> Result<Value> {
        Ok(json!({ "model_api": "test", "body": serde_json::to_value(reading(VOCAB)).unwrap() }))
    }

    fn encode(&self, _: &str, _: &[f32], _: &[f32], _: &mut [u8]) -> Result<()> {
        Err(Error::new(Error::UNSUPPORTED, "no codec"))
    }

    fn decode(&self, _: &str, _: &[u8], _: &mut [f32]) -> Result<()> {
        Err(Error::new(Error::UNSUPPORTED, "no codec"))
    }
}
