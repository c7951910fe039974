//! What is odd about a GGUF is said when it is fetched, and what its user adds goes on with the model.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use checkpoint::gguf::Gguf;
use serde_json::Value;
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
    let found = report["stages"][0]["findings"].as_array().unwrap();
    found.iter().map(|f| format!("{} {}: {}", f["severity"], f["code"], f["message"])).collect()
}

/// The GGUF that a run's second stage made.
fn made(report: &Value) -> Gguf {
    let dir = PathBuf::from(report["stages"][1]["outputs"]["model"]["path"].as_str().unwrap());
    let mut files = dir.read_dir().unwrap().map(|e| e.unwrap().path());
    Gguf::open(&files.find(|p| p.extension().is_some_and(|e| e == "gguf")).unwrap()).unwrap()
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
    assert_eq!(made(&report).metadata().get::<&str>(PRE).unwrap(), None);

    dir.write("p.toml", pipeline(", pre = \"smollm\""));
    let report = dir.host().args(["run", "p.toml", "--json"]).exits(0).json();
    assert!(!missing(&findings(&report)), "{:?}", findings(&report));
    assert_eq!(made(&report).metadata().get::<&str>(PRE).unwrap(), Some("smollm"));
}
