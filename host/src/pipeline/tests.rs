#![allow(clippy::unwrap_used)]

use serde_json::json;
use stage_api::{Port, Signature, kind};

use super::*;

fn offer(plugin: &str, id: &str, inputs: Vec<Port>, outputs: Vec<Port>, params: Json) -> Offer {
    let signature = Signature { id: id.into(), summary: String::new(), revision: Some(1), inputs, outputs, params };
    Offer { plugin: plugin.into(), path: format!("/plugins/lib{plugin}.so").into(), digest: "d".into(), signature }
}

fn offers() -> Vec<Offer> {
    let model = || Port::new("model", kind::MODEL, "the model");
    let adapter = || Port::new("adapter", kind::ADAPTER, "its changes");
    let train = json!({
        "type": "object", "additionalProperties": false, "required": ["data"],
        "properties": {
            "data": {"type": "string", "format": "path", "description": "Conversations."},
            "rank": {"type": "integer", "minimum": 1, "maximum": 512},
            "dtype": {"anyOf": [{"enum": ["f32", "bf16"]}, {"type": "null"}]},
            "targets": {"type": "array", "items": {"type": "string"}},
            "decay": {"type": ["number", "null"]},
            "schedule": {"type": "object", "additionalProperties": false, "properties": {"warm_up": {"type": "number"}}},
        },
    });
    let none = || json!({"type": "object", "additionalProperties": false});
    let fetch = json!({"type": "object", "properties": {"source": {"type": "string"}}, "additionalProperties": false});
    vec![
        offer("basics", "fetch", vec![], vec![model()], fetch),
        offer("basics", "check", vec![model()], vec![Port::new("report", kind::REPORT, "")], none()),
        offer("candle", "train", vec![model()], vec![adapter(), Port::new("report", kind::REPORT, "")], train),
        offer("candle", "fuse", vec![model(), adapter().optional()], vec![model()], none()),
        offer("other", "fuse", vec![], vec![model()], none()),
        offer("basics", "silent", vec![], vec![], none()),
    ]
}

/// Resolves `text` in a directory that holds `data.jsonl`.
fn resolve(text: &str, flags: &[&str]) -> Result<Pipeline, Problems> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("data.jsonl"), "").unwrap();
    let flags: Vec<String> = flags.iter().map(|f| (*f).to_owned()).collect();
    PipelineFile::parse(&dir.path().join("p.toml"), "p.toml", text, &flags)?.resolve(&offers())
}

/// Every problem as `line: text under the caret: message (help)`.
fn problems(text: &str, flags: &[&str]) -> Vec<String> {
    let problems = resolve(text, flags).unwrap_err();
    let show = |p: &Located<Problem>| {
        let source = problems.sources.of(&p.span);
        let line = source.text[..p.span.range.start].matches('\n').count() + 1;
        let at = if source.name == "p.toml" { format!("{line}") } else { source.name.clone() };
        let help = p.value.help().map(|h| format!(" ({h})")).unwrap_or_default();
        let caret = source.text[p.span.range.clone()].lines().next().unwrap_or_default();
        format!("{at}: {caret}: {}{help}", p.value)
    };
    problems.list.iter().map(show).collect()
}

const GOOD: &str = r#"schema = 1
[pipeline]
name = "demo"
[vars]
rank = 4
[stages.fuse]
uses = "candle/fuse"
inputs = { model = "base", adapter = "train" }
[stages.train]
uses = "train"
inputs = { model = "base" }
after = ["check"]
[stages.train.with]
data = "data.jsonl"
rank = "${rank}"
[stages.base]
uses = "fetch"
with = { source = "path:${rank}/x" }
[stages.check]
uses = "check"
inputs = { model = "base.model" }
"#;

