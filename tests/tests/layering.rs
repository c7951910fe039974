//! The arrows between the rooms of the workspace, held against `cargo metadata`.
//!
//! Only what a crate links counts, so development dependencies are free, except that nobody may reach for the host.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What each shared crate stands on. A line here is a decision: see "The arrows" in `ARCHITECTURE.md`.
const SHARED: [(&str, &[&str]); 12] = [
    ("stage-abi", &[]),
    ("stage-api", &["stage-abi"]),
    ("host", &["stage-api"]),
    ("model", &[]),
    ("model-api", &["stage-api", "model"]),
    ("transformer", &["model-api", "model"]),
    ("blocks", &["model"]),
    ("checkpoint", &["model", "blocks"]),
    ("tokenizer", &["model"]),
    ("decoder", &["model", "blocks", "checkpoint"]),
    ("stage-model", &["stage-api", "model", "model-api", "checkpoint", "tokenizer"]),
    ("xtask", &[]),
];

/// What plugins of a room may stand on.
const ROOMS: [(&str, &[&str]); 4] = [
    ("stages", &["stage-api", "stage-model", "model", "model-api", "blocks", "checkpoint", "tokenizer", "decoder"]),
    ("families", &["model-api", "model", "transformer"]),
    ("quantizers", &["model-api", "model", "blocks"]),
    ("tests/plugins", &["stage-api", "model-api", "model"]),
];

/// Crates that exactly one crate may name, because that one is the seam to them.
const SEAMS: [(&str, &str); 9] = [
    ("abi_stable", "stage-abi"),
    ("libloading", "stage-abi"),
    ("candle-core", "decoder"),
    ("llama-cpp-sys-2", "stage-evaluate-gguf"),
    ("hf-hub", "stage-fetch"),
    ("ureq", "stage-fetch"),
    ("tokenizers", "tokenizer"),
    ("minijinja", "tokenizer"),
    ("decoder", "stage-train-candle"),
];

/// What a crate may name from outside, where that is a promise.
const OUTSIDE: [(&str, &[&str]); 2] =
    [("model", &["serde", "serde_json", "thiserror"]), ("stage-abi", &["abi_stable", "libloading", "thiserror"])];

struct Package {
    name: String,
    /// Its directory, relative to the workspace.
    dir: String,
    crate_types: BTreeSet<String>,
    links: BTreeSet<String>,
    dev: BTreeSet<String>,
}

impl Package {
    fn read(package: &Value, root: &Path) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let manifest = text(&package["manifest_path"]);
        let dir = Path::new(&manifest).parent().unwrap().strip_prefix(root).unwrap();
        let targets = package["targets"].as_array().unwrap().iter();
        let of_library = targets.filter(|target| {
            let kinds = target["kind"].as_array().unwrap();
            !kinds
                .iter()
                .any(|kind| ["test", "bench", "example", "bin", "custom-build"].contains(&kind.as_str().unwrap()))
        });
        let crate_types = of_library.flat_map(|target| target["crate_types"].as_array().unwrap().iter().map(text));
        let dependencies = || package["dependencies"].as_array().unwrap().iter();
        let named = |dev: bool| {
            dependencies().filter(|d| (d["kind"] == "dev") == dev).map(|d| text(&d["name"])).collect::<BTreeSet<_>>()
        };
        Self {
            name: text(&package["name"]),
            dir: dir.to_str().unwrap().to_owned(),
            crate_types: crate_types.collect(),
            links: named(false),
            dev: named(true),
        }
    }

    /// The room of a plugin; `None` for everything that is linked.
    fn room(&self) -> Option<&'static str> {
        let rooms = ROOMS.iter().map(|(room, _)| *room);
        rooms.into_iter().find(|room| Path::new(&self.dir).starts_with(room))
    }

    fn allowed(&self) -> Option<&'static [&'static str]> {
        let room = self.room();
        let in_rooms = || ROOMS.iter().find(|(name, _)| Some(*name) == room).map(|(_, arrows)| *arrows);
        SHARED.iter().find(|(name, _)| *name == self.name).map(|(_, arrows)| *arrows).or_else(in_rooms)
    }
}

fn packages() -> Vec<Package> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(root);
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(|package| Package::read(package, root)).collect()
}

#[test]
fn arrows_point_where_they_may() {
    let packages = packages();
    let members: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let mut wrong = Vec::new();
    for package in packages.iter().filter(|p| p.name != "tests") {
        let Some(allowed) = package.allowed() else {
            wrong.push(format!("`{}` stands in no room: add it to the table of this test", package.name));
            continue;
        };
        let inside = package.links.iter().filter(|name| members.contains(name.as_str()));
        let strangers = inside.filter(|name| !allowed.contains(&name.as_str()));
        wrong.extend(strangers.map(|to| format!("`{}` → `{to}`", package.name)));
    }
    assert!(wrong.is_empty(), "arrows that the architecture does not have:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_names_no_arrow_of_the_past() {
    let packages = packages();
    let links: BTreeMap<&str, &BTreeSet<String>> = packages.iter().map(|p| (p.name.as_str(), &p.links)).collect();
    for (name, arrows) in SHARED {
        let links = links.get(name).unwrap_or_else(|| panic!("`{name}` is in the table, not in the workspace"));
        let unused: Vec<_> = arrows.iter().filter(|to| !links.contains(**to)).collect();
        assert!(unused.is_empty(), "`{name}` no longer stands on {unused:?}");
    }
}

#[test]
fn nobody_reaches_for_the_host() {
    for package in packages() {
        let all = package.links.iter().chain(&package.dev);
        assert!(!all.into_iter().any(|name| name == "host"), "`{}` depends on the host", package.name);
    }
}

#[test]
fn seams_stay_seams() {
    for package in packages() {
        for (foreign, seam) in SEAMS {
            let reached = package.links.contains(foreign) && package.name != seam && package.name != "tests";
            assert!(!reached, "`{}` names `{foreign}`, which only `{seam}` may", package.name);
        }
    }
}

#[test]
fn promised_crates_stay_small() {
    let packages = packages();
    let members: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    for (name, allowed) in OUTSIDE {
        let package = packages.iter().find(|p| p.name == name).unwrap();
        let outside = package.links.iter().filter(|to| !members.contains(to.as_str()));
        let more: Vec<_> = outside.filter(|to| !allowed.contains(&to.as_str())).collect();
        assert!(more.is_empty(), "`{name}` also names {more:?}");
    }
}

/// A plugin that another crate links would be in that crate's binary a second time, with the same exported symbol.
#[test]
fn plugins_are_dynamic_libraries_and_nothing_else() {
    let cdylib = BTreeSet::from(["cdylib".to_owned()]);
    let packages = packages();
    let plugins: Vec<_> = packages.iter().filter(|p| p.room().is_some()).collect();
    assert!(plugins.len() > 5, "the rooms of plugins are found");
    for plugin in plugins {
        assert_eq!(plugin.crate_types, cdylib, "`{}`", plugin.name);
    }
}
