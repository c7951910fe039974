//! Adapters that other libraries made, through the real binary: the logits that those give, from the adapter beside its
//! base and fused into it; and those that are wrong, refused while planning.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::adapters::ForeignAdapter;
use tests::checkpoint_edit::Tensors;
use tests::family_models::{FamilyModel, Spelling, apart, read_logits};
use tests::{Dir, Finished};

const PLAN: i32 = 4;
const STAGE: i32 = 5;
/// Greatest difference of logits, as a share of their standard deviation.
const BAR: f64 = 5e-5;
/// mlx sums in another order than torch, whose own logits of the same merged weights are 6.4e-5 from those of
/// `mlx-square`, and 6e-6 from those of the others.
const MLX_SQUARE_BAR: f64 = 1e-4;

const BASE: &str = "schema = 1\n[pipeline]\nname = \"tiny\"\n\
    [stages.base]\nuses = \"fetch\"\nwith = { source = \"path:model\" }\n";

fn import(base: &str, with: &str) -> String {
    format!("[stages.adapter]\nuses = \"import-adapter\"\ninputs = {{ model = \"{base}\" }}\nwith = {{ {with} }}\n")
}

fn stage(name: &str, uses: &str, inputs: &str, with: &str) -> String {
    format!("[stages.{name}]\nuses = \"{uses}\"\ninputs = {{ {inputs} }}\nwith = {{ {with} }}\n")
}

fn logits(name: &str, inputs: &str) -> String {
    stage(name, "logits", inputs, "text = \"text.txt\", tokens = 256, window = 256")
}

/// Logits of the adapter beside `base`, and of the two fused.
fn both(base: &str) -> String {
    let beside = format!("model = \"{base}\", adapter = \"adapter\"");
    logits("beside", &beside)
        + &stage("fuse", "fuse", &beside, "dtype = \"f32\"")
        + &logits("fused", "model = \"fuse\"")
}

/// A directory with the model, the text and the adapter.
fn prepared(adapter: &str, family: &str) -> Dir {
    let (dir, model) = (Dir::new(), FamilyModel::named(family));
    model.write(&dir, "model", Spelling::Published);
    std::fs::copy(model.text(), dir.path("text.txt")).unwrap();
    ForeignAdapter::named(adapter).write(&dir, "adapter");
    dir
}

fn run(dir: &Dir, pipeline: &str) -> Value {
    dir.write("p.toml", pipeline);
    dir.host().args(["run", "p.toml", "--json"]).exits(0).json()
}

fn output(report: &Value, stage: &str, output: &str) -> PathBuf {
    let stages = report["stages"].as_array().unwrap();
    let stage = stages.iter().find(|s| s["stage"] == stage).unwrap_or_else(|| panic!("no `{stage}`: {report:#}"));
    stage["outputs"][output]["path"].as_str().unwrap().into()
}

fn logits_of(report: &Value, stage: &str) -> Vec<f32> {
    read_logits(&output(report, stage, "logits")).1
}

/// Both ways to use it are within the bar of what the adapter's own library computes.
fn agrees(report: &Value, adapter: &str, family: &str) {
    let golden = ForeignAdapter::named(adapter).golden();
    let bar = if adapter == "mlx-square" { MLX_SQUARE_BAR } else { BAR };
    let (_, plain) = FamilyModel::named(family).golden();
    assert!(apart(&golden, &plain) > 0.1, "the adapter changes nothing that could be seen");
    for stage in ["beside", "fused"] {
        let far = apart(&logits_of(report, stage), &golden);
        assert!(far <= bar, "{stage}: {far:.1e} of the deviation from its own library's");
    }
}

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
    let written = output(&report, "adapter", "adapter");
    let mut ours = Tensors::parse(&std::fs::read(written.join("adapter_model.safetensors")).unwrap());
    let mut theirs = ForeignAdapter::named("peft-mistral").tensors("adapter_model.safetensors");
    assert!(ours.by_name() == theirs.by_name());
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
    let text = std::fs::read_to_string(output(&report, "evaluate", "report").join("report.json")).unwrap();
    let divergence = serde_json::from_str::<Value>(&text).unwrap()["divergence"]["mean"].as_f64().unwrap();
    assert!(divergence.abs() <= 1e-8, "llama.cpp diverges by {divergence:.1e}");

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

