//! What is odd about a GGUF is said when it is fetched, and what its user adds goes on with the model.
#![allow(clippy::unwrap_used)]

use checkpoint::gguf::Gguf;
use serde_json::Value;
use tests::report::{gguf_in, output};
use tests::{Dir, tiny_llama};

const PRE: &str = "tokenizer.ggml.pre";

/// A pipeline that fetches `tiny.gguf`, with `more` parameters, and converts it.
fn pipeline(more: &str) -> String {
    format!(
        "schema = 1\n[stages.base]\nuses = \"fetch\"\nwith = {{ source = \"path:tiny.gguf\"{more} }}\n\
         [stages.gguf]\nuses = \"convert-gguf\"\ninputs = {{ model = \"base\" }}\nwith = {{ quantizer = \"q8_0\" }}\n"
    )
}

/// What a run found while fetching, as codes and messages.
fn findings(report: &Value) -> Vec<String> {
    let found = stage(report, "base")["findings"].as_array().unwrap();
    found.iter().map(|f| format!("{} {}: {}", f["severity"], f["code"], f["message"])).collect()
}

/// A finished stage by its name.
fn stage<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["stages"].as_array().unwrap().iter().find(|s| s["stage"] == name).unwrap()
}

/// The GGUF that a stage made.
fn made(report: &Value, name: &str, port: &str) -> Gguf {
    Gguf::open(&gguf_in(&output(report, name, port))).unwrap()
}

/// Gives a key, or a tensor, another name of the same length.
fn rename(gguf: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let wanted = [&(from.len() as u64).to_le_bytes()[..], from.as_bytes()].concat();
    let at = gguf.windows(wanted.len()).position(|w| w == wanted).unwrap() + 8;
    gguf[at..at + to.len()].copy_from_slice(to.as_bytes());
}

#[test]
fn a_pre_tokenizer_that_is_missing_is_said_and_can_be_named() {
    let dir = Dir::new();
    let mut gguf = tiny_llama::gguf(1);
    rename(&mut gguf, PRE, "tokenizer.ggml.prx");
    dir.write("tiny.gguf", gguf);
    dir.write("p.toml", pipeline(""));
    let report = dir.host().args(["run", "p.toml", "--json"]).exits(0).json();
    let missing = |findings: &[String]| findings.iter().any(|f| f.starts_with("\"warning\" \"pre-tokenizer-missing\""));
    assert!(missing(&findings(&report)), "{:?}", findings(&report));
    assert_eq!(made(&report, "gguf", "model").metadata().get::<&str>(PRE).unwrap(), None);

    dir.write("p.toml", pipeline(", pre = \"smollm\""));
    let report = dir.host().args(["run", "p.toml", "--json"]).exits(0).json();
    assert!(!missing(&findings(&report)), "{:?}", findings(&report));
    assert_eq!(made(&report, "gguf", "model").metadata().get::<&str>(PRE).unwrap(), Some("smollm"));
}

const CHATS: &str = r#"{"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]}
{"messages": [{"role": "user", "content": "two"}, {"role": "assistant", "content": "three"}]}
"#;

/// A base with queries, keys and values in one matrix learns what the same base with three learns; its adapter changes
/// the one matrix, for llama.cpp looks for adapters by the names in the base's file.
#[test]
fn an_adapter_has_the_matrices_of_its_base() {
    let dir = Dir::new();
    dir.write("plain.gguf", tiny_llama::gguf(1));
    dir.write("fused.gguf", tiny_llama::fused_gguf(1));
    dir.write("chats.jsonl", CHATS);
    dir.write("text.txt", "some words to be read again, and read again. ".repeat(8));
    let of = |base: &str| {
        format!(
            "[stages.{base}]\nuses = \"fetch\"\nwith = {{ source = \"path:{base}.gguf\" }}\n\
             [stages.train-{base}]\nuses = \"train-candle\"\ninputs = {{ model = \"{base}\" }}\n\
             with = {{ data = \"chats.jsonl\", rank = 2, steps = 6, batch_size = 2, learning_rate = 0.1 }}\n\
             [stages.lora-{base}]\nuses = \"convert-gguf\"\ninputs = {{ adapter = \"train-{base}\" }}\n\
             [stages.logits-{base}]\nuses = \"logits\"\ninputs = {{ model = \"{base}\", adapter = \"train-{base}\" }}\n\
             with = {{ text = \"text.txt\", tokens = 64 }}\n\
             [stages.evaluate-{base}]\nuses = \"evaluate-gguf\"\n\
             inputs = {{ model = \"{base}\", adapter = \"lora-{base}.adapter\", reference = \"logits-{base}\" }}\n\
             with = {{ max_kl = 1e-8 }}\n\
             [stages.without-{base}]\nuses = \"evaluate-gguf\"\n\
             inputs = {{ model = \"{base}\", reference = \"logits-{base}\" }}\n"
        )
    };
    dir.write("p.toml", format!("schema = 1\n{}{}", of("plain"), of("fused")));
    let report = dir.host().args(["run", "p.toml", "--json"]).exits(0).json();
    let digest = |name: &str, port: &str| stage(&report, name)["outputs"][port]["digest"].clone();
    assert_eq!(digest("train-plain", "adapter"), digest("train-fused", "adapter"));
    assert_eq!(digest("logits-plain", "logits"), digest("logits-fused", "logits"));
    for base in ["plain", "fused"] {
        let kl = |name: &str| stage(&report, &format!("{name}-{base}"))["metrics"]["kl_mean"].as_f64().unwrap();
        assert!(kl("without") > 1e3 * kl("evaluate").max(1e-8), "{} and {}", kl("without"), kl("evaluate"));
    }
    let shape = |base: &str, name: &str| Some(made(&report, base, "adapter").get(name)?.0.shape.clone());
    assert_eq!(shape("lora-plain", "blk.1.attn_k.weight.lora_a"), Some(vec![2, 64]));
    assert_eq!(shape("lora-fused", "blk.1.attn_k.weight.lora_a"), None);
    assert_eq!(shape("lora-fused", "blk.1.attn_qkv.weight.lora_a"), Some(vec![6, 64]));
    assert_eq!(shape("lora-fused", "blk.1.attn_qkv.weight.lora_b"), Some(vec![128, 6]));
}
