//! Pipelines of the toy plugin, planned and run by the real binary.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::Value;
use tests::{Dir, HostCommand, host_test};

const TWO: &str = r#"schema = 1
[pipeline]
name = "demo"
[vars]
times = 2
[stages.first]
uses = "toy-write"
with = { text = "ab", repeat = "${times}" }
[stages.second]
uses = "toy/toy-write"
inputs = { before = "first" }
with = { text = "cd", voice = "shout" }
"#;

/// Which stages were made, by a run's `--json`.
fn made(report: &Value) -> Vec<&str> {
    let stages = report["stages"].as_array().unwrap().iter();
    stages.filter(|s| s["cached"] == false).map(|s| s["stage"].as_str().unwrap()).collect()
}

fn text_of(report: &Value, stage: usize) -> String {
    std::fs::read_to_string(report["stages"][stage]["outputs"]["note"]["path"].as_str().unwrap()).unwrap()
}

host_test!(a_run_ends_with_outputs_by_path, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", TWO);
    let report = host.args(["run", "p.toml", "--json"]).exits(0).json();
    assert_eq!(made(&report), ["first", "second"]);
    assert_eq!(text_of(&report, 1), "ababCD");
    assert!(Path::new(report["run_dir"].as_str().unwrap()).starts_with(dir.path("runs/demo").canonicalize().unwrap()));

    let again = dir.host().args(["run", "p.toml"]).exits(0);
    assert!(again.stdout.contains("first   cached"), "{again}");
    again.complains("everything is there already");
});

host_test!(the_run_directory_tells_everything, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", TWO);
    host.args(["run", "p.toml", "--run-dir", "run", "--set", "vars.times=3"]).exits(0);
    assert_eq!(dir.read("run/outputs/second/note"), "abababCD");
    assert!(dir.read("run/resolved.toml").contains("repeat = 3"));
    assert!(dir.read("run/stages/first/log.txt").contains("INFO  toy::write: writing {\"repeat\":3}"));
    assert!(dir.read("run/report.html").contains("<polyline"));
    let points: Vec<Value> = dir.read("run/metrics.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((&points[1]["name"], &points[1]["value"]), (&"length".into(), &2.0.into()));
    let lineage = &dir.json("run/lineage.json")["stages"]["second"];
    assert_eq!(lineage["extensions"][0]["id"], "shout");
    assert!(lineage["parts"]["extensions"]["toy/shout"].is_string());
    assert!(dir.read("run/events.jsonl").lines().all(|l| serde_json::from_str::<Value>(l).is_ok()));

    // The resolved pipeline is the same run again.
    let report = dir.host().args(["run", "run/resolved.toml", "--json"]).exits(0).json();
    assert_eq!(made(&report), [""; 0]);
});

host_test!(only_what_a_change_reaches_is_made_again, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", TWO);
    host.args(["run", "p.toml"]).exits(0);
    let run = |change: &str| dir.host().args(["run", "p.toml", "--json", "--set", change]).exits(0);
    assert_eq!(made(&run("stages.second.with.text=ef").json()), ["second"]);
    // A pause changes no result, so it is no part of the key.
    assert_eq!(made(&run("stages.first.with.pause_ms=1").json()), [""; 0]);
    let changed = run("vars.times=5");
    assert_eq!(made(&changed.json()), ["first", "second"]);
    changed.complains("parameter `repeat` changed").complains("input `before` changed");
});

host_test!(a_path_is_part_of_the_key_by_content, |dir: Dir, host: HostCommand| {
    let pipeline = "schema = 1\n[stages.a]\nuses = \"toy-write\"\nwith = { text = \"!\", file = \"in/x.txt\" }\n";
    dir.write("p.toml", pipeline);
    host.args(["plan", "p.toml"]).exits(3).complains("there is no file or directory").complains("p.toml:4:");
    dir.write("in/x.txt", "one");
    let run = |file: &str| dir.host().args(["run", file, "--json"]).exits(0).json();
    assert_eq!(text_of(&run("p.toml"), 0), "one!");
    dir.write("elsewhere/in/x.txt", "one");
    dir.write("elsewhere/p.toml", pipeline);
    assert_eq!(made(&run("elsewhere/p.toml")), [""; 0]);
    dir.write("in/x.txt", "other");
    assert_eq!(text_of(&run("p.toml"), 0), "other!");
});

