//! The stage on a tiny model: what it plans, what it makes, what it refuses.

#![allow(clippy::unwrap_used)]

use checkpoint::adapter::Adapter;
use serde_json::{Value, json};
use stage_api::{Certainty, Severity, Stage};

use super::TrainCandle;
use crate::tiny::{Bench, apart};

const CHATS: [&str; 6] =
    ["one two three", "the sky is blue", "a bird sings", "rain falls", "hello there", "good to know"];

fn chats(bench: &Bench) -> String {
    let line = |answer: &&str| {
        json!({"messages": [{"role": "user", "content": "Say it"}, {"role": "assistant", "content": answer}]})
            .to_string()
    };
    let text: Vec<String> = CHATS.iter().map(line).collect();
    bench.file("chats.jsonl", &text.join("\n")).display().to_string()
}

fn params(bench: &Bench, more: Value) -> Value {
    let mut params = json!({ "data": chats(bench), "rank": 4, "batch_size": 2, "epochs": 4, "learning_rate": 1e-2 });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

fn made(bench: &Bench) -> Adapter {
    Adapter::read(&bench.path("attempt/adapter")).unwrap()
}

#[test]
fn what_is_planned_is_what_is_made() {
    let bench = Bench::new();
    let with = params(&bench, json!({ "eval_split": 0.2, "dropout": 0.1, "target_modules": ["q_proj", "down_proj"] }));
    let ctx = bench.context(with, true, 2);
    let plan = TrainCandle.plan(&ctx).unwrap();
    assert!(plan.findings.iter().all(|finding| finding.severity == Severity::Note), "{:?}", plan.findings);
    assert!(plan.findings[0].message.contains("6 samples"), "{:?}", plan.findings);
    assert_eq!(plan.numeric_mode.as_deref(), Some("f32/f32"));
    let planned = &plan.outputs["adapter"];
    assert_eq!(planned.certainty, Certainty::Exact);

    let outcome = TrainCandle.run(&ctx).unwrap();
    assert_eq!(&outcome.outputs["adapter"], planned);
    assert_eq!(outcome.metrics["steps"], 12.0);
    assert!(outcome.metrics["eval_loss"].is_finite());
    let adapter = made(&bench);
    assert_eq!(adapter.modules.len(), 4);
    assert_eq!((adapter.config.r, adapter.config.lora_alpha), (4, 8.0));
    assert!(adapter.modules.values().all(|module| module.b.values.iter().any(|value| *value != 0.0)));
    let losses = bench.host.metric("loss");
    assert!(losses[11].1 < losses[0].1, "{losses:?}");
    let (done, total) = *bench.host.progress().last().unwrap();
    assert_eq!(done, total);
}

fn trained(more: Value, threads: usize) -> Adapter {
    let bench = Bench::new();
    TrainCandle.run(&bench.context(params(&bench, more), true, threads)).unwrap();
    made(&bench)
}

#[test]
fn threads_do_not_change_what_is_learned() {
    let one = trained(json!({ "dropout": 0.2 }), 1);
    assert_eq!(one, trained(json!({ "dropout": 0.2 }), 2));
    assert_ne!(one, trained(json!({ "dropout": 0.2, "seed": 7 }), 2));
}

#[test]
fn accumulation_does_not_change_what_is_learned() {
    // Four samples at once, or one after the other; the epoch's second step has the two that are left.
    let at_once = trained(json!({ "dropout": 0.2, "batch_size": 4 }), 2);
    let more = json!({ "dropout": 0.2, "batch_size": 1, "gradient_accumulation_steps": 4 });
    let accumulated = trained(more, 2);
    for (module, want) in &at_once.modules {
        let got = &accumulated.modules[module];
        for (part, got, want) in [("A", &got.a, &want.a), ("B", &got.b, &want.b)] {
            let apart = apart(&got.values, &want.values);
            assert!(apart < 1e-6, "{part} of `{module}` differs by {apart:e}");
        }
    }
}

#[test]
fn training_goes_on_from_an_adapter() {
    let bench = Bench::new();
    TrainCandle.run(&bench.context(params(&bench, json!({})), true, 2)).unwrap();
    let first = made(&bench);
    std::fs::rename(bench.path("attempt/adapter"), bench.path("first")).unwrap();
    let more = json!({ "init_adapter": bench.path("first"), "learning_rate": 0.0, "rank": 9 });
    let ctx = bench.context(params(&bench, more), true, 2);
    let plan = TrainCandle.plan(&ctx).unwrap();
    assert_eq!(plan.outputs, TrainCandle.run(&ctx).unwrap().outputs);
    let more = made(&bench);
    assert!(more.modules == first.modules);
    assert!(more.config.target_modules.iter().eq(first.modules.keys()), "{:?}", more.config.target_modules);
}

/// What chose the modules, a pattern or layers, is held against the factors, and written as what it chose.
#[test]
fn an_adapter_is_taken_as_peft_takes_it() {
    let bench = Bench::new();
    TrainCandle.run(&bench.context(params(&bench, json!({ "target_modules": ["q_proj"] })), true, 2)).unwrap();
    std::fs::rename(bench.path("attempt/adapter"), bench.path("first")).unwrap();
    let path = bench.path("first/adapter_config.json");
    let plan = |key: &str, value: serde_json::Value| {
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let before = config.clone();
        config[key] = value;
        std::fs::write(&path, config.to_string()).unwrap();
        let ctx = bench.context(params(&bench, json!({ "init_adapter": bench.path("first") })), true, 2);
        let result = TrainCandle.run(&ctx).map(|_| made(&bench).config.target_modules).map_err(|e| e.to_string());
        std::fs::write(&path, before.to_string()).unwrap();
        result
    };
    let named = plan("target_modules", json!("(?!.*mlp).*(?<=q)_proj")).unwrap();
    assert_eq!(named, ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"]);
    for (key, value) in [
        ("target_modules", json!(["k_proj"])),
        ("layers_to_transform", json!([0])),
        ("exclude_modules", json!(["q_proj"])),
    ] {
        let refused = plan(key, value).unwrap_err();
        assert!(refused.contains(&format!("`{key}` leaves it out")), "{refused}");
    }
    assert!(plan("target_modules", json!(null)).unwrap_err().contains("names no module"));
}

#[test]
fn a_model_that_is_not_made_yet_is_planned_at_most() {
    let bench = Bench::new();
    let with = params(&bench, json!({ "max_length": 64 }));
    let plan = TrainCandle.plan(&bench.context(with.clone(), false, 2)).unwrap();
    assert_eq!(plan.findings.iter().map(|finding| finding.code.as_str()).collect::<Vec<_>>(), ["bounded"]);
    let exact = TrainCandle.plan(&bench.context(with, true, 2)).unwrap();
    assert_eq!(plan.outputs, exact.outputs);
    assert!(plan.estimate.memory > exact.estimate.memory && plan.estimate.flops > exact.estimate.flops);
}

#[test]
fn mistakes_are_findings_all_at_once() {
    let bench = Bench::new();
    bench.file("bad.jsonl", "{\"text\": \"fine words\"}\n{\"text\": 1}\n");
    let with = params(&bench, json!({ "data": bench.path("bad.jsonl"), "target_modules": ["qkv"] }));
    let plan = TrainCandle.plan(&bench.context(with.clone(), true, 2)).unwrap();
    let codes: Vec<_> = plan.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["unknown_target_module", "bad_data"]);
    assert!(plan.findings.iter().all(|finding| finding.severity == Severity::Error));
    assert!(plan.findings[1].message.contains("line 2: `text` is a number"), "{:?}", plan.findings[1]);
    let error = TrainCandle.run(&bench.context(with, true, 2)).unwrap_err();
    assert_eq!(error.code, "unknown_target_module");
    assert!(!bench.path("attempt").exists());
}

#[test]
fn a_diverging_run_names_its_step_and_keeps_nothing() {
    let bench = Bench::new();
    let with = params(&bench, json!({ "learning_rate": 1e30, "warmup_ratio": 0.0, "max_grad_norm": 0.0 }));
    let error = TrainCandle.run(&bench.context(with, true, 2)).unwrap_err();
    assert_eq!(error.code, "diverged", "{error}");
    assert!(error.message.contains("step 2 of 12"), "{error}");
    assert!(error.help.unwrap().contains("learning_rate"));
    assert!(!bench.path("attempt").exists());
}

#[test]
fn it_stops_on_request_between_steps() {
    let bench = Bench::new();
    *bench.host.stop_after.lock().unwrap() = Some(3);
    let error = TrainCandle.run(&bench.context(params(&bench, json!({})), true, 2)).unwrap_err();
    assert_eq!(error.code, stage_api::Error::CANCELLED);
    assert_eq!(bench.host.metric("loss").len(), 3);
    assert!(!bench.path("attempt").exists());
}
