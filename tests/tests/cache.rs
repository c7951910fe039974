//! What is kept, and how it is deleted.
#![allow(clippy::unwrap_used)]

use tests::{Dir, HostCommand, host_test, tiny_llama};

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

const REFERENCE: &str = r#"schema = 1
[stages.theirs]
uses = "toy-refer"
with = { target = "theirs.txt" }
[stages.ours]
uses = "toy-write"
inputs = { before = "theirs" }
with = { text = "!", pause_ms = 400, repeat = 2 }
"#;

host_test!(a_reference_is_used_where_it_lies_and_only_as_it_was, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", REFERENCE);
    dir.write("theirs.txt", "one");
    let cached = |report: &serde_json::Value| [0, 1].map(|i| report["stages"][i]["cached"] == true);
    let report = host.args(["run", "p.toml", "--json", "--run-dir", "run"]).exits(0).json();
    assert_eq!(
        report["stages"][0]["outputs"]["note"]["path"],
        dir.path("theirs.txt").canonicalize().unwrap().to_str().unwrap()
    );
    assert_eq!(dir.read("run/outputs/ours/note"), "one!!");
    let run = || dir.host().args(["run", "p.toml", "--json", "--run-dir", "run"]).exits(0);
    assert_eq!(cached(&run().json()), [true, true]);

    // The same length: only the content tells.
    dir.write("theirs.txt", "two");
    let again = run();
    again.complains("theirs.txt` changed");
    assert_eq!(cached(&again.json()), [false, false]);
    assert_eq!(dir.read("run/outputs/ours/note"), "two!!");

    std::fs::remove_file(dir.path("theirs.txt")).unwrap();
    dir.host().args(["run", "p.toml"]).exits(4).complains("theirs");
});

host_test!(every_part_of_a_split_model_is_what_the_reference_holds, |dir: Dir, host: HostCommand| {
    let [first, second] = tiny_llama::split_gguf(1);
    dir.write("m-00001-of-00002.gguf", &first);
    dir.write("m-00002-of-00002.gguf", &second);
    dir.write(
        "p.toml",
        "schema = 1\n[stages.base]\nuses = \"fetch\"\nwith = { source = \"path:m-00001-of-00002.gguf\" }\n\
         [stages.gguf]\nuses = \"convert-gguf\"\ninputs = { model = \"base\" }\nwith = { quantizer = \"q8_0\" }\n",
    );
    let report = host.args(["run", "p.toml", "--json"]).exits(0).json();
    let base = &report["stages"][0]["outputs"]["model"];
    assert_eq!(base["bytes"], first.len() + second.len());
    assert!(base["path"].as_str().unwrap().ends_with("m-00001-of-00002.gguf"), "{base}");
    let digest = |report: &serde_json::Value| report["stages"][1]["outputs"]["model"]["digest"].clone();
    let run = || dir.host().args(["run", "p.toml", "--json"]).exits(0).json();
    assert_eq!(run()["stages"][1]["cached"], true);

    // The sign of one weight of the second part.
    let mut changed = second.clone();
    *changed.last_mut().unwrap() ^= 0x80;
    dir.write("m-00002-of-00002.gguf", &changed);
    let again = run();
    assert_eq!(again["stages"][1]["cached"], false);
    assert_ne!(digest(&again), digest(&report));
});
