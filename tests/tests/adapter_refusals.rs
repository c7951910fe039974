//! Adapters that other libraries made and that are wrong, or of another model: refused while planning, with the reason.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::adapters::{BASE, HERE, MLX, PEFT, Q_A, config, import, prepared, stage, tensors};
use tests::family_models::{FamilyModel, Spelling};
use tests::{Dir, Finished};

const PLAN: i32 = 4;
const STAGE: i32 = 5;

/// One adapter with something wrong: nothing runs, and the message says what.
#[track_caller]
fn refused(adapter: &str, family: &str, with: &str, break_it: impl FnOnce(&Dir)) -> Finished {
    let dir = prepared(adapter, family);
    break_it(&dir);
    dir.write("p.toml", BASE.to_owned() + &import("base", with));
    dir.host().args(["run", "p.toml"]).exits(PLAN)
}

#[test]
fn an_adapter_of_another_model_is_refused() {
    // The names are the same, a size is not.
    let other = refused("peft-mistral", "gemma2", HERE, |_| ());
    other.complains("`model.layers.0.self_attn.q_proj` is [32, 32] in the adapter, [64, 32] in the model");
    let unknown = refused("mlx-hybrid", "qwen2", HERE, |_| ());
    unknown.complains("the model has no matrix `model.layers.0.mamba.in_proj`; it has `embed_tokens`, `q_proj`");
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
    let norm = refused("peft-mistral", "mistral", HERE, |dir| {
        tensors(dir, PEFT, |tensors| {
            let tensor = tensors.get(Q_A).clone();
            tensors.by_name().insert("base_model.model.model.layers.1.input_layernorm.weight".into(), tensor);
        });
    });
    norm.complains("is no factor of a LoRA");
    let model = refused("gguf-mistral", "mistral", "source = \"path:model/model.safetensors\"", |_| ());
    model.complains("adapter_config.json");
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

/// PEFT would load such an adapter and compute without those factors.
#[test]
fn factors_that_the_configuration_leaves_out_are_refused() {
    let without = |key: &'static str, value: Value| {
        refused("peft-mistral", "mistral", HERE, move |dir| config(dir, |keys| keys[key] = value))
    };
    without("target_modules", json!(["k_proj"])).complains("`target_modules` of its configuration leaves it out");
    without("exclude_modules", json!(["q_proj"])).complains("`exclude_modules` of its configuration leaves it out");
    without("layers_to_transform", json!([0])).complains("`layers_to_transform` of its configuration leaves it out");
    without("target_modules", json!("(q_proj")).complains("pattern `(q_proj` of `target_modules`");
    without("target_modules", json!(null)).complains("`target_modules` names no module");
    let layers = |dir: &Dir| config(dir, |keys| keys["num_layers"] = json!(1));
    refused("mlx-square", "qwen2", HERE, layers).complains("`num_layers` of its configuration leaves it out");
    let keys = |dir: &Dir| config(dir, |keys| keys["lora_parameters"]["keys"] = json!(["self_attn.q_proj"]));
    refused("mlx-square", "qwen2", HERE, keys).complains("`lora_parameters.keys` of its configuration leaves it out");
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

/// A pipe would wait for ever, and what a device gives never ends.
#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_files() {
    let replace = |dir: &Dir, file: &str| {
        let path = dir.path("adapter").join(file);
        std::fs::remove_file(&path).unwrap();
        path
    };
    for (adapter, family, file) in [
        ("mlx-square", "qwen2", "adapter_config.json"),
        ("mlx-square", "qwen2", MLX),
        ("peft-mistral", "mistral", "adapter_config.json"),
        ("gguf-mistral", "mistral", "lora.gguf"),
    ] {
        let pipe = refused(adapter, family, HERE, |dir| {
            let made = std::process::Command::new("mkfifo").arg(replace(dir, file)).status().unwrap();
            assert!(made.success());
        });
        pipe.complains(file);
        let device = refused(adapter, family, HERE, |dir| {
            std::os::unix::fs::symlink("/dev/zero", replace(dir, file)).unwrap();
        });
        device.complains(file);
    }
}

/// The files that ran are those that were planned with; a key in the cache stands for them.
#[test]
fn files_that_are_exchanged_behind_the_plan_are_refused() {
    let dir = prepared("peft-mistral", "mistral");
    let digest = |file: &str| Sha256::digest(std::fs::read(dir.path("adapter").join(file)).unwrap());
    let (config, weights) = (digest("adapter_config.json"), digest(PEFT));
    let with = format!(r#"{HERE}, sha256 = {{ config = "sha256:{config:x}", weights = "sha256:{weights:x}" }}"#);
    dir.write("p.toml", BASE.to_owned() + &import("base", &with));
    dir.host().args(["plan", "p.toml"]).exits(0);
    tensors(&dir, PEFT, |tensors| tensors.get(Q_A).set(0, 0, 0.25));
    dir.host()
        .args(["run", "p.toml"])
        .exits(PLAN)
        .complains("the adapter's files are not those that were planned with");
}

/// The sizes of these two agree.
#[test]
fn a_gguf_lora_beside_another_base_is_refused() {
    let dir = prepared("peft-mistral", "mistral");
    FamilyModel::named("qwen2").write(&dir, "other", Spelling::Published);
    let other = stage("other", "fetch", "", "source = \"path:other\"")
        + &stage("gguf", "convert-gguf", "model = \"other\"", "quantizer = \"f32\"");
    let lora = stage("lora", "convert-gguf", "adapter = \"adapter\"", "");
    let evaluate = stage("evaluate", "evaluate-gguf", "model = \"gguf\", adapter = \"lora.adapter\"", "");
    dir.write("p.toml", BASE.to_owned() + &import("base", HERE) + &other + &lora + &evaluate);
    dir.host()
        .args(["run", "p.toml"])
        .exits(PLAN)
        .complains("made for a model of the architecture `llama`, this one is `qwen2`");
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
    for (family, from, to, says) in [
        ("mistral", "blk.0.attn_k.weight", "blk.0.attn_norm.weight", "`blk.0.attn_norm.weight` is a norm"),
        ("mistral", "blk.0.attn_v.weight", "token_embd.weight", "`token_embd.weight` do not multiply"),
        ("llama3", "blk.0.attn_v.weight", "output.weight", "`output.weight` is the embedding and the head in one"),
        (
            "mistral",
            "blk.0.attn_v.weight",
            "blk.9.attn_v.weight",
            "the model has no matrix `blk.9.attn_v.weight`; it has",
        ),
    ] {
        let wrong = refused("gguf-mistral", family, HERE, |dir| {
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
