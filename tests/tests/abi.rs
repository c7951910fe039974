//! Which files load as plugins, and what is said of those that do not.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tests::{Dir, plugin};

fn probe(dir: &Dir, file: &Path) -> (Output, Value) {
    let job = json!({ "schema": 1, "mode": "probe", "plugin": { "path": file }, "detached": true });
    let job = dir.write("probe.json", job.to_string());
    let mut command = dir.host().args([Path::new("worker"), &job]).into_command();
    let output = command.stdin(Stdio::null()).output().unwrap();
    let last = String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or("null").to_owned();
    (output, serde_json::from_str(&last).unwrap())
}

#[track_caller]
fn refusal(dir: &Dir, file: &Path) -> (String, String) {
    let (output, last) = probe(dir, file);
    assert_eq!(output.status.code(), Some(71), "{last:#}");
    let text = |name: &str| last["error"][name].as_str().unwrap().to_owned();
    (text("code"), text("message"))
}

/// The toy plugin as if it had been built with another ABI version of the same length.
fn rebuilt(dir: &Dir, version: &str) -> std::path::PathBuf {
    let mut bytes = std::fs::read(plugin("toy")).unwrap();
    let (own, other) = (b"0.1.0", version.as_bytes());
    let at: Vec<_> = (0..bytes.len() - own.len()).filter(|i| bytes[*i..].starts_with(own)).collect();
    assert!(!at.is_empty());
    at.into_iter().for_each(|i| bytes[i..i + own.len()].copy_from_slice(other));
    dir.write("librebuilt.so", bytes)
}

#[test]
fn a_probe_tells_all_that_a_plugin_has() {
    let dir = Dir::new();
    let (_, last) = probe(&dir, &plugin("toy"));
    let found = &last["result"]["answer"]["probe"];
    assert_eq!(found["info"]["name"], "toy");
    assert_eq!(found["info"]["abi"], "0.1.0");
    assert_eq!(found["stages"][0]["id"], "toy-write");
    assert_eq!(found["stages"][0]["outputs"][0]["name"], "note");
    let shout = json!({ "kind": "toy", "id": "shout", "plugin": "toy", "claims": { "volume": ["loud"] } });
    assert_eq!(found["extensions"], json!([shout]));
}

#[test]
fn a_newer_patch_version_loads_and_another_minor_version_names_both() {
    let dir = Dir::new();
    let (output, _) = probe(&dir, &rebuilt(&dir, "0.1.9"));
    assert_eq!(output.status.code(), Some(0));
    let (code, message) = refusal(&dir, &rebuilt(&dir, "0.2.0"));
    assert_eq!(code, "plugin_version");
    assert!(
        message.ends_with(
            "it was built for plugin ABI 0.2.0, and this program has 0.1.0; rebuild the plugin against 0.1.0"
        ),
        "{message}"
    );
}

#[test]
fn files_that_are_no_plugins_are_told_apart() {
    let dir = Dir::new();
    let (code, _) = refusal(&dir, &dir.path("libgone.so"));
    assert_eq!(code, "plugin_open");
    let (code, message) = refusal(&dir, &dir.write("libtext.so", "not a library\n"));
    assert_eq!(code, "plugin_open");
    assert!(message.contains("libtext.so"), "{message}");
    // A library that every process on this system has.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let library = maps.lines().filter_map(|l| l.split_whitespace().last()).find(|p| p.contains("/libc.so")).unwrap();
    let (code, message) = refusal(&dir, Path::new(library));
    assert_eq!(code, "not_a_plugin");
    assert!(message.ends_with("is no plugin: it has no plugin entry point"), "{message}");
}

/// Loading a part of a file is a bus error or a message of the dynamic linker, by where the cut is. The parts are small
/// enough to end before the debug information, which nothing loads.
#[test]
fn a_truncated_plugin_takes_only_its_worker_with_it() {
    let dir = Dir::new();
    let whole = std::fs::read(plugin("toy")).unwrap();
    for part in [10, 50, 1000] {
        let part_of_it = dir.write("libpart.so", &whole[..whole.len() / part]);
        let (output, last) = probe(&dir, &part_of_it);
        assert!(!output.status.success());
        assert_ne!(last["event"], "result", "{last:#}");
    }
}
