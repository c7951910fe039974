//! Stages and plugins that go wrong in every way: a clear message, the documented exit code, nothing half-written, and
//! the next run goes on.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::{Dir, Finished, HostCommand, host_test};

const STAGE: i32 = 5;
const WORKER: i32 = 6;
const CANCELLED: i32 = 7;

fn faulty(with: &str) -> String {
    format!("schema = 1\n[stages.f]\nuses = \"faulty\"\nwith = {{ {with} }}\n")
}

/// Runs a fault, checks what is said, then runs without it.
fn check(fault: &str, code: i32, says: &str) {
    let dir = Dir::new();
    dir.write("p.toml", faulty(&format!("fault = \"{fault}\"")));
    let failed = dir.host().args(["run", "p.toml", "--json"]).exits(code);
    failed.complains(says).complains("`f`");
    assert!(failed.json()["error"]["message"].as_str().unwrap().contains(says), "{failed}");
    let stored = dir.host().args(["cache", "list", "--json"]).exits(0).json();
    let complete = stored["artifacts"].as_array().unwrap().iter().filter(|a| a["complete"] == true);
    assert_eq!(complete.count(), 0, "{stored:#}");
    dir.write("p.toml", faulty(""));
    dir.host().args(["run", "p.toml"]).exits(0);
}

#[test]
fn a_stage_that_fails_says_why() {
    check("refuse", STAGE, "it rains: a cloud");
    check("other-description", STAGE, "`/body/lines/1` was planned as 2, and is 3");
    check("other-bytes", STAGE, "says that `out` has 4 bytes; it wrote 5");
    check("no-output", STAGE, "was not written");
    check("linked-output", STAGE, "links and devices are no data");
    check("undeclared-extension", STAGE, "`shout`");
}

#[test]
fn a_plugin_that_crashes_ends_its_stage_alone() {
    check("panic", WORKER, "the floor is lava");
    check("abort", WORKER, "SIGABRT");
    check("exit", WORKER, "exited with code 7");
    check("segfault", WORKER, "SIGSEGV");
}

host_test!(a_plugin_that_prints_spoils_nothing, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", faulty("fault = \"print\""));
    let finished = host.args(["run", "p.toml", "--json", "--run-dir", "run"]).exits(0);
    finished.complains("printed on stdout").json();
    assert!(dir.read("run/stages/f/stderr.log").contains("\"printed\""));
});

host_test!(a_plugin_that_hangs_is_ended, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", faulty("fault = \"hang\""));
    let host = host.env("HOST_WORKER_STALL_SECONDS", "2");
    host.args(["run", "p.toml"]).exits(WORKER).complains("the stage did nothing for");
});

host_test!(a_plugin_that_fails_to_plan_is_refused, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", faulty("fault = \"refuse\", in_plan = true"));
    host.args(["plan", "p.toml"]).exits(4).complains("error: f: it rains: a cloud").complains("help: wait for the sun");
    dir.write("p.toml", faulty("fault = \"abort\", in_plan = true"));
    dir.host().args(["plan", "p.toml"]).exits(WORKER).complains("planning stage `f` failed");
    dir.write("p.toml", faulty("fault = \"panic-in-extension\", in_plan = true"));
    dir.host().args(["plan", "p.toml"]).exits(WORKER).complains("too quiet");
});

host_test!(memory_beyond_the_limit_is_refused_to_the_plugin, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", faulty("fault = \"leak\""));
    host.args(["run", "p.toml", "--memory", "64MiB"]).exits(WORKER).complains("an allocation failed");
});

/// A run of a stage that takes a while, started and seen to be at work.
struct Slow {
    dir: Dir,
    host: Child,
    worker: u32,
}

impl Slow {
    fn start() -> Self {
        let dir = Dir::new();
        dir.write("p.toml", slow_pipeline(50));
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
            events.contains("\"progress\"").then(|| u32::try_from(hello["pid"].as_u64()?).ok())?
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
    let mut slow = Slow::start();
    signal("KILL", slow.worker);
    assert_eq!(slow.host.wait().unwrap().code(), Some(WORKER));
    assert_eq!(slow.dir.json("run/report.json")["error"]["code"], "worker_signal");
    slow.continues();
}

#[test]
fn an_interrupted_run_ends_cleanly() {
    let mut slow = Slow::start();
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
    let mut slow = Slow::start();
    signal("KILL", slow.host.id());
    slow.host.wait().unwrap();
    wait_for(|| (!is_alive(slow.worker)).then_some(()));
    slow.continues();
}

#[test]
fn a_second_host_waits_for_the_first() {
    let slow = Slow::start();
    let second = slow.dir.host().args(["run", "p.toml"]).exits(0);
    second.complains("is being made by process");
    let first = Finished::new(&slow.host.wait_with_output().unwrap());
    assert!(second.stdout.contains("slow   cached"), "{second}{first}");
}