/// One adapter with something wrong: nothing runs, and the message says what.
#[track_caller]
fn refused(adapter: &str, family: &str, with: &str, break_it: impl FnOnce(&Dir)) -> Finished {
    let dir = prepared(adapter, family);
    break_it(&dir);
    dir.write("p.toml", BASE.to_owned() + &import("base", with));
    dir.host().args(["run", "p.toml"]).exits(PLAN)
}

const HERE: &str = "source = \"path:adapter\"";

/// The adapter with tensors changed.
fn tensors(dir: &Dir, file: &str, change: impl FnOnce(&mut Tensors)) {
    let path = format!("adapter/{file}");
    let mut tensors = Tensors::parse(&std::fs::read(dir.path(&path)).unwrap());
    change(&mut tensors);
    dir.write(&path, tensors.bytes());
}

fn config(dir: &Dir, change: impl FnOnce(&mut Value)) {
    let mut keys = dir.json("adapter/adapter_config.json");
    change(&mut keys);
    dir.write("adapter/adapter_config.json", keys.to_string());
}

const MLX: &str = "adapters.safetensors";
const PEFT: &str = "adapter_model.safetensors";
const Q_A: &str = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight";

#[test]
fn an_adapter_of_another_model_is_refused() {
    // The names are the same, a size is not.
    let other = refused("peft-mistral", "gemma2", HERE, |_| ());
    other.complains("`model.layers.0.self_attn.q_proj` is [32, 32] in the adapter, [64, 32] in the model");
    let unknown = refused("mlx-hybrid", "qwen2", HERE, |_| ());
    unknown.complains("the model has no matrix `model.layers.0.mamba.in_proj`; it has `q_proj`, `k_proj`");
    let gguf = refused("gguf-mistral", "qwen2", "source = \"path:adapter/lora.gguf\"", |_| ());
    gguf.complains("`general.architecture` is `llama`, expected `qwen2`").complains("made for another model");
}

#[test]
fn whole_weights_are_no_adapter() {
    let full = refused("mlx-square", "qwen2", HERE, |dir| config(dir, |keys| keys["fine_tune_type"] = json!("full")));
    full.complains("whole weights").complains("mlx_lm.fuse");
    let saved = refused("peft-mistral", "mistral", HERE, |dir| {
        config(dir, |keys| keys["modules_to_save"] = json!(["lm_head"]));
    });
    saved.complains("`modules_to_save` is [\"lm_head\"]").complains("merge_and_unload");
    let model = refused("gguf-mistral", "mistral", "source = \"path:model/model.safetensors\"", |_| ());
    model.complains("adapter_config.json");
}

#[test]
fn embeddings_and_heads_are_refused_by_name() {
    let embedding = refused("mlx-square", "qwen2", HERE, |dir| {
        tensors(dir, MLX, |tensors| {
            for (part, shape) in [("lora_a", [264, 32]), ("lora_b", [32, 32])] {
                let mut tensor = tensors.get(&format!("model.layers.0.self_attn.q_proj.{part}")).clone();
                (tensor.shape, tensor.data) = (shape.to_vec(), vec![0; 4 * (shape[0] * shape[1]) as usize]);
                tensors.by_name().insert(format!("model.embed_tokens.{part}"), tensor);
            }
        });
    });
    embedding.complains("`model.embed_tokens` is the embedding, which is not merged: it is the head too");
    let peft = refused("peft-mistral", "mistral", HERE, |dir| {
        tensors(dir, PEFT, |tensors| {
            let tensor = tensors.get(Q_A).clone();
            tensors.by_name().insert("base_model.model.model.embed_tokens.lora_embedding_A".into(), tensor);
        });
    });
    peft.complains("a LoRA on embeddings is not merged");
}

