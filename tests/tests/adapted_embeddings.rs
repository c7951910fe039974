//! Adapters of embeddings and heads, where the two are one matrix and where they are not: the logits that the adapter's own
//! library gives, merged, and in llama.cpp.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use tests::Dir;
use tests::adapters::{BASE, ForeignAdapter, HERE, PEFT, agrees, both, import, logits, prepared, run, stage, written};
use tests::checkpoint_edit::Tensors;
use tests::report::{divergence, output};

const MERGED: &str = "model = \"base\", adapter = \"adapter\"";

/// A GGUF of model and adapter, and what llama.cpp makes of it.
fn in_llama_cpp(inputs: &str) -> String {
    stage("gguf", "convert-gguf", inputs, "quantizer = \"f32\"") + &evaluated("model = \"gguf\"")
}

fn evaluated(inputs: &str) -> String {
    let inputs = format!("{inputs}, reference = \"beside\"");
    format!("[stages.evaluate]\nuses = \"evaluate-gguf\"\ninputs = {{ {inputs} }}\n")
}

#[track_caller]
fn diverges_at_most(report: &Value, bar: f64) {
    let divergence = divergence(report);
    assert!(divergence <= bar, "llama.cpp diverges by {divergence:.1e}");
}

/// Imports for `base`, merges, and lets llama.cpp run what comes of it.
#[track_caller]
fn check(adapter: &str, family: &str) -> (Dir, Value) {
    let dir = prepared(adapter, family);
    let merged = in_llama_cpp(MERGED);
    let report = run(&dir, &(BASE.to_owned() + &import("base", HERE) + &both("base") + &merged));
    agrees(&report, adapter, family);
    // Gemma's GELU is a table of f16 in llama.cpp.
    diverges_at_most(&report, if family == "gemma2" { 1e-5 } else { 1e-8 });
    (dir, report)
}

/// Names of the fused model's tensors, and whether its configuration ties embedding and head.
fn fused(report: &Value) -> (Tensors, Value) {
    let directory = output(report, "fuse", "model");
    let config = std::fs::read(directory.join("config.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    (
        Tensors::parse(&std::fs::read(directory.join("model.safetensors")).unwrap()),
        config["tie_word_embeddings"].clone(),
    )
}

#[test]
fn an_embedding_and_a_head_of_their_own() {
    let (_dir, report) = check("peft-embeddings", "mistral");
    let mut theirs = ForeignAdapter::named("peft-embeddings").tensors(PEFT);
    theirs.by_name().retain(|name, _| !name.contains("base_layer"));
    assert!(written(&report).by_name() == theirs.by_name(), "the factors are written as PEFT wrote them");
}

/// What is looked up stays, and what multiplies changes: the model has two matrices then.
#[test]
fn the_head_of_a_tied_pair() {
    let (_dir, report) = check("peft-tied-head", "qwen2");
    let (mut tensors, tie) = fused(&report);
    assert_eq!(tie, false);
    let [head, embedding] = ["lm_head.weight", "model.embed_tokens.weight"].map(|name| tensors.get(name).clone());
    assert_ne!(head.data, embedding.data);
}

#[test]
fn the_embedding_of_a_tied_pair() {
    let (_dir, report) = check("peft-tied-embedding", "llama3");
    assert_eq!(fused(&report).1, false);
}

/// PEFT's `ensure_weight_tying`: one matrix before and after.
#[test]
fn both_of_a_tied_pair_as_one() {
    let (_dir, report) = check("peft-weight-tying", "gemma2");
    let (mut tensors, tie) = fused(&report);
    assert_eq!(tie, true);
    assert!(!tensors.by_name().contains_key("lm_head.weight"));
    let config = std::fs::read_to_string(output(&report, "adapter", "adapter").join("adapter_config.json")).unwrap();
    assert!(config.contains("\"ensure_weight_tying\": true"), "{config}");
}

/// mlx-lm multiplies with the matrix that it looks up in.
#[test]
fn the_one_matrix_of_mlx() {
    let (_dir, report) = check("mlx-embedding", "qwen2");
    assert_eq!(fused(&report).1, true);
}

/// A GGUF has no word for "tied" but the head's absence, and gets one.
#[test]
fn a_tied_pair_of_a_gguf() {
    let dir = prepared("peft-tied-head", "qwen2");
    let base = stage("tied", "convert-gguf", "model = \"base\"", "quantizer = \"f32\"");
    let merged = in_llama_cpp("model = \"tied\", adapter = \"adapter\"");
    let report = run(&dir, &(BASE.to_owned() + &base + &import("base", HERE) + &both("tied") + &merged));
    agrees(&report, "peft-tied-head", "qwen2");
    diverges_at_most(&report, 1e-8);
}

/// llama.cpp looks up rows of one factor and multiplies by the other; the head is as any matrix. Imported again the
/// factors are the same.
#[test]
fn a_gguf_lora_of_both() {
    let dir = prepared("peft-embeddings", "mistral");
    let gguf = stage("gguf", "convert-gguf", "model = \"base\"", "quantizer = \"f32\"");
    let lora = stage("lora", "convert-gguf", "adapter = \"adapter\"", "");
    let beside = logits("beside", MERGED);
    let evaluate = evaluated("model = \"gguf\", adapter = \"lora.adapter\"");
    let report = run(&dir, &(BASE.to_owned() + &import("base", HERE) + &gguf + &lora + &beside + &evaluate));
    diverges_at_most(&report, 1e-8);
    let mut first = written(&report);

    let again = format!("source = \"path:{}\"", output(&report, "lora", "adapter").display());
    let report = run(&dir, &(BASE.to_owned() + &gguf + &import("gguf", &again) + &both("gguf")));
    agrees(&report, "peft-embeddings", "mistral");
    assert!(written(&report).by_name() == first.by_name());
}
