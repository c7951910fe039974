//! Whatever way a model takes through the stages, its bytes are the same: merged before or while converting, copied,
//! there and back, in parts or in an older container.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use checkpoint::Checkpoint;
use checkpoint::gguf::Gguf;
use serde_json::Value;
use tests::checkpoint_edit::{Tensor, Tensors, in_one_file, write_model};
use tests::report::{gguf_in, output};
use tests::{Dir, tiny_llama};

/// A pipeline of a tiny model and further stages, each a line of `id`, `uses` and the rest of its table.
fn pipeline(source: &str, stages: &[(&str, &str, &str)]) -> String {
    let base = format!("schema = 1\n[stages.base]\nuses = \"fetch\"\nwith = {{ source = \"path:{source}\" }}\n");
    let stage = |(id, uses, rest): &(&str, &str, &str)| format!("[stages.{id}]\nuses = \"{uses}\"\n{rest}\n");
    base + &stages.iter().map(stage).collect::<String>()
}

/// The rest of a `convert-gguf`.
fn converted(inputs: &str, quantizer: &str) -> String {
    format!("inputs = {{ {inputs} }}\nwith = {{ quantizer = \"{quantizer}\", name = \"tiny\" }}")
}

fn run(dir: &Dir) -> Value {
    dir.host().args(["run", "p.toml", "--json"]).exits(0).json()
}

/// Where a run's stage put its model.
fn model_of(report: &Value, stage: &str) -> PathBuf {
    output(report, stage, "model")
}

fn gguf_path(report: &Value, stage: &str) -> PathBuf {
    gguf_in(&model_of(report, stage))
}

fn gguf_bytes(report: &Value, stage: &str) -> Vec<u8> {
    std::fs::read(gguf_path(report, stage)).unwrap()
}

const CHATS: &str = r#"{"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]}
{"messages": [{"role": "user", "content": "two"}, {"role": "assistant", "content": "three"}]}
{"messages": [{"role": "user", "content": "three"}, {"role": "assistant", "content": "four"}]}
"#;

/// Converts the base with an adapter at once and by way of `fuse`, and alone.
fn merged_both_ways(dir: &Dir, base: &str) {
    dir.write("chats.jsonl", CHATS);
    let train = "inputs = { model = \"base\" }\nwith = { data = \"chats.jsonl\", rank = 4, steps = 1, batch_size = 1, \
                 learning_rate = 0.05, warmup_ratio = 0.0 }";
    let fuse = "inputs = { model = \"base\", adapter = \"train\" }\nwith = { dtype = \"f32\" }";
    let ways = [
        ("at-once", "model = \"base\", adapter = \"train\""),
        ("in-two", "model = \"fuse\""),
        ("alone", "model = \"base\""),
    ];
    let quantizers = ["f32", "q8_0", "q4_0"];
    let conversions = ways.map(|(way, inputs)| quantizers.map(|q| (format!("{way}-{q}"), converted(inputs, q))));
    let mut stages = vec![("train", "train-candle", train), ("fuse", "fuse", fuse)];
    stages.extend(conversions.iter().flatten().map(|(id, rest)| (id.as_str(), "convert-gguf", rest.as_str())));
    dir.write("p.toml", pipeline(base, &stages));
    let report = run(dir);
    for quantizer in quantizers {
        let [at_once, in_two, alone] = ways.map(|(way, _)| gguf_bytes(&report, &format!("{way}-{quantizer}")));
        assert!(at_once == in_two, "{quantizer}: the two ways differ");
        assert!(at_once != alone, "{quantizer}: the adapter changed nothing");
    }
}

#[test]
fn merging_while_converting_is_fusing_and_then_converting() {
    let dir = Dir::new();
    write_model(&dir, "tiny", &in_one_file(tiny_llama::directory(1)), |_| {});
    merged_both_ways(&dir, "tiny");
}

#[test]
fn so_it_is_on_a_quantized_base() {
    let dir = Dir::new();
    write_model(&dir, "tiny", &in_one_file(tiny_llama::directory(1)), |_| {});
    let q4_1 = converted("model = \"base\"", "q4_1");
    dir.write("p.toml", pipeline("tiny", &[("gguf", "convert-gguf", &q4_1)]));
    dir.write("tiny.gguf", gguf_bytes(&run(&dir), "gguf"));
    merged_both_ways(&dir, "tiny.gguf");
}

