//! Adapters that other libraries made, through the real binary: the logits that those give, from the adapter beside its
//! base and fused into it.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::{Value, json};
use tests::Dir;
use tests::adapters::{
    BAR, BASE, ForeignAdapter, HERE, PEFT, agrees, both, config, import, logits, logits_of, prepared, run, stage,
    written,
};
use tests::family_models::{FamilyModel, Spelling, apart};
use tests::report::{divergence, gguf_in, output};

const PLAN: i32 = 4;

fn check(adapter: &str, family: &str) -> (Dir, Value) {
    let dir = prepared(adapter, family);
    let report = run(&dir, &(BASE.to_owned() + &import("base", "source = \"path:adapter\"") + &both("base")));
    agrees(&report, adapter, family);
    (dir, report)
}

#[test]
fn square_factors_of_mlx() {
    check("mlx-square", "qwen2");
}

#[test]
fn dora_of_mlx() {
    check("mlx-dora", "qwen2");
}

/// Mamba's projections, attention, and gate and up that are one matrix in the published spelling.
#[test]
fn a_hybrid_of_mlx() {
    check("mlx-hybrid", "granite4-h");
}

/// Factors of three dimensions, and gate and up apart from each other.
#[test]
fn experts_of_mlx() {
    check("mlx-experts", "granite4-h-moe");
}

#[test]
fn rslora_and_patterns_of_peft() {
    check("peft-patterns", "granite4-h");
}

#[test]
fn dora_of_peft() {
    check("peft-dora", "qwen2");
}

#[test]
fn plain_lora_of_peft_is_written_as_it_was() {
    let (_dir, report) = check("peft-mistral", "mistral");
    let mut theirs = ForeignAdapter::named("peft-mistral").tensors(PEFT);
    assert!(written(&report).by_name() == theirs.by_name());
}

/// As a raw state dict of a compiled model has them, and in bf16.
#[test]
fn names_with_wrappers_are_the_same_modules() {
    let dir = prepared("peft-mistral", "mistral");
    let mut tensors = ForeignAdapter::named("peft-mistral").tensors("adapter_model.safetensors");
    for (name, tensor) in std::mem::take(tensors.by_name()) {
        let wrapped = name.replace("base_model.model.model.", "base_model.model._orig_mod.model.");
        tensors.by_name().insert(wrapped.replace(".weight", ".default.weight"), tensor);
    }
    dir.write("wrapped/adapter_model.safetensors", tensors.bytes());
    // Unsloth notes that it changed the model's classes.
    let mut config = dir.json("adapter/adapter_config.json");
    config["auto_mapping"] = json!({ "base_model_class": "MistralForCausalLM", "unsloth_fixed": true });
    dir.write("wrapped/adapter_config.json", config.to_string());
    let report = run(&dir, &(BASE.to_owned() + &import("base", "source = \"path:wrapped\"") + &both("base")));
    agrees(&report, "peft-mistral", "mistral");

    tensors.by_name().values_mut().for_each(|tensor| tensor.cut_to_bf16());
    dir.write("wrapped/adapter_model.safetensors", tensors.bytes());
    let report = run(&dir, &(BASE.to_owned() + &import("base", "source = \"path:wrapped\"") + &both("base")));
    let far = apart(&logits_of(&report, "fused"), &ForeignAdapter::named("peft-mistral").golden());
    assert!(far > BAR && far < 0.1, "{far}");
}

/// What `convert_lora_to_gguf.py` made of PEFT's, on the base as a GGUF and as a directory: rows of queries and keys lie
/// otherwise there.
#[test]
fn a_gguf_lora_on_either_base() {
    for base in ["gguf", "base"] {
        let dir = prepared("gguf-mistral", "mistral");
        let gguf = stage("gguf", "convert-gguf", "model = \"base\"", "quantizer = \"f32\"");
        let with = "source = \"path:adapter/lora.gguf\"";
        let report = run(&dir, &(BASE.to_owned() + &gguf + &import(base, with) + &both(base)));
        agrees(&report, "peft-mistral", "mistral");
    }
}

