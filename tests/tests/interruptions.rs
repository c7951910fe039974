//! Runs that are cut short: by Ctrl-C, by a signal to the worker, to the host, to both; and two hosts at one thing.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::{Dir, Finished};

const WORKER: i32 = 6;
const CANCELLED: i32 = 7;

/// A run of a stage that takes a while, started and seen to be at work.
struct Slow {
    dir: Dir,
    host: Child,
    worker: u32,
}

impl Slow {
    fn start(pipeline: &str) -> Self {
        let dir = Dir::new();
        dir.write("p.toml", pipeline);
        let mut command = dir.host().args(["run", "p.toml", "--run-dir", "run"]).into_command();
        let mut host = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = host.stderr.take().unwrap();
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        assert!(lines.any(|l| l.starts_with("slow: running")));
        // Drained, so that the host never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let worker = wait_for(|| {
            let events = std::fs::read_to_string(dir.path("run/events.jsonl")).ok()?;
            let hello = events.lines().find(|l| l.contains("\"hello\""))?;
            let hello: serde_json::Value = serde_json::from_str(hello).ok()?;
            u32::try_from(hello["pid"].as_u64()?).ok()
        });
        Self { dir, host, worker }
    }

    /// The same pipeline afterwards: nothing is in its way.
    fn continues(&self) {
        self.dir.write("p.toml", slow_pipeline(0));
        self.dir.host().args(["run", "p.toml"]).exits(0);
    }
}

fn slow_pipeline(pause_ms: u32) -> String {
    let with = format!("with = {{ text = \"x\", repeat = 100, pause_ms = {pause_ms} }}");
    format!("schema = 1\n[stages.slow]\nuses = \"toy-write\"\n{with}\n")
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap().success());
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "))
}

#[test]
fn a_killed_worker_fails_its_stage() {
    let mut slow = Slow::start(&slow_pipeline(50));
    signal("KILL", slow.worker);
    assert_eq!(slow.host.wait().unwrap().code(), Some(WORKER));
    assert_eq!(slow.dir.json("run/report.json")["error"]["code"], "worker_signal");
    slow.continues();
}

#[test]
fn an_interrupted_run_ends_cleanly() {
    let mut slow = Slow::start(&slow_pipeline(50));
    signal("INT", slow.host.id());
    let asked = Instant::now();
    assert_eq!(slow.host.wait().unwrap().code(), Some(CANCELLED));
    assert!(asked.elapsed() < Duration::from_secs(10), "a stage that listens stops at once");
    assert!(!is_alive(slow.worker));
    assert_eq!(slow.dir.json("run/report.json")["error"]["code"], "cancelled");
    slow.continues();
}

#[test]
fn a_killed_host_takes_its_worker_along() {
    let mut slow = Slow::start(&slow_pipeline(50));
    signal("KILL", slow.host.id());
    slow.host.wait().unwrap();
    wait_for(|| (!is_alive(slow.worker)).then_some(()));
    slow.continues();
}

#[test]
fn a_second_host_waits_for_the_first() {
    let slow = Slow::start(&slow_pipeline(50));
    let second = slow.dir.host().args(["run", "p.toml"]).exits(0);
    second.complains("is being made by process");
    let first = Finished::new(&slow.host.wait_with_output().unwrap());
    assert!(second.stdout.contains("slow   cached"), "{second}{first}");
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let hanging = "schema = 1\n[stages.slow]\nuses = \"faulty\"\nwith = { fault = \"hang\" }\n";
    let mut slow = Slow::start(hanging);
    signal("INT", slow.host.id());
    std::thread::sleep(Duration::from_millis(300));
    assert!(slow.host.try_wait().unwrap().is_none(), "a stage that does not listen is given time");
    let asked = Instant::now();
    signal("INT", slow.host.id());
    assert_eq!(slow.host.wait().unwrap().code(), Some(CANCELLED));
    assert!(asked.elapsed() < Duration::from_secs(2));
    wait_for(|| (!is_alive(slow.worker)).then_some(()));
    slow.continues();
}

#[test]
fn what_a_worker_finished_after_its_host_stopped_is_used() {
    let mut slow = Slow::start(&slow_pipeline(20));
    signal("STOP", slow.host.id());
    wait_for(|| (!is_alive(slow.worker)).then_some(()));
    signal("KILL", slow.host.id());
    slow.host.wait().unwrap();
    let again = slow.dir.host().args(["run", "p.toml"]).exits(0);
    assert!(again.stdout.contains("slow   cached"), "{again}");
}
