//! Drives `host worker JOB.json` with plugins that behave and plugins that do not: every way to end has its exit code,
//! its last event, and leaves nothing that looks finished.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Dir, plugin};

/// What a worker did.
struct Ran {
    code: Option<i32>,
    signal: Option<i32>,
    events: Vec<Value>,
    stderr: String,
}

impl Ran {
    fn last(&self) -> &Value {
        self.events.last().unwrap_or_else(|| panic!("no events; stderr: {}", self.stderr))
    }

    /// The error that it ended with, having exited with `exit`.
    #[track_caller]
    fn error(&self, exit: i32) -> &Value {
        assert_eq!(self.code, Some(exit), "{:#}\n{}", self.last(), self.stderr);
        assert_eq!(self.last()["event"], "error");
        &self.last()["error"]
    }

    /// The result that it ended with.
    #[track_caller]
    fn result(&self) -> &Value {
        assert_eq!(self.code, Some(0), "{:#}\n{}", self.last(), self.stderr);
        assert_eq!(self.last()["event"], "result");
        &self.last()["result"]
    }

    fn of(&self, event: &str) -> Vec<&Value> {
        self.events.iter().filter(|e| e["event"] == event).collect()
    }
}

fn job(dir: &Dir, mode: &str, plugin_name: &str, stage: &str, params: Value) -> Value {
    json!({
        "schema": 1,
        "mode": mode,
        "plugin": { "path": plugin(plugin_name) },
        "stage": stage,
        "request": { "stage": "mine", "params": params, "threads": 1, "attempt": dir.path("attempt") },
        "catalogue": [extension("toy", "shout"), extension("faulty", "whisper")],
        "log_level": "info",
        "detached": true,
    })
}

fn extension(plugin_name: &str, id: &str) -> Value {
    json!({
        "entry": { "kind": "toy", "id": id, "plugin": plugin_name, "claims": {} },
        "file": { "path": plugin(plugin_name) },
    })
}

