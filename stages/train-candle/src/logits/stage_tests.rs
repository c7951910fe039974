//! The stage on a tiny model.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::{Value, json};
use stage_api::{Certainty, Stage};

use super::Logits;
use crate::tiny::Bench;

const TEXT: &str = "The sky is blue, a bird sings, and the rain falls on the house by the river. ";

fn params(bench: &Bench) -> Value {
    json!({ "text": bench.file("text.txt", &TEXT.repeat(4)), "tokens": 40, "window": 16 })
}

fn bytes_in(directory: &Path) -> u64 {
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn what_is_planned_is_what_is_made() {
    let bench = Bench::new();
    let ctx = bench.context(params(&bench), true, 2);
    let plan = Logits.plan(&ctx).unwrap();
    let planned = &plan.outputs["logits"];
    assert_eq!(planned.certainty, Certainty::Exact);
    assert_eq!((&planned.body["tokens"], &planned.body["windows"]), (&json!(40), &json!(3)));

    let outcome = Logits.run(&ctx).unwrap();
    assert_eq!(&outcome.outputs["logits"], planned);
    let made = bench.path("attempt/logits");
    assert_eq!(Some(bytes_in(&made)), planned.bytes);
    assert_eq!(plan.estimate.disk, planned.bytes);
    let values = std::fs::read(made.join("logits.f32")).unwrap();
    assert_eq!(values.len(), 40 * 4104 * 4);
    let row = |i: usize| &values[i * 4104 * 4..][..4104 * 4];
    let tokens: Value = serde_json::from_slice(&std::fs::read(made.join("tokens.json")).unwrap()).unwrap();
    assert_eq!(tokens["windows"][2].as_array().unwrap().len(), 8);
    assert_ne!(row(0), row(1));
}

#[test]
fn windows_do_not_see_each_other() {
    let first_row = |tokens: u64, window: u64| {
        let bench = Bench::new();
        let mut params = params(&bench);
        (params["tokens"], params["window"]) = (tokens.into(), window.into());
        Logits.run(&bench.context(params, true, 1)).unwrap();
        std::fs::read(bench.path("attempt/logits/logits.f32")).unwrap()
    };
    let (short, long) = (first_row(8, 8), first_row(24, 8));
    assert_eq!(short[..], long[..short.len()]);
    let wide = first_row(24, 24);
    assert_eq!(short[..], wide[..short.len()]);
    assert_ne!(long, wide);
}

#[test]
fn of_a_planned_model_no_more_is_promised_than_asked_for() {
    let bench = Bench::new();
    let plan = Logits.plan(&bench.context(params(&bench), false, 2)).unwrap();
    let bounded = &plan.outputs["logits"];
    assert_eq!(bounded.certainty, Certainty::Bounded);
    let exact = Logits.plan(&bench.context(params(&bench), true, 2)).unwrap();
    assert!(bounded.bytes >= exact.outputs["logits"].bytes);
    assert_eq!(plan.findings[0].code, "bounded");
}

#[test]
fn a_text_without_words_is_refused() {
    let bench = Bench::new();
    let with = json!({ "text": bench.file("empty.txt", "a") });
    let error = Logits.plan(&bench.context(with, true, 2)).unwrap_err();
    assert!(error.message.contains("not even two tokens"), "{error}");
    let error = Logits.plan(&bench.context(json!({ "text": "/no/such/text" }), true, 2)).unwrap_err();
    assert_eq!(error.code, "bad_data");
}