#[test]
fn a_good_pipeline_resolves_in_an_order_that_runs() {
    let pipeline = resolve(GOOD, &[]).unwrap();
    let names: Vec<&str> = pipeline.stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!((pipeline.name.as_str(), names), ("demo", vec!["base", "check", "train", "fuse"]));
    let train = &pipeline.stages[2];
    assert_eq!(train.params["rank"], json!(4));
    assert!(Path::new(train.params["data"].as_str().unwrap()).is_absolute());
    assert_eq!(train.inputs["model"], OutputRef { stage: "base".into(), output: "model".into() });
    assert_eq!(pipeline.stages[0].params["source"], json!("path:4/x"));
    let adapter = OutputRef { stage: "train".into(), output: "adapter".into() };
    assert_eq!(pipeline.stages[3].inputs["adapter"], adapter);
}

#[test]
fn flags_override_with_toml_values_and_plain_words() {
    let pipeline =
        resolve(GOOD, &["vars.rank=8", "stages.base.with.source=hf:org/name", "stages.train.with.dtype='f32'"]);
    let pipeline = pipeline.unwrap();
    assert_eq!(pipeline.stages[2].params["rank"], json!(8));
    assert_eq!(pipeline.stages[2].params["dtype"], json!("f32"));
    assert_eq!(pipeline.stages[0].params["source"], json!("hf:org/name"));
}

#[test]
fn mistakes_in_a_flag_point_at_the_flag() {
    assert_eq!(
        problems(GOOD, &["stages.train.with.rank=many"]),
        ["--set: many: `rank` is `\"many\"`, expected an integer"]
    );
    assert_eq!(problems(GOOD, &["vars.rank=0"]), ["--set: 0: `rank` is `0`, expected at least 1"]);
    let unknown = problems(GOOD, &["stages.trian.with.rank=8"]);
    assert!(unknown[0].starts_with("--set: trian: there is no stage `trian`"), "{unknown:?}");
    let vars = problems(GOOD, &["vars.rnk=8"]);
    assert_eq!(vars[0], "--set: rnk: `${rnk}` names no variable (did you mean `rank`? known variables: `rank`)");
    let bare = problems(GOOD, &["verbose"]);
    assert!(bare[0].starts_with("--set: verbose: a flag is written `key=value`"), "{bare:?}");
    assert!(problems(GOOD, &["vars.rank=[1"])[0].starts_with("--set"));
}

#[test]
fn syntax_and_schema_come_first() {
    let syntax = problems("schema = 1\n[stages\n", &[]);
    assert!(syntax[0].starts_with("2:"), "{syntax:?}");
    assert!(problems("", &[])[0].ends_with("a pipeline needs `schema` (write `schema = 1`)"));
    let later = problems("schema = 2\nzoo = 1\n", &[]);
    assert_eq!(later, ["1: 2: `schema = 2` is not a version that this host reads (write `schema = 1`)"]);
}

#[test]
fn everything_wrong_shows_at_once() {
    let text = r#"schema = 1
stage = 1
[pipeline]
nam = "x"
[matrix]
quantizer = ["a"]
[stages.base]
uses = "fecth"
[stages.train]
uses = "train"
inputs = { modl = "base", model = "bas" }
[stages.train.with]
data = "nowhere.jsonl"
rnk = 4
after = ["check"]
[stages."a.b"]
uses = "silent"
inputs = { model = ["fuse[*]"] }
[stages.none]
"#;
    assert_eq!(
        problems(text, &[]),
        [
            "2: stage: the pipeline has no key `stage` (did you mean `stages`? known keys: `schema`, `pipeline`, `vars`, `stages`, `matrix`)",
            "4: nam: `[pipeline]` has no key `nam` (did you mean `name`? known keys: `name`, `plugins`)",
            "5: matrix: `[matrix]` is not there yet (put one value under `[vars]`, and choose it with `--set vars.…`)",
            "8: \"fecth\": no plugin offers a stage `fecth` (did you mean `fetch`? known stages: `check`, `fetch`, `fuse`, `silent`, `train`)",
            "11: modl: `train` has no input `modl` (did you mean `model`? known inputs: `model`)",
            "11: \"bas\": there is no stage `bas` in this pipeline (did you mean `base`? known stages: `base`, `train`, `a.b`)",
            "14: rnk: `train` has no parameter `rnk` (did you mean `rank`? known parameters: `data`, `rank`, `dtype`, `targets`, `decay`, `schedule`)",
            "15: after: `after` stands under `with`, but belongs to the stage itself (move it up to `[stages.train]`: keys after `[stages.train.with]` belong to that table, so `after` must stand before it)",
            "16: \"a.b\": `a.b` is no name for a stage (use letters, digits, `-` and `_`)",
            "18: [\"fuse[*]\"]: an input that collects several stages is not there yet (name one stage, or `\"stage.output\"`)",
            "19: none: `[stages.none]` needs `uses` (write `uses = \"…\"`)",
        ]
    );
}

