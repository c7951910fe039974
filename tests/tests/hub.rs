//! Models of a hub: planned without their weights, fetched, resumed, verified, used offline.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::hub::{Hub, Served, TOKEN, bytes};
use tests::{Dir, Finished, llama32, tiny_llama};

const PLAN: i32 = 4;
const STAGE: i32 = 5;
const CANCELLED: i32 = 7;
const REPOSITORY: &str = "org/tiny";

fn pipeline(source: &str) -> String {
    format!("schema = 1\n[stages.base]\nuses = \"fetch\"\nwith = {{ source = \"{source}\" }}\n")
}

fn publish(hub: &Hub, repository: &str, files: &[(String, Vec<u8>)]) -> String {
    hub.publish(repository, files.iter().map(|(name, content)| (name.clone(), content.as_slice().into())))
}

/// A hub with one model, and a directory with a pipeline that fetches it.
fn tiny() -> (Hub, Dir, String) {
    let (hub, dir) = (Hub::new(), Dir::new());
    let commit = publish(&hub, REPOSITORY, &tiny_llama::directory(1));
    dir.write("p.toml", pipeline("hf:org/tiny"));
    (hub, dir, commit)
}

/// A hub with a repository of GGUFs.
fn quantized() -> (Hub, Dir) {
    let (hub, dir) = (Hub::new(), Dir::new());
    let [first, second] = tiny_llama::split_gguf(2);
    let files = [
        ("README.md".to_owned(), b"# Tiny".to_vec()),
        ("F32/tiny-F32-00001-of-00002.gguf".to_owned(), first),
        ("F32/tiny-F32-00002-of-00002.gguf".to_owned(), second),
        ("mmproj-F16.gguf".to_owned(), b"GGUF, but no language model".to_vec()),
        ("tiny-Q8_0.gguf".to_owned(), tiny_llama::gguf(1)),
    ];
    publish(&hub, "org/tiny-GGUF", &files);
    (hub, dir)
}

fn planned(hub: &Hub, dir: &Dir) -> Value {
    hub.host(dir).args(["plan", "p.toml", "--json"]).exits(0).json()["stages"][0].clone()
}

fn run(hub: &Hub, dir: &Dir) -> Value {
    hub.host(dir).args(["run", "p.toml", "--json"]).exits(0).json()["stages"][0].clone()
}

fn model_path(stage: &Value) -> PathBuf {
    stage["outputs"]["model"]["path"].as_str().unwrap().into()
}

fn repository_cache(dir: &Dir) -> PathBuf {
    dir.path("hf/hub/models--org--tiny")
}