/// Blocks that no encoder writes, with a negative scale, show whether they were copied or encoded anew.
#[test]
fn a_tensor_whose_type_stays_is_copied_bit_for_bit() {
    let dir = Dir::new();
    dir.write("tiny.gguf", tiny_llama::gguf(1));
    let q8_0 = converted("model = \"base\"", "q8_0");
    dir.write("p.toml", pipeline("tiny.gguf", &[("gguf", "convert-gguf", &q8_0)]));
    let made = gguf_path(&run(&dir), "gguf");

    let mut bytes = std::fs::read(&made).unwrap();
    let gguf = Gguf::open(&made).unwrap();
    let quantized: Vec<_> = gguf.tensors().filter(|t| t.stored_type.name() == "q8_0").collect();
    assert!(quantized.len() > 14, "{quantized:?}");
    for tensor in quantized {
        let data = gguf.get(&tensor.name).unwrap().1;
        let at = bytes.windows(data.len()).position(|w| w == data).unwrap();
        bytes[at + 1] ^= 0x80;
    }
    dir.write("odd.gguf", &bytes);
    dir.write("p.toml", pipeline("odd.gguf", &[("gguf", "convert-gguf", &q8_0)]));
    assert!(gguf_bytes(&run(&dir), "gguf") == bytes, "the copy differs");
}

/// Values that are `bf16` survive `f32`, the container's own row order and the way back.
#[test]
fn there_and_back_gives_every_bit_again() {
    let dir = Dir::new();
    let mut model = in_one_file(tiny_llama::directory(1));
    model.0.by_name().values_mut().for_each(Tensor::cut_to_bf16);
    write_model(&dir, "tiny", &model, |config| config["torch_dtype"] = "bfloat16".into());
    let gguf = converted("model = \"base\"", "f32");
    let back = "inputs = { model = \"gguf\" }\nwith = { dtype = \"bf16\" }";
    dir.write("p.toml", pipeline("tiny", &[("gguf", "convert-gguf", &gguf), ("back", "fuse", back)]));

    let plan = dir.host().args(["plan", "p.toml", "--json"]).exits(0).json();
    for stage in plan["stages"].as_array().unwrap() {
        assert_eq!(stage["outputs"]["model"]["certainty"], "exact", "{stage:#}");
    }
    let back = model_of(&run(&dir), "back");
    let mut tensors = Tensors::parse(&std::fs::read(back.join("model.safetensors")).unwrap());
    assert!(tensors.by_name() == model.0.by_name(), "the weights differ");

    let config = |path: PathBuf| Checkpoint::open(&path).unwrap().config().unwrap().clone();
    let (before, after) = (config(dir.path("tiny")), config(back));
    for (key, value) in before.as_object().unwrap() {
        assert_eq!(&after[key], value, "`{key}`\n{after:#}");
    }
}

/// A GGUF in parts and one of version 2 hold the same model as the plain file.
#[test]
fn parts_and_versions_of_a_gguf_convert_to_the_same_bytes() {
    let dir = Dir::new();
    let whole = tiny_llama::gguf(1);
    let [first, second] = tiny_llama::split_gguf(1);
    let mut older = whole.clone();
    older[4..8].copy_from_slice(&2_u32.to_le_bytes());
    dir.write("whole.gguf", whole);
    dir.write("older.gguf", older);
    dir.write("parts-00001-of-00002.gguf", first);
    dir.write("parts-00002-of-00002.gguf", second);

    let q8_0 = converted("model = \"base\"", "q8_0");
    let [whole, older, parts] = ["whole.gguf", "older.gguf", "parts-00001-of-00002.gguf"].map(|file| {
        dir.write("p.toml", pipeline(file, &[("gguf", "convert-gguf", &q8_0)]));
        gguf_bytes(&run(&dir), "gguf")
    });
    assert!(whole == older, "version 2 differs");
    assert!(whole == parts, "parts differ");
}

#[test]
fn so_it_is_where_a_gguf_has_factors_of_its_own() {
    let dir = Dir::new();
    dir.write("tiny.gguf", tiny_llama::gguf(1));
    merged_both_ways(&dir, "tiny.gguf");
}
