#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::disks::disk_uses;
use super::*;
use crate::platform::Disk;
use crate::schedule::fake::{Bench, stage};

/// Findings as `stage: code: message`, and each stage's state.
fn check(bench: &Bench) -> (Vec<String>, Vec<(&'static str, String)>) {
    let plan = bench.planner().pipeline().unwrap();
    let shown = |(stage, f): (Option<&str>, &Finding)| format!("{}: {}: {}", stage.unwrap_or("-"), f.code, f.message);
    let states = plan.stages.iter().map(StagePlan::state_words).collect();
    (plan.findings().map(shown).collect(), states)
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn descriptions_flow_and_nothing_is_made() {
    let bench = Bench::new(vec![stage("a", &[], json!({"text": "x"})), stage("b", &["a"], json!({"text": "y"}))]);
    let plan = bench.planner().pipeline().unwrap();
    assert_eq!(plan.stages[1].plan.outputs["model"].body, json!("x+y"));
    assert_eq!(bench.workers.take_jobs(), ["plan a", "plan b"]);
    let states = check(&bench).1;
    assert_eq!(states, [("run", "it was never made".to_owned()), ("run", "`a` is made before it".to_owned())]);
    assert!(bench.store.list().unwrap().is_empty());
}

#[test]
fn what_needs_the_unknown_waits() {
    let bench = Bench::new(vec![
        stage("a", &[], json!({"unknown": true})),
        stage("b", &["a"], json!({})),
        stage("c", &["b"], json!({})),
    ]);
    let (findings, states) = check(&bench);
    assert_eq!(findings, none());
    assert_eq!(states[1], ("later", "it is planned when `a` is made".to_owned()));
    assert_eq!(states[2], ("later", "it is planned when `b` is made".to_owned()));
}

#[test]
fn ports_constrain_facts() {
    let mut bench = Bench::new(vec![stage("a", &[], json!({"text": "x"})), stage("b", &["a"], json!({}))]);
    let port = &mut bench.pipeline.stages[1].offer.signature.inputs[0];
    *port = port.clone().requires("container", &["gguf", "safetensors"]);
    let wanted = "b: unfit_input: input `a` takes `container` = `gguf` or `safetensors`, but `a` has `text`";
    assert_eq!(check(&bench).0, [wanted]);
}

#[test]
fn over_memory_and_over_disk_are_refused() {
    let bench = Bench::new(vec![
        stage("a", &[], json!({"memory": 1001, "disk": 600})),
        stage("b", &["a"], json!({"memory": 1000, "disk": 401})),
    ]);
    let wanted = [
        "a: over_memory: needs 1.00 kB of memory, and there are 1.00 kB",
        "-: over_disk: the stages write 1.00 kB, and the disk has 1.00 kB free",
    ];
    assert_eq!(check(&bench).0, wanted);
    assert!(bench.planner().pipeline().unwrap().is_refused());
}

#[test]
fn every_disk_is_looked_at_by_itself() {
    let stages = [("/hub/one", 300), ("/hub/two", 400), ("/same/hub", 500)];
    let stages = stages.map(|(at, disk)| stage(&at.replace('/', "-"), &[], json!({ "disk": disk, "disk_at": at })));
    let bench = Bench::new(stages.into_iter().chain([stage("a", &[], json!({ "disk": 501 }))]).collect());
    let disk = |device, free| Some(Disk { device, free });
    let disk_of = |path: &std::path::Path| if path.starts_with("/hub") { disk(7, 699) } else { disk(8, 1) };
    let plan = bench.planner().pipeline().unwrap();
    let uses = disk_uses(&plan.stages, disk(8, 1000), disk_of);
    let shown: Vec<_> = uses.iter().map(|u| (u.directory.as_deref().and_then(|d| d.to_str()), u.needed)).collect();
    assert_eq!(shown, [(None, 1001), (Some("/hub/one"), 700)]);
    let messages: Vec<String> = uses.iter().filter_map(checks::disk).map(|f| f.message).collect();
    let wanted = [
        "the stages write 1.00 kB, and the disk has 1.00 kB free",
        "the stages write 700 B into `/hub/one`, and its disk has 699 B free",
    ];
    assert_eq!(messages, wanted);
}

#[test]
fn a_stage_that_says_no_is_a_finding_and_a_crash_is_not() {
    let mut bench = Bench::new(vec![stage("a", &[], json!({"fail_plan": "not here"})), stage("b", &[], json!({}))]);
    let (findings, states) = check(&bench);
    assert_eq!(findings, ["a: bad: not here"]);
    assert_eq!(states[0].0, "refused");
    bench.pipeline.stages[1].params = json!({"crash": true});
    assert!(matches!(bench.planner().pipeline(), Err(PlanError::Worker(_))));
}

#[test]
fn a_path_is_keyed_by_content() {
    let dir = tempfile::tempdir().unwrap();
    let key = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let bench = Bench::new(vec![stage("a", &[], json!({"data": path}))]);
        let plan = bench.planner().pipeline().unwrap();
        let State::Run { key: Some(parts), .. } = &plan.stages[0].state else { panic!("{:?}", plan.stages[0].state) };
        parts.key()
    };
    assert_eq!(key("one", "same"), key("two", "same"));
    assert_ne!(key("one", "same"), key("one", "other"));
}