/// mlx-lm's adapter as a GGUF LoRA, beside its base in llama.cpp, and imported again: gate and up share a matrix here and
/// lie apart there.
#[test]
fn a_gguf_lora_of_a_hybrid_comes_back() {
    let dir = prepared("mlx-hybrid", "granite4-h");
    let gguf = stage("gguf", "convert-gguf", "model = \"base\"", "quantizer = \"f32\"");
    let lora = stage("lora", "convert-gguf", "adapter = \"adapter\"", "");
    let beside = logits("beside", "model = \"base\", adapter = \"adapter\"");
    let inputs = "model = \"gguf\", adapter = \"lora.adapter\", reference = \"beside\"";
    let evaluate = format!("[stages.evaluate]\nuses = \"evaluate-gguf\"\ninputs = {{ {inputs} }}\n");
    let import_mlx = import("base", "source = \"path:adapter\"");
    let report = run(&dir, &(BASE.to_owned() + &import_mlx + &gguf + &lora + &beside + &evaluate));
    let divergence = divergence(&report);
    assert!(divergence <= 1e-8, "llama.cpp diverges by {divergence:.1e}");

    let again = format!("source = \"path:{}\"", output(&report, "lora", "adapter").display());
    let report = run(&dir, &(BASE.to_owned() + &import("base", &again) + &both("base")));
    agrees(&report, "mlx-hybrid", "granite4-h");
}

#[test]
fn planning_says_what_was_found() {
    let dir = prepared("mlx-hybrid", "granite4-h");
    dir.write("p.toml", BASE.to_owned() + &import("base", "source = \"path:adapter\""));
    let plan = dir.host().args(["plan", "p.toml", "--json"]).exits(0).json();
    let text = plan.to_string();
    for says in
        ["mlx-lm LoRA of adapters.safetensors: 18 modules", "rank 4 to 8, scale 8", "made for `tiny/granite4-h`"]
    {
        assert!(text.contains(says), "`{says}` is not in {plan:#}");
    }
}

/// llama.cpp adds to products and can give no row a length; training begins with sums too.
#[test]
fn dora_is_merged_only() {
    let dir = prepared("peft-dora", "qwen2");
    dir.write(
        "chats.jsonl",
        r#"{"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]}"#,
    );
    let lora = stage("lora", "convert-gguf", "adapter = \"adapter\"", "");
    dir.write("p.toml", BASE.to_owned() + &import("base", "source = \"path:adapter\"") + &lora);
    dir.host().args(["run", "p.toml"]).exits(PLAN).complains("merge only").complains("`fuse`");
    let train =
        stage("train", "train-candle", "model = \"base\"", "data = \"chats.jsonl\", init_adapter = \"adapter\"");
    dir.write("p.toml", BASE.to_owned() + &train);
    dir.host().args(["run", "p.toml"]).exits(PLAN).complains("`init_adapter` is DoRA").complains("down_proj");
}

#[test]
fn the_example_pipeline_is_planned() {
    let dir = prepared("mlx-square", "qwen2");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/bring-your-adapter.toml");
    let set = [
        format!("stages.base.with.source=\"path:{}\"", dir.path("model").display()),
        format!("vars.adapter=\"path:{}\"", dir.path("adapter").display()),
    ];
    let host = dir.host().args(["plan".as_ref(), file.as_os_str()]);
    let plan = host.args(["--json", "--set", &set[0], "--set", &set[1]]).exits(0).json();
    assert_eq!(plan["stages"].as_array().unwrap().len(), 7, "{plan:#}");
}

