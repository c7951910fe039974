//! A tensor may be stored under another shape in which its values lie the same; whatever would have to be moved is
//! refused, with the reason.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use tests::checkpoint_edit::{Tensors, in_one_file, write_model};
use tests::family_models::{FamilyModel, Spelling};
use tests::{Dir, tiny_llama};

const PLAN: i32 = 4;
const HIDDEN: u64 = 64;
const HEAD_DIM: u64 = 16;

/// Another shape for the tensor of that name and shape.
type Respell = fn(&str, &[u64]) -> Vec<u64>;

/// Every spelling that is read, with what is said of it.
const READ: [(&str, Respell, &str); 4] = [
    ("between", |_, shape| around(shape, &[1]), "stored with other dimensions of 1"),
    ("before", |_, shape| [&[1], shape].concat(), "stored with other dimensions of 1"),
    ("behind", |_, shape| [shape, &[1, 1]].concat(), "stored with other dimensions of 1"),
    ("heads", by_heads, "14 tensors are stored with a dimension of heads of its own"),
];

/// Before the last dimension.
fn around(shape: &[u64], more: &[u64]) -> Vec<u64> {
    let (last, outer) = shape.split_last().unwrap();
    [outer, more, &[*last]].concat()
}

/// `[heads, head_dim, hidden]` of queries, keys and values, of biases too, and `[hidden, heads, head_dim]` of outputs.
fn by_heads(name: &str, shape: &[u64]) -> Vec<u64> {
    let is_output = name.contains("self_attn.o_proj");
    match shape {
        [hidden, rest] if is_output => vec![*hidden, rest / HEAD_DIM, HEAD_DIM],
        [rows, rest @ ..] if name.contains("self_attn.") && !is_output => [&[rows / HEAD_DIM, HEAD_DIM], rest].concat(),
        shape => shape.to_vec(),
    }
}

#[test]
fn every_spelling_gives_the_same_model() {
    let dir = Dir::new();
    let mut model = in_one_file(tiny_llama::directory(1));
    // Biases are split by heads as rows are; the checkpoint gets some.
    for layer in 0..2 {
        for (module, rows) in [("q_proj", HIDDEN), ("k_proj", HIDDEN / 2), ("v_proj", HIDDEN / 2), ("o_proj", HIDDEN)] {
            let name = |part: &str| format!("model.layers.{layer}.self_attn.{module}.{part}");
            let mut bias = model.0.get(&name("weight")).clone();
            (bias.shape, bias.data) = (vec![rows], bias.data[..4 * rows as usize].to_vec());
            model.0.by_name().insert(name("bias"), bias);
        }
    }
    let biased = |config: &mut Value| config["attention_bias"] = true.into();
    let bytes = model.0.bytes();
    write_model(&dir, "plain", &model, biased);
    for (spelling, respell, _) in READ {
        let mut other = (Tensors::parse(&bytes), model.1.clone());
        for (name, tensor) in other.0.by_name() {
            tensor.shape = respell(name, &tensor.shape);
        }
        write_model(&dir, spelling, &other, biased);
    }
    dir.write("text.txt", "some words to be read again, and read again. ".repeat(4));
    let spellings = READ.map(|(spelling, ..)| spelling);
    let pipeline: String = std::iter::once("plain").chain(spellings).map(stages).collect();
    dir.write("p.toml", format!("schema = 1\n{pipeline}"));
    let report = dir.host().args(["run", "p.toml", "--json"]).exits(0).json();

    for (spelling, _, said) in READ {
        let findings = stage(&report, spelling)["findings"].to_string();
        assert!(findings.contains(said), "{findings}");
        for (made, port) in [("logits", "logits"), ("fuse", "model"), ("gguf", "model"), ("q8", "model")] {
            let digest = |of: &str| stage(&report, &format!("{made}-{of}"))["outputs"][port]["digest"].clone();
            assert!(digest("plain").is_string());
            assert_eq!(digest(spelling), digest("plain"), "{spelling}: {made}");
        }
    }
    assert!(!stage(&report, "plain")["findings"].to_string().contains("stored with"));
}

fn stages(model: &str) -> String {
    let stage = |id: &str, uses: &str, with: &str| {
        format!("[stages.{id}-{model}]\nuses = \"{uses}\"\ninputs = {{ model = \"{model}\" }}\nwith = {{ {with} }}\n")
    };
    format!("[stages.{model}]\nuses = \"fetch\"\nwith = {{ source = \"path:{model}\" }}\n")
        + &stage("logits", "logits", "text = \"text.txt\", tokens = 32")
        + &stage("fuse", "fuse", "dtype = \"f32\"")
        + &stage("gguf", "convert-gguf", "quantizer = \"f32\", name = \"tiny\"")
        + &stage("q8", "convert-gguf", "quantizer = \"q8_0\", name = \"tiny\"")
}

