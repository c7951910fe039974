//! The stage on a tiny model: what it measures, what it refuses.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use stage_api::{
    CatalogueEntry, Context, Description, Error, ExtensionHandle, Host, Input, Outcome, Request, Result, Severity,
    Stage, kind,
};

use crate::llama::{Model, Outputs, Session, SessionOptions};
use crate::stage::EvaluateGguf;
use crate::tiny::{Lora, Tiny};

struct Silent;

impl Host for Silent {
    fn progress(&self, _unit: &str, _done: u64, _total: u64) {}
    fn metric(&self, _name: &str, _step: u64, _value: f64) {}
    fn cancelled(&self) -> bool {
        false
    }
    fn catalogue(&self) -> Vec<CatalogueEntry> {
        Vec::new()
    }
    fn extension(&self, kind: &str, id: &str) -> Result<Arc<dyn ExtensionHandle>> {
        Err(Error::new("none", format!("no {kind} `{id}` in this test")))
    }
}

/// A directory with a model and whatever else a test writes into it.
struct Bench {
    directory: tempfile::TempDir,
    inputs: BTreeMap<String, Input>,
}

impl Bench {
    fn new(tiny: &Tiny) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let model = tiny.write(directory.path());
        let description = Description::exact(kind::MODEL, Value::Null).with_fact("container", "gguf");
        let input = Input { description, path: Some(model) };
        Self { directory, inputs: [("model".to_owned(), input)].into() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn context(&self, params: Value) -> Context {
        let request = Request {
            stage: "evaluate".into(),
            params,
            inputs: self.inputs.clone(),
            attempt: Some(self.path("attempt")),
            threads: 1,
            ..Request::default()
        };
        Context::new(request, Arc::new(Silent))
    }

    fn run(&self, params: Value) -> Result<Outcome> {
        EvaluateGguf.run(&self.context(params))
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("attempt/report/report.json")).unwrap()).unwrap()
    }
}

/// Logits of some text as the model itself gives them, `factor` times.
fn write_reference(model: &Path, directory: &Path, text: &str, factor: f32) {
    let model = Model::load(model, None).unwrap();
    let tokens = model.tokenize(text).unwrap();
    let options = SessionOptions { context: tokens.len(), batch: tokens.len(), threads: 1 };
    let mut session = Session::new(&model, options).unwrap();
    session.feed(&tokens, Outputs::All).unwrap();
    let bytes: Vec<u8> = session.logits().iter().flat_map(|x| (x * factor).to_le_bytes()).collect();
    let vocab_size = model.vocab_size();
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join("logits.f32"), bytes).unwrap();
    let layout = json!({"schema": 1, "rows": tokens.len(), "vocab_size": vocab_size, "dtype": "f32"});
    std::fs::write(directory.join("logits.json"), layout.to_string()).unwrap();
    let windows = json!({"windows": [tokens], "tokens": tokens.len(), "vocab_size": vocab_size});
    std::fs::write(directory.join("tokens.json"), windows.to_string()).unwrap();
}

const QUESTIONS: &str = concat!(
    r#"{"id": "any", "question": "What is it?", "required": [], "forbidden": ["never said, I hope"]}"#,
    "\n",
    r#"{"id": "none", "question": "And then?", "required": ["cannot be said by chance"]}"#,
    "\n"
);

#[test]
fn everything_is_measured() {
    let bench = Bench::new(&Tiny::default());
    let text = bench.file("text.txt", &"A lighthouse carries a bright lamp. ".repeat(12));
    let chat = r#"{"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}"#;
    let params = json!({
        "text": text, "window": 64, "chats": bench.file("chats.jsonl", chat),
        "questions": bench.file("questions.jsonl", QUESTIONS), "max_tokens": 8,
    });
    let outcome = bench.run(params).unwrap();
    let report = bench.report();
    // Made-up weights know nothing: about as many choices as there are tokens.
    assert!((200.0..500.0).contains(&report["text"]["perplexity"].as_f64().unwrap()), "{report:#}");
    // `So.` and what ends it.
    assert_eq!(report["chats"]["tokens"], 4);
    assert_eq!(report["answers"]["accuracy"], 0.5);
    assert_eq!(report["answers"]["answers"][0]["hit"], true);
    assert_eq!(report["answers"]["answers"][1]["missing"], json!(["cannot be said by chance"]));
    assert_eq!(report["model"]["vocab_size"], 260);
    assert_eq!(report["divergence"], Value::Null);
    assert_eq!(outcome.metrics["accuracy"], 0.5);
    assert!(outcome.metrics["generation_tokens_per_second"] > 0.0);
}

