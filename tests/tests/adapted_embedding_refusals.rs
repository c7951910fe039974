//! Adapters of embeddings and heads that are not what they say, or not for the model that is connected: refused with the
//! reason, and taken where the difference means nothing.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use tests::adapters::{
    BASE, ForeignAdapter, HERE, MLX, PEFT, agrees, both, config, import, prepared, run, stage, tensors,
};
use tests::checkpoint_edit::{Tensor, Tensors};
use tests::report::output;
use tests::{Dir, Finished};

const PLAN: i32 = 4;
const STAGE: i32 = 5;
const MERGED: &str = "model = \"base\", adapter = \"adapter\"";
const EMBEDDING: &str = "base_model.model.model.embed_tokens";
const HEAD: &str = "base_model.model.lm_head";

/// An adapter with something wrong; `exit` says whether planning sees it.
#[track_caller]
fn refused(adapter: &str, family: &str, exit: i32, break_it: impl FnOnce(&Dir)) -> Finished {
    let dir = prepared(adapter, family);
    break_it(&dir);
    dir.write("p.toml", BASE.to_owned() + &import("base", HERE) + &stage("fuse", "fuse", MERGED, ""));
    dir.host().args(["run", "p.toml"]).exits(exit)
}

/// PEFT saves the frozen weights of what it adapts; those that are not the base's would be lost without a word.
#[test]
fn a_saved_weight_must_be_the_bases_own() {
    let of_head = format!("{HEAD}.base_layer.weight");
    refused("peft-tied-head", "qwen2", STAGE, |dir| {
        tensors(dir, PEFT, |tensors| tensors.get(&of_head).set(5, 0, 9.0));
    })
    .complains("`base_model.model.lm_head.base_layer.weight` has 9 in row 5")
    .complains("merge_and_unload");
    refused("peft-embeddings", "mistral", PLAN, |dir| {
        tensors(dir, PEFT, |tensors| {
            let saved = tensors.get(&of_head);
            saved.shape[0] += 1;
            saved.data.extend([0; 4 * 32]);
        });
    })
    .complains("is [265, 32], the model's own [264, 32]")
    .complains("resized");
    let dir = prepared("peft-embeddings", "mistral");
    let q8_0 = stage("gguf", "convert-gguf", "model = \"base\"", "quantizer = \"q8_0\"");
    dir.write("p.toml", BASE.to_owned() + &q8_0 + &import("gguf", HERE));
    dir.host().args(["run", "p.toml"]).exits(PLAN).complains("own is q8_0").complains("save_embedding_layers=False");
}

#[test]
fn a_tie_is_kept_or_said_to_be_none() {
    let not_tied = |dir: &Dir| {
        config(dir, |keys| {
            keys["ensure_weight_tying"] = json!(false);
            keys["target_modules"] = json!(["embed_tokens", "lm_head", "q_proj"]);
        });
    };
    let one = refused("peft-weight-tying", "gemma2", PLAN, not_tied);
    one.complains("no model of the family `gemma` has two").complains("`ensure_weight_tying`");
    let other = refused("peft-weight-tying", "gemma2", STAGE, |dir| {
        tensors(dir, PEFT, |tensors| tensors.get(&format!("{HEAD}.lora_B.weight")).set(7, 1, 2.0));
    });
    other.complains("lm_head.lora_B.weight` is not what the embedding's factors are");
    // Where the two are apart, factors of each are its own.
    let dir = prepared("peft-embeddings", "mistral");
    config(&dir, |keys| keys["ensure_weight_tying"] = json!(true));
    let report = run(&dir, &(BASE.to_owned() + &import("base", HERE) + &both("base")));
    agrees(&report, "peft-embeddings", "mistral");
}

