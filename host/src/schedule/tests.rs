#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering;

use serde_json::json;

use super::fake::{Bench, stage};
use super::*;
use crate::report::{RunReport, Screen};
use crate::run::{RunLayout, RunRecord};

/// Plans and runs; what the workers did, and the report.
fn run(bench: &Bench) -> (Vec<String>, Result<RunReport, RunError>) {
    let layout = RunLayout::choose(Some(&bench.dir.path().join("run")), bench.dir.path(), "p");
    let mut record = RunRecord::start(layout, &bench.pipeline, 1).unwrap();
    let planner = bench.planner();
    let plan = planner.pipeline().unwrap();
    let result = Dispatcher::new(&planner, &mut record, &mut Screen::on_stderr()).run(&plan);
    let report = record.finish(0.0, None).unwrap();
    (bench.workers.take_jobs(), result.map(|()| report))
}

fn two_stages() -> Bench {
    let second = stage("second", &["first"], json!({"text": "b"}));
    Bench::new(vec![stage("first", &[], json!({"text": "a"})), second])
}

#[test]
fn everything_is_made_once() {
    let mut bench = two_stages();
    let (jobs, report) = run(&bench);
    assert_eq!(jobs, ["plan first", "plan second", "run first", "run second"]);
    let report = report.unwrap();
    let output = &report.stages[1].outputs["model"];
    assert_eq!(std::fs::read_to_string(&output.path).unwrap(), "a+b");
    let linked = bench.dir.path().join("run/outputs/second/model");
    assert_eq!(std::fs::read_to_string(linked).unwrap(), "a+b");

    let (jobs, report) = run(&bench);
    assert_eq!(jobs, ["plan first", "plan second"]);
    assert!(report.unwrap().stages.iter().all(|s| s.cached));

    bench.pipeline.stages[1].params["text"] = "c".into();
    let why = bench.planner().pipeline().unwrap().stages[1].state_words().1;
    assert_eq!(why, "parameter `text` changed");
    bench.workers.take_jobs();
    assert_eq!(run(&bench).0, ["plan first", "plan second", "run second"]);
}

#[test]
fn equal_contents_stop_a_change() {
    let mut bench = two_stages();
    run(&bench).1.unwrap();
    bench.pipeline.stages[0].params["note"] = "changes nothing".into();
    assert_eq!(run(&bench).0, ["plan first", "plan second", "run first"]);
}

#[test]
fn what_hangs_on_the_unknown_is_planned_again() {
    let mut bench = two_stages();
    bench.pipeline.stages[0].params["unknown"] = true.into();
    let (jobs, report) = run(&bench);
    assert_eq!(jobs, ["plan first", "run first", "plan second", "run second"]);
    assert!(!report.unwrap().stages[1].cached);
}

#[test]
fn a_late_refusal_stops_before_its_stage() {
    let mut bench = two_stages();
    bench.pipeline.stages[0].params["unknown"] = true.into();
    bench.pipeline.stages[1].params["finding"] = "does not fit".into();
    let (jobs, result) = run(&bench);
    assert_eq!(jobs, ["plan first", "run first", "plan second"]);
    assert!(matches!(result, Err(RunError::Refused { stage, .. }) if stage == "second"));
}

#[test]
fn a_failure_keeps_what_was_made() {
    let mut bench = two_stages();
    bench.pipeline.stages[1].params["fail"] = "broken".into();
    let (jobs, result) = run(&bench);
    assert_eq!(jobs.last().unwrap(), "run second");
    assert!(matches!(result, Err(RunError::Worker(_))));
    bench.pipeline.stages[1].params = json!({"text": "b"});
    assert_eq!(run(&bench).0, ["plan first", "plan second", "run second"]);
}

#[test]
fn a_finished_attempt_of_a_dead_host_is_adopted() {
    let bench = two_stages();
    run(&bench).1.unwrap();
    // The same attempt in another cache, as if its host had died right after the worker's last write.
    let other = two_stages();
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let options = ["-r", from.to_str().unwrap(), to.to_str().unwrap()];
        assert!(std::process::Command::new("cp").args(options).status().unwrap().success());
    };
    std::fs::remove_dir_all(other.store.root()).unwrap();
    copy(bench.store.root(), other.store.root());
    assert_eq!(run(&other).0, ["plan first", "plan second"]);
}

#[test]
fn an_unfinished_attempt_counts_for_nothing() {
    let bench = two_stages();
    run(&bench).1.unwrap();
    for stored in bench.store.list().unwrap() {
        assert!(stored.complete);
        std::fs::remove_file(stored.path.join("attempts/1/result.json")).unwrap();
    }
    assert_eq!(run(&bench).0, ["plan first", "plan second", "run first", "run second"]);
    let stored = bench.store.list().unwrap();
    assert!(
        stored.iter().all(|s| s.path.join("attempts/2/result.json").exists() && !s.path.join("attempts/1").exists())
    );
}

#[test]
fn a_stop_between_stages_is_heard() {
    let bench = two_stages();
    bench.cancel.store(true, Ordering::Relaxed);
    let (jobs, result) = run(&bench);
    assert_eq!(jobs, ["plan first", "plan second"]);
    assert!(matches!(result, Err(RunError::Cancelled)));
}
