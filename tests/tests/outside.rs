//! Plugins that nobody here knows: a workspace of its own with the stage, the family and the quantizer that
//! `ARCHITECTURE.md` shows, built in release beside a debug host, in a pipeline from a checkpoint to a GGUF.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tests::{Dir, target_dir};

/// The examples by crate, with what of this repository each depends on.
const CRATES: [(&str, &[&str]); 3] = [
    ("acme-stage", &["stage-api", "crates/stage-model"]),
    ("acme-family", &["crates/model", "crates/model-api"]),
    ("acme-quantizer", &["crates/model", "crates/model-api", "crates/blocks"]),
];

const VOCAB_SIZE: usize = 4104;
const HIDDEN_SIZE: usize = 64;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Rust code of a Markdown text, block by block.
fn rust_blocks(markdown: &str) -> Vec<&str> {
    markdown.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Writes and builds the workspace; it lies in the target directory, so only the first build takes time.
fn build() -> PathBuf {
    let root = target_dir().join("outside");
    let text = fs::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let blocks = rust_blocks(&text);
    assert_eq!(blocks.len(), CRATES.len(), "one example each");
    let members: Vec<&str> = CRATES.iter().map(|(name, _)| *name).collect();
    write(&root.join("Cargo.toml"), &format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n"));
    fs::copy(repository().join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
    for ((name, dependencies), code) in CRATES.iter().zip(blocks) {
        let mut manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
             [lib]\ncrate-type = [\"cdylib\"]\n\n[dependencies]\n"
        );
        for path in *dependencies {
            let package = path.rsplit('/').next().unwrap();
            manifest += &format!("{package} = {{ path = {:?} }}\n", repository().join(path));
        }
        write(&root.join(name).join("Cargo.toml"), &manifest);
        write(&root.join(name).join("src/lib.rs"), code);
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(&root).env("CARGO_TARGET_DIR", root.join("target"));
    let output = cargo.args(["build", "--release", "--offline"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    root.join("target/release")
}

/// Only what changed is written, or everything would be built again.
fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::write(path, text).unwrap();
}

/// A bigram model: two tensors in bf16, and a tokenizer cut to as many tokens.
fn model(dir: &Dir) {
    let config = json!({
        "model_type": "bigram", "architectures": ["BigramForCausalLM"],
        "vocab_size": VOCAB_SIZE, "hidden_size": HIDDEN_SIZE, "rms_norm_eps": 1e-5,
    });
    dir.write("model/config.json", config.to_string());
    let (matrix, vector) = (2 * VOCAB_SIZE * HIDDEN_SIZE, 2 * HIDDEN_SIZE);
    let header = json!({
        "model.embed_tokens.weight":
            { "dtype": "BF16", "shape": [VOCAB_SIZE, HIDDEN_SIZE], "data_offsets": [0, matrix] },
        "model.norm.weight": { "dtype": "BF16", "shape": [HIDDEN_SIZE], "data_offsets": [matrix, matrix + vector] },
    })
    .to_string();
    let length = (header.len() as u64).to_le_bytes();
    let one = [0x80, 0x3f]; // 1.0 as bf16
    let weights = one.repeat((matrix + vector) / 2);
    dir.write("model/model.safetensors", [&length[..], header.as_bytes(), &weights].concat());
    for file in ["tokenizer.json", "tokenizer_config.json"] {
        let golden = repository().join("crates/tokenizer/tests/golden/smollm2-cut").join(file);
        dir.write(&format!("model/{file}"), fs::read(golden).unwrap());
    }
}

#[test]
fn plugins_of_another_workspace_run_a_pipeline_end_to_end() {
    let plugins = build();
    let dir = Dir::new();
    model(&dir);
    let pipeline = format!(
        r#"
schema = 1
[pipeline]
name = "outside"
plugins = [{plugins:?}]

[stages.base]
uses = "fetch"
with = {{ source = "path:model" }}

[stages.check]
uses = "validate-arch"
inputs = {{ model = "base" }}

[stages.count]
uses = "count-weights"
inputs = {{ model = "base" }}

[stages.gguf]
uses = "convert-gguf"
inputs = {{ model = "base" }}
with = {{ quantizer = "plain" }}
"#
    );
    dir.write("outside.toml", pipeline);
    let run = dir.host().args(["run", "outside.toml", "--json"]).exits(0).json();
    let output = |stage: usize, port: &str| run["stages"][stage]["outputs"][port]["path"].as_str().unwrap().to_owned();

    let counted = fs::read_to_string(output(2, "report")).unwrap();
    let weights = VOCAB_SIZE * HIDDEN_SIZE + HIDDEN_SIZE;
    assert_eq!(counted, json!({ "weights": weights }).to_string());

    let gguf = fs::read(Path::new(&output(3, "model")).join("outside-plain.gguf")).unwrap();
    assert!(gguf.starts_with(b"GGUF"));
    // The matrix was copied as it lay, the vector became f32.
    assert!(gguf.ends_with(&[0, 0, 0x80, 0x3f].repeat(HIDDEN_SIZE)));
    assert!(gguf.len() > 2 * VOCAB_SIZE * HIDDEN_SIZE);
}