host_test!(a_plan_makes_nothing_and_refuses_what_does_not_fit, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", TWO);
    let plan = host.args(["plan", "p.toml", "--json"]).exits(0).json();
    assert_eq!(plan["stages"][0]["state"], "run");
    assert_eq!(plan["stages"][1]["outputs"]["note"]["certainty"], "exact");
    assert_eq!(plan["stages"][1]["outputs"]["note"]["bytes"], 6);
    assert_eq!(std::fs::read_dir(dir.path("cache/artifacts-v1")).unwrap().count(), 0);
    assert!(!dir.path("runs").exists());

    let refused = dir.host().args(["run", "p.toml", "--memory", "3", "--json"]).exits(4);
    refused.complains("needs 4 B of memory, and there are 3 B");
    assert_eq!(refused.json()["error"]["code"], "refused");
    assert_eq!(std::fs::read_dir(dir.path("cache/artifacts-v1")).unwrap().count(), 0);
});

host_test!(stages_run_after_what_they_name, |dir: Dir, host: HostCommand| {
    let after = "after = [\"last\"]\n[stages.last]\nuses = \"toy-write\"\nwith = { text = \"z\" }\n";
    dir.write("p.toml", format!("{TWO}{after}"));
    let report = host.args(["run", "p.toml", "--json"]).exits(0).json();
    assert_eq!(made(&report), ["first", "last", "second"]);
});

host_test!(progress_is_plain_lines_away_from_a_terminal, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", TWO);
    let finished = host.args(["run", "p.toml"]).exits(0);
    finished.complains("first: running (it was never made)").complains("first: done in");
    assert!(!finished.stderr.contains('\u{1b}') && !finished.stdout.contains('\u{1b}'), "{finished}");
});

host_test!(plugins_are_listed_with_what_they_have, |dir: Dir, host: HostCommand| {
    let toy = tests::plugin("toy");
    let bytes = std::fs::read(&toy).unwrap();
    // Short enough to lose code; a file that lost its debugging symbols alone still loads.
    dir.write(&format!("broken/{}", toy.file_name().unwrap().display()), &bytes[..bytes.len() / 20]);
    let list = host.args(["plugins", "list", "--plugins", "broken", "--json"]).exits(0).json();
    let find = |name: &str| list["plugins"].as_array().unwrap().iter().find(|p| p["info"]["name"] == name).cloned();
    assert_eq!(find("toy").unwrap()["stages"][0]["id"], "toy-write");
    let rejected = &list["rejected"][0];
    assert!(rejected["path"].as_str().unwrap().contains("broken"), "{rejected}");
    let text = dir.host().args(["plugins", "list", "--plugins", "broken"]).exits(0).stdout;
    assert!(text.contains("stage toy-write: writes a text"), "{text}");
});

host_test!(a_pipeline_that_does_not_fit_the_disk_is_refused, |dir: Dir, host: HostCommand| {
    // Small in memory by what is said on the command line, huge on disk.
    dir.write("p.toml", TWO);
    let times = "vars.times=100000000000000000";
    let refused = host.args(["run", "p.toml", "--json", "--memory", "4000000TiB", "--set", times]).exits(4);
    let findings = &refused.json()["error"]["findings"];
    assert_eq!(findings[0]["finding"]["code"], "over_disk", "{findings:#}");
    refused.complains("the disk has");
    let stored = dir.host().args(["cache", "list", "--json"]).exits(0).json();
    assert_eq!(stored["artifacts"].as_array().unwrap().len(), 0, "a stage ran: {stored:#}");
});