/// A square table looks the same either way.
#[test]
fn factors_of_a_table_are_not_those_of_a_linear() {
    let renamed = |from: &'static str, to: &'static str| {
        move |dir: &Dir| {
            tensors(dir, PEFT, |tensors| {
                for (name, mut tensor) in std::mem::take(tensors.by_name()) {
                    let new = name.replace(from, to);
                    if new != name {
                        tensor.shape.reverse();
                    }
                    tensors.by_name().insert(new, tensor);
                }
            });
        }
    };
    let linear = |part: &str| format!("{EMBEDDING}.lora_{part}.weight");
    refused("peft-embeddings", "mistral", PLAN, |dir| {
        tensors(dir, PEFT, |tensors| {
            for (part, of_linear) in [("A", "B"), ("B", "A")] {
                let mut tensor = tensors.by_name().remove(&format!("{EMBEDDING}.lora_embedding_{part}")).unwrap();
                tensor.shape.reverse();
                tensors.by_name().insert(linear(of_linear), tensor);
            }
        });
    })
    .complains("`model.embed_tokens` is an embedding, and its factors are a linear's");
    refused("peft-embeddings", "mistral", PLAN, |dir| {
        renamed("lm_head.lora_A.weight", "lm_head.lora_embedding_B")(dir);
        renamed("lm_head.lora_B.weight", "lm_head.lora_embedding_A")(dir);
    })
    .complains("`lm_head` is no embedding, and its factors are one's");
    refused("peft-embeddings", "mistral", PLAN, |dir| {
        tensors(dir, PEFT, |tensors| {
            let tensor = tensors.get(&format!("{HEAD}.lora_A.weight")).clone();
            tensors.by_name().insert(format!("{EMBEDDING}.lora_A.weight"), tensor);
        });
    })
    .complains("has factors of an embedding and of a linear");
    refused("peft-embeddings", "mistral", PLAN, |dir| {
        tensors(dir, PEFT, |tensors| _ = tensors.by_name().remove(&format!("{EMBEDDING}.lora_embedding_A")));
    })
    .complains("`model.embed_tokens` has no A");
}

#[test]
fn dora_of_an_embedding_is_refused() {
    let dora = refused("mlx-embedding", "qwen2", PLAN, |dir| {
        config(dir, |keys| keys["fine_tune_type"] = json!("dora"));
        tensors(dir, MLX, |tensors| {
            let mut lengths = tensors.get("model.embed_tokens.lora_a").clone();
            (lengths.shape, lengths.data) = (vec![264], lengths.data[..4 * 264].to_vec());
            tensors.by_name().insert("model.embed_tokens.m".into(), lengths);
        });
    });
    dora.complains("`model.embed_tokens` is an embedding with DoRA");
    let dora = refused("peft-embeddings", "mistral", PLAN, |dir| {
        config(dir, |keys| keys["use_dora"] = json!(true));
        tensors(dir, PEFT, |tensors| {
            let mut lengths = tensors.get(&format!("{EMBEDDING}.lora_embedding_B")).clone();
            (lengths.shape, lengths.data) = (vec![32], lengths.data[..4 * 32].to_vec());
            tensors.by_name().insert(format!("{EMBEDDING}.lora_magnitude_vector"), lengths);
        });
    });
    dora.complains("`model.embed_tokens` is an embedding with DoRA");
}