#[test]
fn a_file_does_not_diverge_from_its_own_logits() {
    let mut bench = Bench::new(&Tiny::default());
    write_reference(&bench.path("tiny.gguf"), &bench.path("reference"), &"some text to think of ".repeat(5), 1.0);
    let input = Input { description: Description::unknown(kind::LOGITS), path: Some(bench.path("reference")) };
    bench.inputs.insert("reference".into(), input);
    bench.run(json!({"max_kl": 1e-10})).unwrap();
    let divergence = &bench.report()["divergence"];
    assert!(divergence["max"].as_f64().unwrap() < 1e-10, "{divergence:#}");
    assert_eq!(divergence["top1_agreement"], 1.0);
    assert_eq!(divergence["perplexity"]["tokens"], divergence["tokens"].as_u64().unwrap() - 1);
}

#[test]
fn an_adapter_beside_its_base_is_the_merged_model() {
    let merged = Bench::new(&Tiny { merged: Some(Lora::ffn_down()), ..Tiny::default() });
    let mut bench = Bench::new(&Tiny::default());
    write_reference(&merged.path("tiny.gguf"), &bench.path("reference"), &"some text to think of ".repeat(5), 1.0);
    let input = Input { description: Description::unknown(kind::LOGITS), path: Some(bench.path("reference")) };
    bench.inputs.insert("reference".into(), input);
    let mean = |bench: &Bench| {
        bench.run(json!({})).unwrap();
        bench.report()["divergence"]["mean"].as_f64().unwrap()
    };
    assert!(mean(&bench) > 1e-4);
    let lora = Lora::ffn_down().write(bench.directory.path());
    let description = Description::exact(kind::ADAPTER, Value::Null).with_fact("container", "gguf");
    bench.inputs.insert("adapter".into(), Input { description, path: Some(lora) });
    assert!(mean(&bench) < 1e-9);
}

#[test]
fn a_gate_fails_after_the_report_is_written() {
    let mut bench = Bench::new(&Tiny::default());
    write_reference(&bench.path("tiny.gguf"), &bench.path("reference"), "some text to think of", 3.0);
    let input = Input { description: Description::unknown(kind::LOGITS), path: Some(bench.path("reference")) };
    bench.inputs.insert("reference".into(), input);
    let error = bench.run(json!({"max_kl": 1e-3})).unwrap_err();
    assert_eq!(error.code, "gate");
    assert!(error.message.contains("`max_kl` demands at most 0.001"), "{error}");
    assert!(bench.report()["divergence"]["mean"].as_f64().unwrap() > 1e-3);
    let questions = bench.file("questions.jsonl", QUESTIONS);
    let error = bench.run(json!({"questions": questions, "max_tokens": 4, "min_accuracy": 0.6})).unwrap_err();
    assert!(error.message.contains("accuracy is 0.5"), "{error}");
}

#[test]
fn results_do_not_depend_on_threads() {
    let bench = Bench::new(&Tiny::default());
    let text = bench.file("text.txt", &"The keeper climbs the stairs. ".repeat(12));
    let run = |threads: usize| {
        bench.run(json!({"text": text, "window": 48, "threads": threads})).unwrap();
        bench.report()["text"].clone()
    };
    assert_eq!(run(1), run(2));
}

#[test]
fn a_refused_file_is_explained_in_llama_cpps_words() {
    let bench = Bench::new(&Tiny { architecture: "martian", ..Tiny::default() });
    let error = bench.run(json!({})).unwrap_err();
    assert_eq!(error.code, "llama_cpp_refuses");
    assert!(error.message.contains("unknown model architecture: 'martian'"), "{error}");
    let whole = std::fs::read(bench.path("tiny.gguf")).unwrap();
    std::fs::write(bench.path("tiny.gguf"), &whole[..whole.len() / 2]).unwrap();
    let error = bench.run(json!({})).unwrap_err();
    assert!(error.message.contains("tiny.gguf") && error.message.contains("it says"), "{error}");
}

#[test]
fn broken_weights_are_no_perplexity() {
    let bench = Bench::new(&Tiny { poison: Some(f32::NAN), ..Tiny::default() });
    let error = bench.run(json!({})).unwrap_err();
    assert_eq!(error.code, "not_finite");
}

#[test]
fn questions_need_a_chat_template() {
    let bench = Bench::new(&Tiny { template: None, ..Tiny::default() });
    let questions = bench.file("questions.jsonl", QUESTIONS);
    let error = bench.run(json!({"questions": questions})).unwrap_err();
    assert!(error.message.contains("no `tokenizer.chat_template`"), "{error}");
    bench.run(json!({})).unwrap();
}

#[test]
fn planning_finds_bad_data_and_gates_that_nothing_feeds() {
    let bench = Bench::new(&Tiny::default());
    let questions = bench.file("questions.jsonl", "{\"question\": \"a\"}\n");
    let plan = EvaluateGguf.plan(&bench.context(json!({"questions": questions, "max_kl": 0.1}))).unwrap();
    let messages: Vec<&str> = plan.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(plan.findings.len(), 2, "{messages:?}");
    assert!(plan.findings.iter().all(|finding| finding.severity == Severity::Error));
    assert!(messages[0].contains("`max_kl` is set") && messages[1].contains("line 1"));
}
