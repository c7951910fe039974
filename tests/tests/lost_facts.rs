//! What would change a model's answers without a word: facts that a GGUF cannot carry, a head that is not the embedding,
//! layers that are not stored, more experts than there are. Through the real binary each is refused, or comes back as it
//! was.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use tests::checkpoint_edit::Tensors;
use tests::family_models::{FamilyModel, Spelling};
use tests::report::{gguf_in, output};
use tests::{Dir, Finished};

const PLAN: i32 = 4;
const STAGE: i32 = 5;

/// A directory with the model, its configuration changed.
fn model(family: &str, change: impl FnOnce(&mut Value)) -> Dir {
    let dir = Dir::new();
    FamilyModel::named(family).write(&dir, "model", Spelling::Published);
    let text = std::fs::read_to_string(dir.path("model/config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    change(&mut config);
    dir.write("model/config.json", config.to_string());
    dir
}

fn convert(dir: &Dir, command: &str, code: i32) -> Finished {
    let pipeline = "schema = 1\n[stages.base]\nuses = \"fetch\"\nwith = { source = \"path:model\" }\n\
                    [stages.gguf]\nuses = \"convert-gguf\"\ninputs = { model = \"base\" }\nwith = { quantizer = \"f32\" }\n";
    dir.write("p.toml", pipeline);
    dir.host().args([command, "p.toml"]).exits(code)
}

fn says(finished: &Finished, words: &[&str]) {
    let text = finished.to_string();
    words.iter().for_each(|word| assert!(text.contains(word), "`{word}` is not in {text}"));
}

#[test]
fn converting_says_what_a_gguf_cannot_carry() {
    let hybrid = model("granite4-h", |config| config["time_step_limit"] = json!([0.0, 0.02]));
    says(&convert(&hybrid, "plan", PLAN), &["a GGUF cannot carry `time_step_limit", "so answers change"]);
    // Beyond the window alone, so it is said and done.
    let windowed = model("mistral", |_| {});
    says(&convert(&windowed, "plan", 0), &["a GGUF cannot carry `sliding_window"]);
}

#[test]
fn a_head_beside_a_tied_embedding_repeats_it() {
    let with_head = |change: fn(&mut Vec<u8>), code| {
        let dir = model("llama3", |config| config["tie_word_embeddings"] = json!(true));
        let mut tensors = Tensors::parse(&std::fs::read(dir.path("model/model.safetensors")).unwrap());
        let mut head = tensors.by_name()["model.embed_tokens.weight"].clone();
        change(&mut head.data);
        tensors.by_name().insert("lm_head.weight".into(), head);
        dir.write("model/model.safetensors", tensors.bytes());
        convert(&dir, "run", code)
    };
    says(&with_head(|_| {}, 0), &["must be the same"]);
    says(&with_head(|data| data[0] ^= 1, STAGE), &["`lm_head.weight` is not read", "its values are others"]);
}

#[test]
fn layers_are_no_more_than_what_is_stored() {
    let dir = model("llama3", |config| config["num_hidden_layers"] = json!(1_000_000_000));
    says(&convert(&dir, "plan", PLAN), &["num_hidden_layers", "1000000000", "no more layers than the"]);
}

/// llama.cpp aborts on such a file.
#[test]
fn no_more_experts_are_chosen_than_there_are() {
    let dir = model("granite3-moe", |config| config["num_experts_per_tok"] = json!(100));
    says(&convert(&dir, "plan", PLAN), &["`num_experts_per_tok` is 100, expected at most the 6 experts"]);
}

/// What is divided by them must be a number.
#[test]
fn divisors_are_numbers() {
    let dir = model("granite3", |config| config["logits_scaling"] = json!(1e-45));
    says(&convert(&dir, "plan", PLAN), &["`1 / logits_scaling` is 7136", "expected a positive number"]);

    let dir = model("llama3", |_| {});
    convert(&dir, "run", 0);
    let report = dir.host().args(["run", "p.toml", "--json"]).exits(0).json();
    let gguf = gguf_in(&output(&report, "gguf", "model"));
    let mut bytes = std::fs::read(&gguf).unwrap();
    dir.write("p.toml", "schema = 1\n[stages.base]\nuses = \"fetch\"\nwith = { source = \"path:model.gguf\" }\n");
    let file = checkpoint::gguf::Gguf::open(&gguf).unwrap();
    let factors = file.get("rope_freqs.weight").unwrap().1;
    let at = bytes.windows(factors.len()).position(|window| window == factors).unwrap();
    for (value, says_so) in [
        (f32::NAN, "`rope_freqs.weight` of the model is NaN, expected a number"),
        (0.0, "`rope_freqs.weight[1]` is 0, expected a divisor"),
        (1e-45, "`rope_freqs.weight[1]` is 0.000"),
    ] {
        bytes[at + 4..at + 8].copy_from_slice(&value.to_le_bytes());
        dir.write("model.gguf", &bytes);
        says(&dir.host().args(["plan", "p.toml"]).exits(PLAN), &[says_so]);
    }
}

/// transformers takes no fraction for it, not even one of zero.
#[test]
fn a_number_that_no_gguf_has_comes_back_as_transformers_wants_it() {
    let dir = model("gemma2", |_| {});
    let said = dir.json("model/config.json")["query_pre_attn_scalar"].clone();
    let pipeline = "schema = 1\n[stages.base]\nuses = \"fetch\"\nwith = { source = \"path:model\" }\n\
                    [stages.gguf]\nuses = \"convert-gguf\"\ninputs = { model = \"base\" }\nwith = { quantizer = \"f32\" }\n\
                    [stages.back]\nuses = \"fuse\"\ninputs = { model = \"gguf\" }\n";
    dir.write("p.toml", pipeline);
    let report = dir.host().args(["run", "p.toml", "--json"]).exits(0).json();
    let back = output(&report, "back", "model").join("config.json");
    let config: Value = serde_json::from_slice(&std::fs::read(back).unwrap()).unwrap();
    assert!(config["query_pre_attn_scalar"].is_u64(), "{config:#}");
    assert_eq!(config["query_pre_attn_scalar"], said);
}