/// Only modules of layers are trained; and a GGUF LoRA of the one matrix cannot have been run.
#[test]
fn what_is_merged_only_goes_nowhere_else() {
    let dir = prepared("peft-embeddings", "mistral");
    let chat = r#"{"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]}"#;
    dir.write("chats.jsonl", chat);
    let report = run(&dir, &(BASE.to_owned() + &import("base", HERE)));
    let with =
        format!("data = \"chats.jsonl\", init_adapter = \"{}\"", output(&report, "adapter", "adapter").display());
    dir.write("p.toml", BASE.to_owned() + &stage("train", "train-candle", "model = \"base\"", &with));
    dir.host().args(["run", "p.toml"]).exits(PLAN).complains("changes `lm_head`").complains("modules of layers");

    let lora = stage("lora", "convert-gguf", "adapter = \"adapter\"", "");
    let report = run(&dir, &(BASE.to_owned() + &import("base", HERE) + &lora));
    let mut config = dir.json("model/config.json");
    config["tie_word_embeddings"] = json!(true);
    dir.write("model/config.json", config.to_string());
    let mut model = Tensors::parse(&std::fs::read(dir.path("model/model.safetensors")).unwrap());
    model.by_name().remove("lm_head.weight");
    dir.write("model/model.safetensors", model.bytes());
    let lora = format!("source = \"path:{}\"", output(&report, "lora", "adapter").display());
    dir.write("p.toml", BASE.to_owned() + &import("base", &lora));
    dir.host().args(["run", "p.toml"]).exits(PLAN).complains("`token_embd.weight` is the embedding and the head");
}

/// PEFT holds a pattern against last names before it ties, and against paths before it adapts.
#[test]
fn a_pattern_of_whole_paths_ties_nothing() {
    let pattern = |dir: &Dir, pattern: &str| config(dir, |keys| keys["target_modules"] = json!(pattern));
    let dir = prepared("peft-weight-tying", "gemma2");
    pattern(&dir, ".*embed_tokens|.*q_proj");
    agrees(&run(&dir, &(BASE.to_owned() + &import("base", HERE) + &both("base"))), "peft-weight-tying", "gemma2");
    let apart = refused("peft-weight-tying", "gemma2", PLAN, |dir| {
        pattern(dir, r"model\.embed_tokens|.*q_proj");
        tensors(dir, PEFT, |tensors| tensors.by_name().retain(|name, _| !name.contains("lm_head")));
    });
    apart.complains("no model of the family `gemma` has two");
}

#[test]
fn a_tie_that_the_model_does_not_have() {
    // Of two models of one family: the adapter is for the one whose embedding is its head.
    let dir = prepared("mlx-embedding", "qwen2");
    ForeignAdapter::named("peft-tied-head").write(&dir, "head");
    let import_head = import("base", "source = \"path:head\"").replace("stages.adapter", "stages.head");
    let untie = stage("apart", "fuse", "model = \"base\", adapter = \"head\"", "dtype = \"f32\"");
    let merge = stage("fuse", "fuse", "model = \"apart\", adapter = \"adapter\"", "");
    dir.write("p.toml", BASE.to_owned() + &import("base", HERE) + &import_head + &untie + &merge);
    dir.host().args(["run", "p.toml"]).exits(PLAN).complains("as the one matrix that they are in its base");
    // PEFT leaves the head's factors out where nothing ties them, for its configuration does not name the head.
    let dir = prepared("peft-embeddings", "mistral");
    config(&dir, |keys| {
        keys["ensure_weight_tying"] = json!(true);
        keys["target_modules"] = json!(["embed_tokens", "q_proj"]);
    });
    dir.write("p.toml", BASE.to_owned() + &import("base", HERE));
    dir.host().args(["run", "p.toml"]).exits(PLAN).complains("`lm_head` has factors, and `target_modules`");
}

