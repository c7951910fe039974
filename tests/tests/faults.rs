//! Stages and plugins that go wrong in every way: a clear message, the documented exit code, nothing half-written, and
//! the next run goes on.
#![allow(clippy::unwrap_used)]

use tests::{Dir, HostCommand, host_test};

const STAGE: i32 = 5;
const WORKER: i32 = 6;

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