const SIDE_FILES: [&str; 7] = [
    "LICENSE",
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

/// Bytes of the tiny model's files of these names.
fn size_of(names: &[&str]) -> u64 {
    let files = tiny_llama::directory(1);
    files.iter().filter(|(name, _)| names.contains(&name.as_str())).map(|(_, content)| content.len() as u64).sum()
}

/// Names in a directory of the repository's cache.
fn names(dir: &Path) -> Vec<String> {
    let entries = dir.read_dir().into_iter().flatten();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn parts(dir: &Dir) -> Vec<PathBuf> {
    let blobs = repository_cache(dir).join("blobs");
    names(&blobs).into_iter().filter(|name| name.ends_with(".part")).map(|name| blobs.join(name)).collect()
}

fn of_storage(served: &[Served]) -> Vec<&Served> {
    served.iter().filter(|s| s.path.starts_with("/storage/") && s.bytes > 0).collect()
}

#[test]
fn a_plan_reads_headers_and_no_weights() {
    let (hub, dir, commit) = tiny();
    hub.state().refuse_weights = true;
    let plan = planned(&hub, &dir);
    assert_eq!(plan["outputs"]["model"]["certainty"], "exact");
    assert_eq!(plan["pins"]["commit"], commit.as_str());
    assert!(!dir.path("hf").exists(), "a plan writes nothing");
    let served = hub.served();
    // The length and the header of each shard.
    assert_eq!(of_storage(&served).len(), 4, "{served:#?}");
    assert!(bytes(&served) < 200_000, "{} bytes, {served:#?}", bytes(&served));
    assert_eq!(plan["estimate"]["disk"], size_of(&SHARDS) + size_of(&SIDE_FILES));

    // What is made is what was planned, byte for byte: anything else is a broken promise, and no exit code 0.
    hub.state().refuse_weights = false;
    let made = run(&hub, &dir);
    let snapshot = repository_cache(&dir).join("snapshots").join(&commit);
    assert_eq!(model_path(&made), snapshot);
    let mut expected = [&SHARDS[..], &SIDE_FILES[..]].concat();
    expected.sort_unstable();
    assert_eq!(names(&snapshot), expected);
    for (name, content) in tiny_llama::directory(1).iter().filter(|(name, _)| expected.contains(&name.as_str())) {
        assert_eq!(&std::fs::read(snapshot.join(name)).unwrap(), content, "{name}");
    }
    assert_eq!(std::fs::read_to_string(repository_cache(&dir).join("refs/main")).unwrap(), commit);
    assert_eq!(planned(&hub, &dir)["state"], "cached");
}

/// The pipeline as its users run it, on the true shape of a model whose weights nobody could send.
#[test]
fn the_pipeline_of_llama_3_2_is_planned_in_less_than_32_mb() {
    let (hub, dir) = (Hub::new(), Dir::new());
    hub.publish("meta-llama/Llama-3.2-3B-Instruct", llama32::files());
    hub.state().refuse_weights = true;
    let pipeline = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/llama32.toml");
    let host = hub.host(&dir).args(["plan".as_ref(), pipeline.as_os_str()]);
    let plan = host.args(["--json", "--memory", "16G"]).exits(0).json();
    assert_eq!(plan["stages"].as_array().unwrap().len(), 7);
    let weights = plan["stages"][0]["estimate"]["disk"].as_u64().unwrap();
    assert!(weights > 2_400_000_000, "{weights}");
    let served = hub.served();
    assert!(bytes(&served) < 32_000_000, "{} bytes", bytes(&served));
    assert_eq!(of_storage(&served).len(), 2, "{served:#?}");
}

#[test]
fn a_download_goes_onto_the_disk_of_the_hubs_cache_and_must_fit_there() {
    let (hub, dir, _) = tiny();
    let hub_cache = dir.path("hf/hub").display().to_string();
    assert_eq!(planned(&hub, &dir)["estimate"]["disk_at"], hub_cache);
    // A file system that takes nothing, while that of the artifacts has room.
    let refused = hub.host(&dir).env("HF_HUB_CACHE", "/proc/hub").args(["run", "p.toml", "--json"]).exits(PLAN);
    refused.complains("into `/proc/hub`, and its disk has 0 B free");
    assert!(!dir.path("hf").exists());
    run(&hub, &dir);
}

#[test]
fn a_quantization_is_chosen_by_name_and_planned_on_its_header() {
    let (hub, dir) = quantized();
    hub.state().refuse_weights = true;
    for (source, file, facts) in [
        ("hf:org/tiny-GGUF:q8_0", "tiny-Q8_0.gguf", 1),
        ("hf:org/tiny-GGUF:F32", "F32/tiny-F32-00001-of-00002.gguf", 1),
        // Already here, so nothing is read over the network.
        ("hf:org/tiny-GGUF", "tiny-Q8_0.gguf", 0),
    ] {
        dir.write("p.toml", pipeline(source));
        let plan = planned(&hub, &dir);
        assert_eq!(plan["outputs"]["model"]["facts"]["container"], "gguf", "{source}");
        // `rope_freqs.weight`: 8 factors are a fact, not weights.
        assert_eq!(of_storage(&hub.served()).iter().filter(|s| s.bytes == 32).count(), facts, "{source}");
        let noted = plan["findings"].to_string().contains("unnamed_quantization");
        assert_eq!(noted, source == "hf:org/tiny-GGUF");
        hub.state().refuse_weights = false;
        assert!(model_path(&run(&hub, &dir)).ends_with(file), "{source}");
        hub.state().refuse_weights = true;
        hub.served();
    }
    let snapshots = dir.path("hf/hub/models--org--tiny-GGUF/snapshots");
    let snapshot = snapshots.join(&names(&snapshots)[0]);
    assert_eq!(names(&snapshot), ["F32", "tiny-Q8_0.gguf"]);

    dir.write("p.toml", pipeline("hf:org/tiny-GGUF:Q4_K_M"));
    let refused = hub.host(&dir).args(["plan", "p.toml"]).exits(PLAN);
    refused.complains("no quantization `Q4_K_M`; there are `F32`, `Q8_0`");
}

#[test]
fn a_download_goes_on_where_it_broke_off() {
    let (hub, dir, _) = tiny();
    hub.state().break_after = Some(300_000);
    run(&hub, &dir);
    let served = hub.served();
    let storage = of_storage(&served);
    let starts: Vec<&str> = storage.iter().filter_map(|s| s.range.as_deref()).filter(|r| r.ends_with('-')).collect();
    assert!(starts.contains(&"bytes=300000-"), "{starts:?}");
    let weights = storage.iter().map(|s| s.bytes).sum::<u64>();
    // Headers are read once more by the plan.
    assert!(weights < size_of(&SHARDS) + 10_000, "{weights}");
}

#[test]
fn the_next_run_resumes_and_nothing_is_half_written() {
    let (hub, dir, commit) = tiny();
    {
        let mut state = hub.state();
        (state.break_after, state.then_die) = (Some(300_000), true);
    }
    hub.host(&dir).args(["run", "p.toml"]).exits(STAGE).complains("the next run goes on where it stopped");
    let parts = parts(&dir);
    assert_eq!(parts.iter().map(|p| p.metadata().unwrap().len()).collect::<Vec<_>>(), [300_000]);
    let snapshot = repository_cache(&dir).join("snapshots").join(&commit);
    assert!(names(&snapshot).iter().all(|name| !name.contains("-of-")), "{:?}", names(&snapshot));
    hub.served();

    hub.state().revive();
    let plan = planned(&hub, &dir);
    hub.served();
    run(&hub, &dir);
    let served = hub.served();
    let missing = plan["estimate"]["disk"].as_u64().unwrap();
    let brought: u64 = of_storage(&served)
        .iter()
        .filter(|s| s.range.as_deref().is_none_or(|r| r.ends_with('-')))
        .map(|s| s.bytes)
        .sum();
    assert_eq!(brought, missing, "{served:#?}");
    assert!(names(&repository_cache(&dir).join("blobs")).iter().all(|name| !name.ends_with(".part")));
}

#[test]
fn what_a_damaged_part_spoils_is_brought_anew() {
    let (hub, dir, _) = tiny();
    {
        let mut state = hub.state();
        (state.break_after, state.then_die) = (Some(300_000), true);
    }
    hub.host(&dir).args(["run", "p.toml"]).exits(STAGE);
    hub.state().revive();
    let part = &parts(&dir)[0];
    let mut bytes = std::fs::read(part).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(part, bytes).unwrap();
    run(&hub, &dir);
}

#[test]
fn other_bytes_than_promised_are_deleted() {
    let (hub, dir, commit) = tiny();
    hub.state().corrupt = true;
    let failed = hub.host(&dir).args(["run", "p.toml", "--json"]).exits(STAGE);
    failed.complains("model-00001-of-00002.safetensors of `org/tiny` has the SHA-256");
    assert_eq!(failed.json()["error"]["code"], "checksum_mismatch");
    let cache = repository_cache(&dir);
    assert!(names(&cache.join("snapshots").join(commit)).iter().all(|name| !name.contains("-of-")));
    assert!(parts(&dir).is_empty());
    hub.state().corrupt = false;
    run(&hub, &dir);
}

#[test]
fn offline_the_last_pin_is_used() {
    let (hub, dir, first) = tiny();
    let offline = |args: &[&str]| hub.host(&dir).args(args).args(["p.toml", "--offline", "--json"]);
    let nothing = offline(&["plan"]).exits(PLAN);
    nothing.complains("has no revision `main` of `org/tiny`").complains("run once without `--offline`");

    run(&hub, &dir);
    publish(&hub, REPOSITORY, &tiny_llama::directory(2));
    hub.served();
    let plan = offline(&["plan"]).exits(0).json();
    assert_eq!((&plan["stages"][0]["pins"]["commit"], &plan["stages"][0]["state"]), (&first.into(), &"cached".into()));
    // Another host, with the hub's cache alone.
    let run = offline(&["run"]).env("HOST_CACHE_DIR", dir.path("other")).exits(0).json();
    assert_eq!(run["stages"][0]["cached"], false);
    let variable = hub.host(&dir).env("HF_HUB_OFFLINE", "1").args(["run", "p.toml", "--json"]).exits(0);
    assert_eq!(variable.json()["stages"][0]["cached"], true);
    assert_eq!(hub.served().len(), 0);

    let shard = model_path(&run["stages"][0]).join("model-00002-of-00002.safetensors");
    std::fs::remove_file(shard).unwrap();
    offline(&["run"])
        .env("HOST_CACHE_DIR", dir.path("third"))
        .exits(PLAN)
        .complains("has no file `model-00002-of-00002.safetensors`");
}

#[test]
fn a_new_commit_is_another_key_and_a_pinned_one_is_not() {
    let (hub, dir, first) = tiny();
    run(&hub, &dir);
    let second = publish(&hub, REPOSITORY, &tiny_llama::directory(2));
    let made = run(&hub, &dir);
    assert_eq!(made["cached"], false);
    assert!(model_path(&made).ends_with(&second));
    dir.write("p.toml", pipeline(&format!("hf:org/tiny@{first}")));
    let pinned = run(&hub, &dir);
    assert!(model_path(&pinned).ends_with(&first));
    assert_eq!(std::fs::read_to_string(repository_cache(&dir).join("refs/main")).unwrap(), second);
}

#[test]
fn a_gated_repository_says_where_to_go() {
    let (hub, dir, _) = tiny();
    hub.gate(REPOSITORY);
    let page = format!("accept the licence at {}/org/tiny", hub.endpoint());
    let check = |finished: Finished, advice: &str| {
        finished.complains("`org/tiny` is gated").complains(&page).complains(advice);
    };
    check(hub.host(&dir).args(["plan", "p.toml"]).exits(PLAN), "set `HF_TOKEN` to a read token of your account");
    let wrong = hub.host(&dir).env("HF_TOKEN", "hf_wrong").args(["plan", "p.toml"]).exits(PLAN);
    check(wrong, "use a token with access");
    hub.host(&dir).env("HF_TOKEN", TOKEN).args(["plan", "p.toml"]).exits(0);
    dir.write("hf/token", format!("{TOKEN}\n"));
    run(&hub, &dir);
}

#[test]
fn what_is_not_there_is_said() {
    let (hub, dir, _) = tiny();
    let refused = |source: &str, says: &str| {
        dir.write("p.toml", pipeline(source));
        hub.host(&dir).args(["plan", "p.toml"]).exits(PLAN).complains(says);
    };
    refused("hf:org/nothing", "the hub does not show `org/nothing`");
    refused("hf:org/tiny@v2", "`org/tiny` has no revision `v2`");
    refused("hf:tiny", "not of the form `org/name`");
    publish(&hub, "org/old", &[("config.json".into(), b"{}".to_vec()), ("pytorch_model.bin".into(), vec![0])]);
    refused("hf:org/old", "it holds `pytorch_model.bin`");
}

#[test]
fn a_hub_that_is_away_is_named() {
    let (hub, dir, _) = tiny();
    let host = hub.host(&dir).env("HF_ENDPOINT", "http://127.0.0.1:9").args(["plan", "p.toml"]);
    host.exits(PLAN)
        .complains("`http://127.0.0.1:9/api/models/org/tiny")
        .complains("`--offline` uses what was fetched");
}

#[test]
fn a_download_stops_on_request() {
    let (hub, dir, _) = tiny();
    hub.state().slow = true;
    let mut command = hub.host(&dir).args(["run", "p.toml"]).into_command();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while parts(&dir).first().is_none_or(|part| part.metadata().unwrap().len() == 0) {
        assert!(started.elapsed() < Duration::from_secs(60), "no download");
        std::thread::sleep(Duration::from_millis(20));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(CANCELLED));
    assert_eq!(parts(&dir).len(), 1);
    hub.state().slow = false;
    run(&hub, &dir);
}
