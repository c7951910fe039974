#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn signature() -> Signature {
    let params = json!({"properties": {
        "data": {"format": "path"}, "threads": {"x-execution": true}, "log": {"properties": {"every": {"x-execution": true}}},
    }});
    let (id, summary) = ("train".to_owned(), String::new());
    Signature { id, summary, revision: Some(3), inputs: Vec::new(), outputs: Vec::new(), params }
}

fn input(content: &str) -> InputParts {
    InputParts { content: content.into(), facts: BTreeMap::from([("container".into(), "gguf".into())]) }
}

fn parts(signature: &Signature, params: Value) -> KeyParts {
    let plan = Plan {
        pins: BTreeMap::from([("commit".into(), "abc".into())]),
        resolved: BTreeMap::from([("dtype".into(), "f32".into()), ("threads".into(), 2.into())]),
        numeric_mode: Some("f32/bf16".into()),
        ..Plan::default()
    };
    let use_of = |kind: &str, id: &str| ExtensionUse {
        kind: kind.into(),
        id: id.into(),
        plugin: "p".into(),
        digest: Some("77".into()),
    };
    KeyParts::new(KeyInput {
        signature,
        plugin_digest: "dd",
        params: &params,
        paths: &BTreeMap::from([("/data".to_owned(), "d1".to_owned())]),
        inputs: BTreeMap::from([("model".into(), input("m1"))]),
        plan: &plan,
        extensions: &[use_of("quantizer", "q8_0"), use_of("family", "llama")],
    })
}

/// A change of this text throws away everybody's cache: raise [`KEY_SCHEMA`] and say why.
#[test]
fn the_canonical_form_is_pinned() {
    let params = json!({"rank": 16, "dtype": "auto", "data": "/home/x/data.jsonl", "rate": 1e-4, "log": {"every": 5}, "threads": 4});
    let parts = parts(&signature(), params);
    assert_eq!(
        parts.canonical(),
        concat!(
            r#"{"extensions":{"family/llama":"77","quantizer/q8_0":"77"},"inputs":{"model":{"content":"m1","#,
            r#""facts":{"container":"gguf"}}},"numeric_mode":"f32/bf16","params":{"data":{"content":"d1"},"dtype":"f32","log":{},"rank":16,"rate":0.0001},"pins":{"commit":"abc"},"#,
            r#""revision":"3","schema":2,"stage":"train"}"#
        )
    );
    assert_eq!(parts.key().short(), "7b6a2f43845c");
}

#[test]
fn order_and_execution_do_not_matter() {
    let one = parts(&signature(), json!({"a": 1, "b": 2, "data": "/x", "threads": 1}));
    let two = parts(&signature(), json!({"data": "/elsewhere", "b": 2, "a": 1}));
    assert_eq!(one.key(), two.key());
}

#[test]
fn an_undeclared_revision_is_the_plugin() {
    let signature = Signature { revision: None, ..signature() };
    assert_eq!(parts(&signature, json!({})).revision, "sha256:dd");
}

#[test]
fn differences_are_named() {
    let old = parts(&signature(), json!({"rank": 8}));
    let difference = |change: fn(&mut KeyParts)| {
        let mut new = old.clone();
        change(&mut new);
        new.difference(&old)
    };
    assert_eq!(difference(|_| ()), None);
    assert_eq!(difference(|k| k.params["rank"] = 9.into()).unwrap(), "parameter `rank` changed");
    assert_eq!(difference(|k| drop(k.inputs.insert("model".into(), input("m2")))).unwrap(), "input `model` changed");
    let named = difference(|k| drop(k.inputs.get_mut("model").unwrap().facts.insert("pre".into(), "smollm".into())));
    assert_eq!(named.unwrap(), "input `model` changed");
    assert_eq!(difference(|k| k.pins.clear()).unwrap(), "pin `commit` changed");
    assert_eq!(difference(|k| k.revision = "4".into()).unwrap(), "the stage itself changed");
}
