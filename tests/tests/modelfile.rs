//! The Ollama `Modelfile` beside what is converted, and what is said where it cannot be whole.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use serde_json::Value;
use tests::checkpoint_edit::{in_one_file, write_model};
use tests::{Dir, Finished, tiny_llama};

const CONVERTED: &str = "schema = 1\n[pipeline]\nname = \"tiny\"\n\
    [stages.base]\nuses = \"fetch\"\nwith = { source = \"path:tiny\" }\n\
    [stages.fuse]\nuses = \"fuse\"\ninputs = { model = \"base\" }\n\
    [stages.gguf]\nuses = \"convert-gguf\"\ninputs = { model = \"fuse\" }\n";

/// The tiny model with another chat template; without one where there is none.
fn write_with_template(dir: &Dir, template: Option<&str>) {
    write_model(dir, "tiny", &in_one_file(tiny_llama::directory(1)), |_| {});
    let mut config = dir.json("tiny/tokenizer_config.json");
    config["chat_template"] = template.into();
    dir.write("tiny/tokenizer_config.json", config.to_string());
}

fn run(dir: &Dir) -> Finished {
    dir.host().args(["run", "p.toml", "--json"]).exits(0)
}

fn stage<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["stages"].as_array().unwrap().iter().find(|s| s["stage"] == name).unwrap()
}

/// What the stage `gguf` wrote beside its output `port`.
fn modelfile(report: &Value, port: &str) -> String {
    let output = &stage(report, "gguf")["outputs"][port]["path"];
    std::fs::read_to_string(PathBuf::from(output.as_str().unwrap()).join("Modelfile")).unwrap()
}

fn has_finding(stage: &Value) -> bool {
    let findings = stage["findings"].as_array().unwrap();
    findings.iter().any(|f| f["code"] == "no_ollama_template" && f["severity"] == "warning")
}

#[test]
fn a_known_chat_template_is_written_for_ollama() {
    let dir = Dir::new();
    dir.write("p.toml", CONVERTED);
    write_model(&dir, "tiny", &in_one_file(tiny_llama::directory(1)), |_| {});
    let report = run(&dir).json();
    let text = modelfile(&report, "model");
    assert!(text.starts_with("FROM ./tiny-f16.gguf\nTEMPLATE \"\"\"{{"), "{text}");
    assert!(text.contains("\nPARAMETER stop \"<|im_end|>\"\n"), "{text}");
    assert!(!has_finding(stage(&report, "gguf")), "{report:#}");
}

#[test]
fn an_unknown_chat_template_is_said_before_anything_runs() {
    let dir = Dir::new();
    dir.write("p.toml", CONVERTED);
    write_with_template(&dir, Some("{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"));
    let planned = dir.host().args(["plan", "p.toml", "--json"]).exits(0);
    assert!(has_finding(stage(&planned.json(), "gguf")), "{planned}");
    let ran = run(&dir);
    ran.complains("write `TEMPLATE` into the `Modelfile` by hand").complains("llama.cpp uses the chat template");
    let report = ran.json();
    assert!(has_finding(stage(&report, "gguf")), "{report:#}");
    let text = modelfile(&report, "model");
    assert!(text.contains("\n# Write it behind TEMPLATE by hand") && !text.contains("\nTEMPLATE"), "{text}");
}

#[test]
fn a_model_without_a_chat_template_needs_none() {
    let dir = Dir::new();
    dir.write("p.toml", CONVERTED);
    write_with_template(&dir, None);
    let report = run(&dir).json();
    assert!(!has_finding(stage(&report, "gguf")), "{report:#}");
    assert_eq!(modelfile(&report, "model"), "FROM ./tiny-f16.gguf\n# The model has no chat template.\n");
}

/// An adapter alone names what it was trained on, wherever that lies.
#[test]
fn the_base_of_an_adapter_stands_behind_from() {
    let dir = Dir::new();
    dir.write("somewhere/tiny.Q8.gguf", tiny_llama::gguf(1));
    dir.write(
        "chats.jsonl",
        r#"{"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]}"#,
    );
    dir.write(
        "p.toml",
        "schema = 1\n[pipeline]\nname = \"tiny\"\n\
         [stages.base]\nuses = \"fetch\"\nwith = { source = \"path:somewhere/tiny.Q8.gguf\" }\n\
         [stages.train]\nuses = \"train-candle\"\ninputs = { model = \"base\" }\n\
         with = { data = \"chats.jsonl\", rank = 2, steps = 1, batch_size = 1, learning_rate = 0.05 }\n\
         [stages.gguf]\nuses = \"convert-gguf\"\ninputs = { adapter = \"train\" }\n",
    );
    let text = modelfile(&run(&dir).json(), "adapter");
    assert!(text.ends_with("\nFROM ./tiny.Q8.gguf\nADAPTER ./tiny-lora.gguf\n"), "{text}");
    assert!(text.starts_with("# What the adapter was trained on: put it beside this file"), "{text}");
}