fn stage<'a>(report: &'a Value, stage: &str) -> &'a Value {
    report["stages"].as_array().unwrap().iter().find(|s| s["stage"] == stage).unwrap()
}

/// Plans on a model with a tensor under another shape.
#[track_caller]
fn refused(name: &str, shape: &[u64], says: &str) {
    let dir = Dir::new();
    let mut model = in_one_file(tiny_llama::directory(1));
    let name = format!("model.layers.1.{name}.weight");
    model.0.get(&name).shape = shape.to_vec();
    write_model(&dir, "tiny", &model, |_| {});
    dir.write("p.toml", "schema = 1\n[stages.base]\nuses = \"fetch\"\nwith = { source = \"path:tiny\" }\n");
    let failed = dir.host().args(["plan", "p.toml"]).exits(PLAN);
    failed.complains(&format!("tensor `{name}` has shape {shape:?}, the configuration asks for")).complains(says);
}

#[test]
fn what_would_have_to_be_transposed_is_refused() {
    for shape in [&[96, 64][..], &[96, 1, 64], &[1, 96, 64], &[96, 64, 1]] {
        refused("mlp.down_proj", shape, "asks for [64, 96]: it is transposed, so its values lie in another order");
    }
    refused("self_attn.k_proj", &[64, 32], "asks for [32, 64]: it is transposed");
    for (module, shape, read) in [
        ("q_proj", [16, 4, 64], "[4, 16, 64]"),
        ("q_proj", [64, 4, 16], "[4, 16, 64]"),
        ("k_proj", [16, 2, 64], "[2, 16, 64]"),
        ("v_proj", [64, 2, 16], "[2, 16, 64]"),
        ("o_proj", [4, 16, 64], "[64, 4, 16]"),
        ("o_proj", [64, 16, 4], "[64, 4, 16]"),
    ] {
        let says = format!("or {read} by heads: its heads lie in another order, so do its values");
        refused(&format!("self_attn.{module}"), &shape, &says);
    }
}

#[test]
fn other_dimensions_are_refused() {
    refused("mlp.down_proj", &[32, 2, 96], "asks for [64, 96]");
    refused("self_attn.q_proj", &[2, 32, 64], "asks for [64, 64]");
    refused("mlp.down_proj", &[64 * 96], "asks for [64, 96]");
}

/// Heads of as many features as there are heads: nothing says which comes first.
#[test]
fn equal_dimensions_are_not_guessed_at() {
    let dir = Dir::new();
    let mut model = in_one_file(tiny_llama::directory(1));
    let name = "model.layers.0.self_attn.q_proj.weight";
    model.0.get(name).shape = vec![8, 8, 64];
    for layer in 0..2 {
        for module in ["k_proj", "v_proj"] {
            let tensor = model.0.get(&format!("model.layers.{layer}.self_attn.{module}.weight"));
            (tensor.shape, tensor.data) = (vec![16, 64], tensor.data[..4 * 16 * 64].to_vec());
        }
    }
    let heads = |config: &mut Value| {
        config["num_attention_heads"] = 8.into();
        config["head_dim"] = 8.into();
    };
    write_model(&dir, "tiny", &model, heads);
    dir.write("p.toml", "schema = 1\n[stages.base]\nuses = \"fetch\"\nwith = { source = \"path:tiny\" }\n");
    let failed = dir.host().args(["plan", "p.toml"]).exits(PLAN);
    failed.complains("or [8, 8, 64] by heads: of equal dimensions nothing says which comes first");
    failed.complains("store it as [64, 64]");
    model.0.get(name).shape = vec![64, 1, 64];
    write_model(&dir, "tiny", &model, heads);
    dir.host().args(["plan", "p.toml"]).exits(0);
}

/// A convolution's kernel has a dimension of 1, which mlx-lm and others put elsewhere.
#[test]
fn a_kernel_has_its_single_row_anywhere() {
    let dir = Dir::new();
    FamilyModel::named("granite4-h").write(&dir, "model", Spelling::Published);
    dir.write("p.toml", "schema = 1\n[stages.base]\nuses = \"fetch\"\nwith = { source = \"path:model\" }\n");
    let file = std::fs::read(dir.path("model/model.safetensors")).unwrap();
    let kernel = "model.layers.0.mamba.conv1d.weight";
    let [channels, 1, width] = Tensors::parse(&file).get(kernel).shape[..] else { panic!("a kernel") };
    for (shape, code) in [
        (vec![channels, width, 1], 0),
        (vec![channels, width], 0),
        (vec![1, channels, width], 0),
        (vec![width, 1, channels], PLAN),
        (vec![width, channels], PLAN),
    ] {
        let mut tensors = Tensors::parse(&file);
        tensors.get(kernel).shape = shape;
        dir.write("model/model.safetensors", tensors.bytes());
        let planned = dir.host().args(["plan", "p.toml"]).exits(code);
        if code == PLAN {
            planned.complains("it is transposed, so its values lie in another order");
        }
    }
}