#[test]
fn half_a_fused_matrix_has_no_dora() {
    let half = refused("mlx-hybrid", "granite4-h", HERE, |dir| {
        config(dir, |keys| keys["fine_tune_type"] = json!("dora"));
        tensors(dir, MLX, |tensors| {
            let kept = |name: &str| name.contains("layers.0.mlp.gate_proj");
            tensors.by_name().retain(|name, _| kept(name));
            let mut lengths = tensors.get("model.layers.0.mlp.gate_proj.lora_b").clone();
            (lengths.shape, lengths.data) = (vec![40], lengths.data[..160].to_vec());
            tensors.by_name().insert("model.layers.0.mlp.gate_proj.m".into(), lengths);
        });
    });
    half.complains("only part of `model.layers.0.shared_mlp.input_linear` has DoRA's lengths")
        .complains("`model.layers.0.mlp.gate_proj` has them, the rest is not adapted");
}

#[test]
fn factors_must_fit_each_other_and_the_configuration() {
    let one_half = refused("peft-mistral", "mistral", HERE, |dir| {
        tensors(dir, PEFT, |tensors| _ = tensors.by_name().remove(Q_A));
    });
    one_half.complains("`model.layers.1.self_attn.q_proj` has no A");
    let rank = refused("peft-mistral", "mistral", HERE, |dir| config(dir, |keys| keys["r"] = json!(8)));
    rank.complains("has rank 4, its configuration says 8");
    let turned = refused("mlx-hybrid", "granite4-h", HERE, |dir| {
        tensors(dir, MLX, |tensors| tensors.get("model.layers.2.self_attn.k_proj.lora_a").shape.reverse());
    });
    turned.complains("A is [4, 32] and B is [4, 16], expected (in, rank) and (rank, out)");
    let lengths = refused("peft-dora", "qwen2", HERE, |dir| config(dir, |keys| keys["use_dora"] = json!(false)));
    lengths.complains("has DoRA's lengths of rows, its configuration says that it is not DoRA");
    let none = refused("peft-mistral", "mistral", HERE, |dir| {
        tensors(dir, PEFT, |tensors| tensors.by_name().clear());
    });
    none.complains("holds no factor");
    let empty = refused("peft-mistral", "mistral", HERE, |dir| {
        config(dir, |keys| keys["rank_pattern"] = json!({ "layers.1.self_attn.q_proj": 0 }));
    });
    empty.complains("`rank_pattern`");
}

#[test]
fn scales_must_be_known() {
    let parameters = |value: Value| move |dir: &Dir| config(dir, |keys| keys["lora_parameters"] = value);
    let two = parameters(json!({ "rank": 32, "scale": 10.0, "alpha": 64.0 }));
    refused("mlx-square", "qwen2", HERE, two)
        .complains("10 · 64 / 32 = 20")
        .complains("set `scale` of this stage to 20");
    refused("mlx-square", "qwen2", HERE, parameters(json!({ "rank": 32, "alpha": 64 }))).complains("no `scale`");
    refused("mlx-square", "qwen2", HERE, parameters(json!({ "rank": 32, "scale": 0 }))).complains("is no scale");
    let needless = refused("peft-mistral", "mistral", &format!("{HERE}, scale = 2.0"), |_| ());
    needless.complains("`scale` is for adapters of mlx-lm");

    let dir = prepared("mlx-square", "qwen2");
    config(&dir, |keys| keys["lora_parameters"] = json!({ "rank": 32, "scale": 1.0, "alpha": 64.0 }));
    let (given, twice) = (format!("{HERE}, scale = 2.0"), both("base"));
    let report = run(&dir, &(BASE.to_owned() + &import("base", &given) + &twice));
    agrees(&report, "mlx-square", "qwen2");
}

