//! Training that goes wrong: data that cannot be read, a last step that diverges, a worker that is killed in the middle.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::checkpoint_edit::{in_one_file, write_model};
use tests::{Dir, tiny_llama};

const PLAN: i32 = 4;
const STAGE: i32 = 5;
const WORKER: i32 = 6;
const CHAT: &str = r#"{"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]}"#;

/// A directory with a tiny model, a pipeline that trains it for `steps` steps, and its data.
fn training(steps: u32, data: &str) -> Dir {
    let dir = Dir::new();
    write_model(&dir, "tiny", &in_one_file(tiny_llama::directory(1)), |_| {});
    dir.write("chats.jsonl", data);
    let pipeline = format!(
        "schema = 1\n[stages.base]\nuses = \"fetch\"\nwith = {{ source = \"path:tiny\" }}\n\
         [stages.train]\nuses = \"train-candle\"\ninputs = {{ model = \"base\" }}\n\
         with = {{ data = \"chats.jsonl\", rank = 4, batch_size = 1, steps = {steps} }}\n"
    );
    dir.write("p.toml", pipeline);
    dir
}

/// Events of a run so far, of one stage.
fn events(dir: &Dir, stage: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.path("run/events.jsonl")).unwrap_or_default();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["stage"] == stage).collect()
}

#[test]
fn a_line_that_is_no_json_is_named() {
    let dir = training(2, &format!("{CHAT}\n{{\"messages\": [\n{CHAT}\n"));
    let failed = dir.host().args(["run", "p.toml"]).exits(PLAN);
    failed
        .complains("train: ")
        .complains("chats.jsonl")
        .complains("line 2: not JSON, expected one object a line: EOF while parsing a list at column 14");
    dir.write("chats.jsonl", CHAT);
    dir.host().args(["run", "p.toml"]).exits(0);
}

/// An average that never forgets divides by zero, and so does one of nothing without an eps; an alpha of zero learns
/// nothing.
#[test]
fn numbers_are_within_their_bounds() {
    for (parameter, says) in [
        ("betas = [0.9, 1.0]", "`betas[1]` is `1.0`, expected less than 1"),
        ("eps = 0.0", "`eps` is `0.0`, expected more than 0"),
        ("alpha = 0.0", "`alpha` is `0.0`, expected more than 0"),
    ] {
        let dir = training(1, CHAT);
        dir.write("p.toml", dir.read("p.toml").replace("steps = 1", &format!("steps = 1, {parameter}")));
        dir.host().args(["run", "p.toml"]).exits(3).complains(says);
    }
}

/// The loss of the last step is taken before it, and so is finite.
#[test]
fn an_adapter_that_diverges_in_the_last_step_is_not_kept() {
    let dir = training(1, CHAT);
    let pipeline = dir.read("p.toml").replace("steps = 1", "steps = 1, warmup_ratio = 0.0, learning_rate = 1e300");
    dir.write("p.toml", pipeline);
    let failed = dir.host().args(["run", "p.toml"]).exits(STAGE);
    failed.complains("has factors that are NaN or infinite").complains("lower `learning_rate`");
    let stored = dir.host().args(["cache", "list", "--json"]).exits(0).json();
    let whole = stored["artifacts"].as_array().unwrap().iter().filter(|a| a["complete"] == true);
    assert!(whole.into_iter().all(|a| a["stage"] == "fetch"), "{stored:#}");
}

#[test]
fn a_worker_killed_while_training_leaves_no_adapter() {
    // More steps than anybody waits for.
    let dir = training(1_000_000, CHAT);
    let mut command = dir.host().args(["run", "p.toml", "--run-dir", "run"]).into_command();
    let mut host = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !events(&dir, "train").iter().any(|event| event["step"] == 3) {
        assert!(Instant::now() < deadline, "training never got to its third step");
        std::thread::sleep(Duration::from_millis(50));
    }
    let hello = events(&dir, "train").into_iter().find(|event| event["event"] == "hello").unwrap();
    assert!(Command::new("kill").args(["-KILL", &hello["pid"].to_string()]).status().unwrap().success());
    assert_eq!(host.wait().unwrap().code(), Some(WORKER));
    let report = dir.json("run/report.json");
    assert_eq!(report["error"]["code"], "worker_signal", "{report:#}");
    assert!(!dir.path("run/outputs/train").exists());

    let stored = dir.host().args(["cache", "list", "--json"]).exits(0).json();
    let whole: Vec<&Value> = stored["artifacts"].as_array().unwrap().iter().filter(|a| a["complete"] == true).collect();
    assert!(whole.iter().all(|a| a["stage"] == "fetch"), "{whole:#?}");

    let pipeline = dir.read("p.toml").replace("1000000", "3");
    dir.write("p.toml", pipeline);
    let report = dir.host().args(["run", "p.toml", "--json"]).exits(0).json();
    assert_eq!(report["stages"][0]["cached"], true);
    assert_eq!(report["stages"][1]["cached"], false);
}