fn start(dir: &Dir, job: &Value) -> Child {
    let file = dir.write("job.json", job.to_string());
    let mut command = dir.host().args([Path::new("worker"), &file]).into_command();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn finish(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let lines = text(&output.stdout);
    let events = lines.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
    Ran { code: output.status.code(), signal: output.status.signal(), events, stderr: text(&output.stderr) }
}

fn run(dir: &Dir, job: &Value) -> Ran {
    finish(start(dir, job))
}

fn faulty(fault: &str) -> (Dir, Ran) {
    let dir = Dir::new();
    let ran = run(&dir, &job(&dir, "run", "faulty", "faulty", json!({ "fault": fault })));
    assert!(!dir.path("attempt/result.json").exists(), "a failed attempt looks finished");
    (dir, ran)
}

#[test]
fn a_run_is_sealed_and_tells_what_it_does() {
    let dir = Dir::new();
    let mut job = job(&dir, "run", "toy", "toy-write", json!({ "text": "hey ", "repeat": 3 }));
    job["promises"] = json!({ "note": {
        "kind": "report", "certainty": "exact", "bytes": 12,
        "facts": { "format": "text" }, "body": { "format": "text" },
    }});
    let ran = run(&dir, &job);
    let result = ran.result();
    assert_eq!(result["plugin"]["name"], "toy");
    let note = &result["answer"]["run"]["outputs"]["note"];
    assert_eq!(note["bytes"], 12);
    let hey = "dfaf24be7a2ed3e592f4a6dc520578ad85a6b5f21ef13aee84ad094266f106f3";
    assert_eq!(note["files"], json!([{ "path": "", "bytes": 12, "digest": hey }]));
    assert_eq!(dir.read("attempt/note"), "hey hey hey ");
    assert_eq!(dir.json("attempt/result.json"), *result);

    assert_eq!(ran.events[0]["event"], "hello");
    let logs = ran.of("log");
    assert_eq!(logs.len(), 1, "an event above the level crossed the border");
    assert_eq!((&logs[0]["message"], &logs[0]["fields"]["repeat"]), (&json!("writing"), &json!(3)));
    assert_eq!(ran.of("metric").len(), 3);
    assert_eq!(ran.of("progress").last().unwrap()["done"], 3);
    let numbers: Vec<_> = ran.events.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
    // The copy starts once the attempt is known, after the greeting.
    assert_eq!(dir.read("attempt/events.jsonl").lines().count(), ran.events.len() - 1);
}

#[test]
fn memory_and_time_are_measured() {
    let dir = Dir::new();
    let ran = run(&dir, &job(&dir, "run", "toy", "toy-write", json!({ "text": "x", "repeat": 20, "pause_ms": 10 })));
    let result = ran.result();
    assert!(result["seconds"].as_f64().unwrap() >= 0.2);
    let peak = |name: &str| result["memory"][name].as_u64().unwrap();
    assert!(peak("anonymous") > 100 << 10 && peak("resident") > peak("anonymous"), "{}", result["memory"]);
}

#[test]
fn an_extension_of_another_plugin_is_loaded_and_recorded() {
    let dir = Dir::new();
    let ran = run(&dir, &job(&dir, "plan", "toy", "toy-write", json!({ "text": "ABC", "voice": "whisper" })));
    let result = ran.result();
    assert_eq!(result["answer"]["plan"]["outputs"]["note"]["bytes"], 3);
    assert_eq!(result["extensions_used"][0]["id"], "whisper");
    assert_eq!(result["extensions_used"][0]["plugin"], "faulty");
    let ran = run(&dir, &job(&dir, "run", "toy", "toy-write", json!({ "text": "ABC", "voice": "whisper" })));
    ran.result();
    assert_eq!(dir.read("attempt/note"), "abc");
}

#[test]
fn an_unknown_extension_is_named_beside_the_known_ones() {
    let dir = Dir::new();
    let ran = run(&dir, &job(&dir, "plan", "toy", "toy-write", json!({ "text": "a", "voice": "shuot" })));
    let error = ran.error(70);
    assert_eq!(error["code"], "unknown_extension");
    assert_eq!(error["message"], "no plugin has a toy `shuot`; known: `shout`, `whisper`");
}

#[test]
fn a_run_may_use_only_what_its_plan_used() {
    let dir = Dir::new();
    let mut job = job(&dir, "run", "faulty", "faulty", json!({ "fault": "undeclared-extension" }));
    run(&dir, &job).result();
    job["extensions"] = json!([]);
    let error = run(&dir, &job);
    assert_eq!(error.error(70)["code"], "undeclared_extension");
}

#[test]
fn an_action_answers_with_a_document() {
    let dir = Dir::new();
    let mut job = job(&dir, "plan", "toy", "toy-write", json!({ "text": "a", "voice": "shout" }));
    job["mode"] = json!({ "action": "preview" });
    assert_eq!(run(&dir, &job).result()["answer"]["action"], json!({ "text": "A" }));
    job["mode"] = json!({ "action": "dance" });
    assert_eq!(run(&dir, &job).error(70)["code"], "unsupported_operation");
}

#[test]
fn an_error_crosses_whole() {
    let (_dir, ran) = faulty("refuse");
    let error = json!({ "code": "no_luck", "message": "it rains", "help": "wait for the sun", "causes": ["a cloud"] });
    assert_eq!(*ran.error(70), error);
}

#[test]
fn a_panic_is_an_error_that_names_plugin_stage_and_place() {
    let (_dir, ran) = faulty("panic");
    let error = ran.error(72);
    assert_eq!(error["code"], "panic");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("stage `faulty` of plugin `faulty` panicked: the floor is lava ("), "{message}");
    assert!(message.contains("fault.rs:"), "{message}");

    let (_dir, ran) = faulty("panic-in-extension");
    let message = ran.error(72)["message"].as_str().unwrap();
    assert!(message.starts_with("toy `whisper` of plugin `faulty` panicked: too quiet"), "{message}");

    let (_dir, ran) = faulty("panic-in-thread");
    assert_eq!(ran.error(70)["code"], "lost_thread");
    assert!(ran.of("log").iter().any(|l| l["message"] == "far from the border"));
}

#[test]
fn a_plugin_that_ends_the_process_leaves_no_answer() {
    for (fault, code, signal) in [("abort", None, Some(6)), ("segfault", None, Some(11)), ("exit", Some(7), None)] {
        let (_dir, ran) = faulty(fault);
        assert_eq!((ran.code, ran.signal), (code, signal), "{fault}: {}", ran.stderr);
        assert!(ran.of("result").is_empty() && ran.of("error").is_empty(), "{fault}");
    }
}

#[test]
fn what_a_plugin_prints_does_not_reach_the_wire() {
    let dir = Dir::new();
    let ran = run(&dir, &job(&dir, "run", "faulty", "faulty", json!({ "fault": "print" })));
    ran.result();
    assert!(ran.of("error").is_empty());
    assert!(ran.stderr.contains("printed"), "{}", ran.stderr);
    assert_eq!(ran.of("log")[0]["fields"], json!({ "answer": 42 }));
}