#[test]
fn files_must_be_there_and_whole() {
    refused("peft-mistral", "mistral", "source = \"path:nowhere\"", |_| ()).complains("does not exist");
    refused("peft-mistral", "mistral", "source = \"adapter\"", |_| ()).complains("has no known scheme");
    refused("peft-mistral", "mistral", "source = \"path:text.txt\"", |_| ()).complains("is no adapter");
    refused("peft-mistral", "mistral", "source = \"path:empty\"", |dir| {
        std::fs::create_dir(dir.path("empty")).unwrap();
    })
    .complains("is no adapter: it has nothing");
    let remove = |file: &'static str| move |dir: &Dir| std::fs::remove_file(dir.path("adapter").join(file)).unwrap();
    refused("peft-mistral", "mistral", HERE, remove(PEFT)).complains("has no `adapter_model.safetensors`");
    refused("mlx-square", "qwen2", HERE, remove(MLX)).complains("has no `adapters.safetensors`");
    refused("mlx-square", "qwen2", HERE, remove("adapter_config.json")).complains("is no adapter");
    let pickle = refused("peft-mistral", "mistral", HERE, |dir| {
        std::fs::rename(dir.path("adapter").join(PEFT), dir.path("adapter/adapter_model.bin")).unwrap();
    });
    pickle.complains("is a pickle").complains("safe_serialization=True");
    for (adapter, family, file) in [("mlx-square", "qwen2", MLX), ("gguf-mistral", "mistral", "lora.gguf")] {
        for keep in [0, 7, 2000] {
            let path = format!("adapter/{file}");
            let cut = refused(adapter, family, HERE, |dir| {
                let bytes = std::fs::read(dir.path(&path)).unwrap();
                dir.write(&path, &bytes[..keep]);
            });
            cut.complains(file);
        }
    }
    refused("mlx-square", "qwen2", HERE, |dir| _ = dir.write("adapter/adapter_config.json", "{"))
        .complains("not valid JSON");
    let stranger =
        refused("mlx-square", "qwen2", HERE, |dir| _ = dir.write("adapter/adapter_config.json", "{\"a\": 1}"));
    stranger.complains("neither PEFT's `peft_type` nor mlx-lm's");
}

/// A value is read when the adapter is, so it ends the run.
#[test]
fn values_that_are_no_numbers_stop_the_stage() {
    let dir = prepared("peft-mistral", "mistral");
    tensors(&dir, PEFT, |tensors| tensors.get(Q_A).set(1, 3, f32::NAN));
    dir.write("p.toml", BASE.to_owned() + &import("base", HERE));
    dir.host().args(["run", "p.toml"]).exits(STAGE).complains("q_proj.lora_A.weight` has NaN as its value 35");
}

/// What llama.cpp reads over, or loads and computes without.
#[test]
fn a_gguf_lora_of_what_is_no_matrix_is_refused() {
    for (from, to, says) in [
        ("blk.0.attn_k.weight", "blk.0.attn_norm.weight", "`blk.0.attn_norm.weight` is a norm"),
        ("blk.0.attn_v.weight", "token_embd.weight", "`token_embd.weight` is the embedding"),
        ("blk.0.attn_v.weight", "blk.9.attn_v.weight", "the model has no matrix `blk.9.attn_v.weight`; it has"),
    ] {
        let wrong = refused("gguf-mistral", "mistral", HERE, |dir| {
            let file = checkpoint::gguf::Gguf::open(&dir.path("adapter/lora.gguf")).unwrap();
            let renamed = |name: &str| name.replace(from, to);
            let headers: Vec<_> = file
                .tensors()
                .map(|t| model::description::StoredTensor { name: renamed(&t.name), ..t.clone() })
                .collect();
            let path = dir.path("renamed.gguf");
            let mut writer = checkpoint::gguf::Writer::create(&path, file.metadata(), &headers).unwrap();
            for tensor in file.tensors() {
                writer.write(&renamed(&tensor.name), file.get(&tensor.name).unwrap().1).unwrap();
            }
            writer.finish().unwrap();
            std::fs::rename(path, dir.path("adapter/lora.gguf")).unwrap();
        });
        wrong.complains(says);
    }
}