/// Early versions of mlx-lm divided alpha by the rank.
#[test]
fn a_scale_is_given_where_it_is_unknown() {
    let dir = prepared("mlx-square", "qwen2");
    config(&dir, |keys| keys["lora_parameters"] = json!({ "rank": 32, "scale": 1.0, "alpha": 64.0 }));
    let (given, twice) = (format!("{HERE}, scale = 2.0"), both("base"));
    let report = run(&dir, &(BASE.to_owned() + &import("base", &given) + &twice));
    agrees(&report, "mlx-square", "qwen2");
}

/// Newer GGUFs keep gate and up of experts as one matrix: a LoRA has the same matrices as its base, and comes back from
/// them.
#[test]
fn experts_of_a_gguf_with_gate_and_up_in_one() {
    let (dir, model) = (Dir::new(), FamilyModel::named("granite3-moe"));
    model.write(&dir, "model", Spelling::Published);
    std::fs::copy(model.text(), dir.path("text.txt")).unwrap();
    let gguf = stage("gguf", "convert-gguf", "model = \"base\"", "quantizer = \"f32\"");
    let report = run(&dir, &(BASE.to_owned() + &gguf));
    join_experts(&gguf_in(&output(&report, "gguf", "model")), &dir.path("one.gguf"));

    let base = BASE.replace("path:model", "path:one.gguf");
    let theirs = import("base", &format!("source = \"path:{}\"", model.adapter().display()));
    let lora = stage("lora", "convert-gguf", "adapter = \"adapter\"", "");
    let report = run(&dir, &(base.clone() + &theirs + &lora + &both("base")));
    let (expected, of_gguf) = (model.adapted().1, gguf_in(&output(&report, "lora", "adapter")));
    for stage in ["beside", "fused"] {
        assert!(apart(&logits_of(&report, stage), &expected) <= BAR, "{stage}");
    }
    let file = checkpoint::gguf::Gguf::open(&of_gguf).unwrap();
    let names: Vec<_> = file.tensors().map(|tensor| tensor.name.clone()).collect();
    assert!(names.contains(&"blk.0.ffn_gate_up_exps.weight.lora_a".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("ffn_gate_exps")), "{names:?}");

    let again = import("base", &format!("source = \"path:{}\"", of_gguf.display()));
    let report = run(&dir, &(base + &again + &both("base")));
    for stage in ["beside", "fused"] {
        assert!(apart(&logits_of(&report, stage), &expected) <= BAR, "{stage}");
    }
}

/// Writes the same GGUF with each expert's gate and up one after the other.
fn join_experts(from: &Path, to: &Path) {
    let file = checkpoint::gguf::Gguf::open(from).unwrap();
    let up_of = |gate: &str| gate.contains("ffn_gate_exps").then(|| gate.replace("ffn_gate_exps", "ffn_up_exps"));
    let headers: Vec<model::description::StoredTensor> = file
        .tensors()
        .filter(|tensor| !tensor.name.contains("ffn_up_exps"))
        .cloned()
        .map(|mut tensor| {
            if up_of(&tensor.name).is_some() {
                tensor.name = tensor.name.replace("ffn_gate_exps", "ffn_gate_up_exps");
                tensor.shape[1] *= 2;
            }
            tensor
        })
        .collect();
    let mut writer = checkpoint::gguf::Writer::create(to, file.metadata(), &headers).unwrap();
    for header in &headers {
        let gate = header.name.replace("ffn_gate_up_exps", "ffn_gate_exps");
        let bytes = file.get(&gate).unwrap().1;
        match up_of(&gate).map(|up| file.get(&up).unwrap().1) {
            None => writer.write(&header.name, bytes).unwrap(),
            Some(up) => {
                let expert = bytes.len() / header.shape[0] as usize;
                for (gate, up) in bytes.chunks(expert).zip(up.chunks(expert)) {
                    writer.write(&header.name, gate).unwrap();
                    writer.write(&header.name, up).unwrap();
                }
            }
        }
    }
    writer.finish().unwrap();
}
