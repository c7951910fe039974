//! What is kept, and how it is deleted.
#![allow(clippy::unwrap_used)]

use tests::{Dir, HostCommand, host_test};

const PIPELINE: &str = r#"schema = 1
[stages.a]
uses = "toy-write"
with = { text = "a" }
[stages.b]
uses = "faulty"
"#;

fn stored(dir: &Dir) -> Vec<(String, bool)> {
    let list = dir.host().args(["cache", "list", "--json"]).exits(0).json();
    let artifacts = list["artifacts"].as_array().unwrap().iter();
    let mut stored: Vec<_> =
        artifacts.map(|a| (a["stage"].as_str().unwrap().to_owned(), a["complete"] == true)).collect();
    stored.sort();
    stored
}

host_test!(what_is_stored_is_listed_and_removed, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", PIPELINE);
    host.args(["run", "p.toml"]).exits(0);
    assert_eq!(stored(&dir), [("faulty".to_owned(), true), ("toy-write".to_owned(), true)]);
    let remove = |args: &[&str]| dir.host().args(["cache", "rm"]).args(args).exits(0).stdout;
    assert!(remove(&["--older-than", "1h"]).starts_with("0 removed"));
    assert!(remove(&["--stage", "faulty"]).starts_with("1 removed"));
    assert_eq!(stored(&dir), [("toy-write".to_owned(), true)]);

    let again = dir.host().args(["run", "p.toml"]).exits(0);
    again.complains("its result is gone");
    assert!(again.stdout.contains("a      cached"), "{again}");
    assert!(remove(&["--all"]).starts_with("2 removed"));
    assert_eq!(stored(&dir), []);
});

host_test!(a_result_with_a_missing_file_is_made_again, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", PIPELINE);
    let report = host.args(["run", "p.toml", "--json"]).exits(0).json();
    std::fs::remove_file(report["stages"][0]["outputs"]["note"]["path"].as_str().unwrap()).unwrap();
    let report = dir.host().args(["run", "p.toml", "--json"]).exits(0).json();
    assert_eq!((&report["stages"][0]["cached"], &report["stages"][1]["cached"]), (&false.into(), &true.into()));
});