#[test]
fn inputs_are_checked_against_signatures() {
    let text = r#"schema = 1
[stages.base]
uses = "fetch"
[stages.quiet]
uses = "silent"
[stages.f]
uses = "fuse"
[stages.a]
uses = "candle/fuse"
inputs = { model = "base.weights", adapter = "base" }
[stages.b]
uses = "check"
[stages.c]
uses = "check"
inputs = { model = "quiet" }
"#;
    assert_eq!(
        problems(text, &[]),
        [
            "7: \"fuse\": several plugins offer the stage `fuse` (choose one of `candle/fuse`, `other/fuse`)",
            "10: \"base.weights\": stage `base` has no output `weights` (known outputs: `model`)",
            "10: \"base\": input `adapter` takes an adapter, but `base` is a model",
            "11: b: stage `b` misses the input `model` (add `inputs = { model = \"…\" }`, a model: the model)",
            "15: \"quiet\": stage `quiet` gives no output, so it can't be an input",
        ]
    );
}

#[test]
fn parameters_are_checked_at_their_own_places() {
    let text = r#"schema = 1
[stages.base]
uses = "fetch"
[stages.train]
uses = "train"
inputs = { model = "base" }
[stages.train.with]
rank = 1000
dtype = "f16"
targets = ["q", 3]
decay = nan
[stages.train.with.schedule]
warm_up = "long"
cosine = true
"#;
    assert_eq!(
        problems(text, &[]),
        [
            "7: with: `train` needs the parameter `data` (add `data = …` under `with`: Conversations)",
            "8: 1000: `rank` is `1000`, expected at most 512",
            "9: \"f16\": `dtype` is `\"f16\"`, expected `\"f32\"` or `\"bf16\"`",
            "10: 3: `targets[1]` is `3`, expected a string",
            "11: nan: `decay` is `\"NaN\"`, expected a number",
            "13: \"long\": `schedule.warm_up` is `\"long\"`, expected a number",
            "14: cosine: `train` has no parameter `cosine` (known parameters: `warm_up`)",
        ]
    );
}

#[cfg(unix)]
#[test]
fn a_device_is_no_path() {
    let device = problems(&GOOD.replace("data.jsonl", "/dev/null"), &[]);
    assert_eq!(device, ["14: \"/dev/null\": `/dev/null` is neither a file nor a directory"]);
}

#[test]
fn a_missing_path_and_a_circle() {
    let missing = problems(&GOOD.replace("data.jsonl", "nowhere.jsonl"), &[]);
    assert!(missing[0].starts_with("14: \"nowhere.jsonl\": there is no file or directory `"), "{missing:?}");
    let circle = GOOD.replace("inputs = { model = \"base.model\" }", "inputs = { model = \"fuse\" }");
    let want = "6: fuse: the stages depend on each other in a circle: fuse → train → check → fuse";
    assert_eq!(problems(&circle, &[]), [want]);
}

#[test]
fn messages_show_the_line_and_the_caret() {
    let text = "schema = 1\n[stages.base]\nuses = \"fecth\"\n";
    let shown = resolve(text, &[]).unwrap_err().render(false);
    assert!(shown.contains("error: no plugin offers a stage `fecth`"), "{shown}");
    assert!(shown.contains("p.toml:3:8"), "{shown}");
    assert!(shown.contains("uses = \"fecth\""), "{shown}");
    assert!(shown.contains("^^^^^^^"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
}