#[test]
fn a_memory_limit_holds_and_mapped_files_do_not_count() {
    let dir = Dir::new();
    let mut job = job(&dir, "run", "faulty", "faulty", json!({ "fault": "leak" }));
    job["memory_limit"] = json!(400 << 20);
    let ran = run(&dir, &job);
    assert_eq!(ran.signal, Some(6), "{}", ran.stderr);
    assert!(ran.stderr.contains("memory allocation of"), "{}", ran.stderr);
    assert!(!dir.path("attempt/result.json").exists());
}

#[test]
fn a_broken_promise_is_not_sealed() {
    for (fault, says) in [
        ("other-description", "planned `out` differently: `/body/lines/1` was planned as 2, and is 3"),
        ("other-bytes", "says that `out` has 4 bytes; it wrote 5"),
    ] {
        let dir = Dir::new();
        let mut job = job(&dir, "run", "faulty", "faulty", json!({ "fault": fault }));
        job["promises"] = json!({ "out": {
            "kind": "report", "certainty": "exact", "bytes": 4, "facts": {}, "body": { "lines": [1, 2] },
        }});
        let ran = run(&dir, &job);
        let error = ran.error(70);
        assert_eq!(error["code"], "broken_promise");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
        assert!(!dir.path("attempt/result.json").exists());
    }
}

#[test]
fn an_output_that_is_missing_or_a_link_is_not_sealed() {
    for fault in ["no-output", "linked-output"] {
        let (_dir, ran) = faulty(fault);
        assert_eq!(ran.error(70)["code"], "bad_output", "{fault}");
    }
}

#[test]
fn a_job_that_makes_no_sense_says_why() {
    let dir = Dir::new();
    let good = job(&dir, "run", "toy", "toy-write", json!({ "text": "a" }));
    let with = |key: &str, value: Value| {
        let mut job = good.clone();
        job[key] = value;
        run(&dir, &job).error(74)["message"].as_str().unwrap().to_owned()
    };
    assert!(with("schema", json!(9)).contains("schema 9"));
    assert!(with("colour", json!("red")).contains("unknown field `colour`"));
    assert!(with("request", json!({ "stage": "s", "params": {}, "threads": 1 })).contains("request.attempt"));
}

#[test]
fn an_unknown_stage_is_named_beside_the_known_ones() {
    let dir = Dir::new();
    let ran = run(&dir, &job(&dir, "plan", "toy", "toy-wriet", json!({})));
    assert_eq!(ran.error(70)["message"], "plugin `toy` has no stage `toy-wriet`; known: `toy-write`, `toy-refer`");
}

/// Starts a slow run that listens on stdin, and waits until it is at work.
fn slow(dir: &Dir) -> (Child, impl Iterator<Item = Value>) {
    let mut job = job(dir, "run", "toy", "toy-write", json!({ "text": "x", "repeat": 10_000, "pause_ms": 10 }));
    job["detached"] = json!(false);
    let mut child = start(dir, &job);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    events.find(|e| e["event"] == "progress").expect("the stage starts");
    (child, events)
}

#[test]
fn a_request_to_stop_is_an_end_of_its_own() {
    for how in ["command", "end of stdin", "SIGTERM"] {
        let dir = Dir::new();
        let (mut child, events) = slow(&dir);
        let asked = Instant::now();
        match how {
            "command" => child.stdin.as_mut().unwrap().write_all(b"{\"cmd\":\"cancel\"}\n").unwrap(),
            "end of stdin" => drop(child.stdin.take()),
            _ => {
                let pid = child.id().to_string();
                assert!(std::process::Command::new("kill").arg(pid).status().unwrap().success());
            }
        }
        let last = events.last().unwrap();
        assert_eq!(last["error"]["code"], "cancelled", "{how}");
        assert_eq!(child.wait().unwrap().code(), Some(73), "{how}");
        assert!(asked.elapsed() < Duration::from_secs(5), "{how}");
        assert!(!dir.path("attempt/result.json").exists());
    }
}

#[test]
fn two_workers_do_not_share_an_attempt() {
    let dir = Dir::new();
    let (mut child, _events) = slow(&dir);
    let ran = run(&dir, &job(&dir, "run", "toy", "toy-write", json!({ "text": "a" })));
    assert!(ran.error(74)["message"].as_str().unwrap().starts_with("another worker is at attempt"));
    child.kill().unwrap();
    child.wait().unwrap();
    // The lock of a worker that was killed is gone with it.
    run(&dir, &job(&dir, "run", "toy", "toy-write", json!({ "text": "a" }))).result();
}

#[test]
fn a_plugin_that_changed_since_planning_is_refused() {
    let dir = Dir::new();
    let mut job = job(&dir, "run", "toy", "toy-write", json!({ "text": "a" }));
    job["plugin"]["digest"] = json!("0".repeat(64));
    assert_eq!(run(&dir, &job).error(71)["code"], "plugin_changed");
}
