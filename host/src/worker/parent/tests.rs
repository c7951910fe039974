//! Shell scripts stand in for workers that end in every way a plugin can make them end.
#![allow(clippy::unwrap_used)]

use super::super::PluginFile;
use super::*;

const HELLO: &str = r#"echo '{"seq":0,"t_ms":0,"event":"hello","protocol":1,"abi":"0.1.0","pid":1}'"#;

fn limits() -> Limits {
    Limits {
        silence: Duration::from_millis(700),
        stall: Duration::from_millis(1500),
        cancel_grace: Duration::from_millis(300),
        terminate_grace: Duration::from_millis(300),
    }
}

fn job() -> Job {
    let plugin = PluginFile { path: "/plugins/libfake.so".into(), digest: None };
    Job::new(Mode::Plan, plugin, "fake", stage_api::Request { stage: "mine".into(), ..Default::default() })
}

fn run(script: &str, cancel: bool) -> (Result<JobResult, WorkerError>, Vec<Event>) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("fake-host");
    // A shell writes it: a file that this process had open for writing may be "busy" in a test that forks just now.
    let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod +x "$2""#;
    let written = std::process::Command::new("sh").args(["-c", write, "sh", script]).arg(&program).status().unwrap();
    assert!(written.success());
    let mut events = Vec::new();
    let supervisor = Supervisor { program, limits: limits() };
    let cancel = AtomicBool::new(cancel);
    let result = supervisor.run(&job(), &dir.path().join("job"), &mut |e| events.push(e.clone()), &cancel);
    (result, events)
}

fn failure(script: &str) -> WorkerError {
    run(script, false).0.unwrap_err()
}

#[test]
fn a_signal_is_named_with_the_last_words() {
    let error = failure(&format!("{HELLO}; echo 'out of luck' >&2; kill -SEGV $$"));
    let text = error.to_string();
    assert!(text.starts_with("planning stage `mine` failed: the worker was ended by SIGSEGV (11)"), "{text}");
    assert!(text.ends_with("the worker's last words:\n  out of luck"), "{text}");
    assert_eq!(error.failure.code(), "worker_signal");
}

#[test]
fn an_exit_without_an_answer_is_a_failure_whatever_its_code() {
    assert!(matches!(failure("exit 7").failure, WorkerFailure::Exit { code: 7 }));
    assert!(matches!(failure(HELLO).failure, WorkerFailure::Exit { code: 0 }));
}

#[test]
fn an_error_is_passed_on_whole() {
    let line = r#"{"seq":1,"t_ms":1,"event":"error","error":{"code":"no_luck","message":"it rains","help":"wait"}}"#;
    let error = failure(&format!("{HELLO}; echo '{line}'; exit 70"));
    assert_eq!(error.to_string(), "planning stage `mine` failed: it rains");
    assert_eq!((error.failure.code(), error.failure.help().as_deref()), ("no_luck", Some("wait")));
}

#[test]
fn silence_and_idleness_end_a_worker() {
    assert!(matches!(failure("sleep 30").failure, WorkerFailure::Silent { .. }));
    let beat = r#"echo '{"seq":1,"t_ms":1,"event":"beat","cpu_ms":5}'; sleep 0.1"#;
    let error = failure(&format!("while true; do {beat}; done"));
    assert!(matches!(error.failure, WorkerFailure::Stalled { .. }), "{error}");
}

#[test]
fn cancelling_asks_first_and_kills_at_last() {
    let polite = format!("{HELLO}; read line; echo \"$line\" >&2; exit 73");
    let error = run(&polite, true).0.unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(error.stderr, [r#"{"cmd":"cancel"}"#]);
    let stubborn = "trap '' TERM; while true; do sleep 0.05; done";
    assert!(run(stubborn, true).0.unwrap_err().is_cancelled());
}

#[test]
fn lines_that_are_no_events_are_skipped() {
    let newer = r#"echo '{"seq":1,"t_ms":1,"event":"moon","phase":"full"}'; echo garbage"#;
    let (_, events) = run(&format!("{HELLO}; {newer}"), false);
    assert_eq!(events.len(), 1);
    assert!(matches!(&events[0].body, EventBody::Hello { pid: 1, .. }));
}