/// A trainer may load a model in fewer bits than it was saved in; but it is the same model.
#[test]
fn a_saved_weight_may_be_rounded() {
    let saved = format!("{HEAD}.base_layer.weight");
    // The base in f32, its values none of bf16's, and the saved head cut to those.
    let wide = |exit: i32, cut: fn(&mut Tensor)| {
        let dir = prepared("peft-tied-head", "qwen2");
        let mut model = Tensors::parse(&std::fs::read(dir.path("model/model.safetensors")).unwrap());
        let embedding = model.get("model.embed_tokens.weight");
        embedding.widen();
        embedding.data.iter_mut().step_by(4).for_each(|low| *low = 7);
        let mut head = embedding.clone();
        dir.write("model/model.safetensors", model.bytes());
        cut(&mut head);
        tensors(&dir, PEFT, |tensors| _ = tensors.by_name().insert(saved.clone(), head));
        dir.write("p.toml", BASE.to_owned() + &import("base", HERE));
        dir.host().args(["run", "p.toml"]).exits(exit)
    };
    wide(0, Tensor::cut_to_bf16);
    let other = wide(STAGE, |head| {
        head.cut_to_bf16();
        head.data[2 * 32] ^= 1;
    });
    other.complains("in row 1, the model that is connected has");
    // A head in more bits than the base's was trained.
    let trained = refused("peft-tied-head", "qwen2", STAGE, |dir| {
        tensors(dir, PEFT, |tensors| tensors.get(&saved).data.iter_mut().step_by(4).for_each(|byte| *byte = 7));
    });
    trained.complains("in row 0, the model that is connected has");
    let wide = refused("peft-tied-head", "qwen2", PLAN, |dir| {
        tensors(dir, PEFT, |tensors| {
            let head = tensors.get(&saved);
            (head.dtype, head.data) = ("F64".into(), vec![0; 2 * head.data.len()]);
        });
    });
    wide.complains("is a whole weight in f64");
}

#[test]
fn a_weight_is_saved_once() {
    let twice = refused("peft-tied-head", "qwen2", PLAN, |dir| {
        tensors(dir, PEFT, |tensors| {
            let saved = tensors.get(&format!("{HEAD}.base_layer.weight")).clone();
            tensors.by_name().insert(format!("{HEAD}.weight"), saved);
        });
    });
    twice.complains("are the same factor");
}

/// Patterns can give the head another scale than the embedding, and a file can lack the embedding's half.
#[test]
fn factors_of_one_matrix_are_the_same() {
    let scales = refused("peft-weight-tying", "gemma2", STAGE, |dir| {
        config(dir, |keys| keys["alpha_pattern"] = json!({ "lm_head": 4 }));
    });
    scales.complains("give the head the scale 1, the embedding 2");
    let alone = refused("peft-weight-tying", "gemma2", PLAN, |dir| {
        tensors(dir, PEFT, |tensors| tensors.by_name().retain(|name, _| !name.contains("lora_embedding")));
    });
    alone.complains("`lm_head` has factors that the embedding lacks");
}

/// No GGUF of the family has a head.
#[test]
fn a_head_that_the_family_never_has() {
    let dir = prepared("peft-weight-tying", "gemma2");
    config(&dir, |keys| {
        keys["ensure_weight_tying"] = json!(false);
        keys["target_modules"] = json!(["lm_head", "q_proj"]);
    });
    tensors(&dir, PEFT, |tensors| {
        tensors.by_name().retain(|name, _| !name.contains("lora_embedding") && !name.contains("base_layer"));
    });
    let gguf = stage("gguf", "convert-gguf", "model = \"base\"", "quantizer = \"f32\"");
    for base in ["base", "gguf"] {
        dir.write("p.toml", BASE.to_owned() + &gguf + &import(base, HERE));
        dir.host().args(["run", "p.toml"]).exits(PLAN).complains("no model of the family `gemma` has two");
    }
}

/// llama.cpp would take the factors of one for those of the other, and abort.
#[test]
fn a_tied_pair_is_merged_only() {
    for (adapter, family, module) in
        [("peft-tied-head", "qwen2", "lm_head"), ("mlx-embedding", "qwen2", "model.embed_tokens")]
    {
        let dir = prepared(adapter, family);
        let lora = stage("lora", "convert-gguf", "adapter = \"adapter\"", "");
        dir.write("p.toml", BASE.to_owned() + &import("base", HERE) + &lora);
        let refused = dir.host().args(["run", "p.toml"]).exits(PLAN);
        refused.complains(&format!("changes `{module}`")).complains("merge only").complains("`fuse`");
    }
}
