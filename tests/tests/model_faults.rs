//! Models that are wrong in every way: refused with a clear message and the documented exit code, nothing of them kept
//! as if it were whole, and the next run goes on once they are right.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::checkpoint_edit::{Tensor, TensorInfo, Tensors, in_one_file, write_model};
use tests::{Dir, Finished, tiny_llama};

const PLAN: i32 = 4;
const STAGE: i32 = 5;
const Q_PROJ: &str = "model.layers.1.self_attn.q_proj.weight";

fn pipeline(source: &str, quantizer: &str) -> String {
    format!(
        "schema = 1\n[pipeline]\nname = \"tiny\"\n[stages.base]\nuses = \"fetch\"\nwith = {{ source = \"path:{source}\" }}\n\
         [stages.check]\nuses = \"validate-arch\"\ninputs = {{ model = \"base\" }}\n\
         [stages.gguf]\nuses = \"convert-gguf\"\ninputs = {{ model = \"base\" }}\nafter = [\"check\"]\n\
         with = {{ quantizer = \"{quantizer}\" }}\n"
    )
}

fn run(dir: &Dir, code: i32) -> Finished {
    dir.host().args(["run", "p.toml", "--json"]).exits(code)
}

/// Ids of the stages whose artifacts are stored as whole.
fn complete(dir: &Dir) -> Vec<String> {
    let stored = dir.host().args(["cache", "list", "--json"]).exits(0).json();
    let whole = stored["artifacts"].as_array().unwrap().iter().filter(|a| a["complete"] == true);
    whole.map(|a| a["stage"].as_str().unwrap_or_else(|| panic!("{a:#}")).to_owned()).collect()
}

/// Every GGUF that lies anywhere in the cache.
fn ggufs(dir: &Path) -> usize {
    let Ok(entries) = dir.read_dir() else { return 0 };
    let of = |path: std::path::PathBuf| match path.is_dir() {
        true => ggufs(&path),
        false => usize::from(path.extension().is_some_and(|e| e == "gguf")),
    };
    entries.map(|e| of(e.unwrap().path())).sum()
}

/// The tiny directory with a fault: refused with `says` while planning. Without it, the same pipeline runs through.
#[track_caller]
fn refused_directory(break_it: fn(&mut Tensors), config: fn(&mut Value), says: &[&str]) {
    let dir = Dir::new();
    dir.write("p.toml", pipeline("tiny", "f16"));
    let mut model = in_one_file(tiny_llama::directory(1));
    break_it(&mut model.0);
    write_model(&dir, "tiny", &model, config);
    let failed = run(&dir, PLAN);
    for text in says {
        failed.complains(text);
    }
    assert_eq!(failed.json()["error"]["code"], "refused", "{failed}");
    assert_eq!(complete(&dir), [""; 0]);

    write_model(&dir, "tiny", &in_one_file(tiny_llama::directory(1)), |_| {});
    run(&dir, 0);
}

#[test]
fn a_tensor_too_few_too_many_or_on_its_side() {
    let missing = |t: &mut Tensors| drop(t.by_name().remove(Q_PROJ));
    refused_directory(missing, |_| {}, &["base: tensor `model.layers.1.self_attn.q_proj.weight` is missing"]);

    let extra = |t: &mut Tensors| {
        let tensor = Tensor { dtype: "F32".into(), shape: vec![2, 2], data: vec![0; 16] };
        t.by_name().insert("model.layers.0.self_attn.gate.weight".into(), tensor);
    };
    refused_directory(extra, |_| {}, &["`model.layers.0.self_attn.gate.weight`", "belongs to nothing"]);

    let transposed = |t: &mut Tensors| t.get("model.layers.0.mlp.down_proj.weight").shape.reverse();
    let says = ["`model.layers.0.mlp.down_proj.weight` has shape [96, 64], the configuration asks for [64, 96]"];
    refused_directory(transposed, |_| {}, &says);
}

#[test]
fn a_configuration_that_asks_for_something_unknown() {
    let key = |config: &mut Value| config["attention_sink_size"] = json!(4);
    let says = ["keys that may change the computation", "attention_sink_size", "known keys: "];
    refused_directory(|_| {}, key, &says);

    let zero = |config: &mut Value| config["rope_theta"] = json!(0);
    refused_directory(|_| {}, zero, &["`rope_theta` is 0, expected a positive number"]);
    let sign = |config: &mut Value| config["rms_norm_eps"] = json!(-1e-6);
    refused_directory(|_| {}, sign, &["`rms_norm_eps` is -0.000001, expected a positive number"]);
    let large = |config: &mut Value| config["rms_norm_eps"] = json!(1e300);
    refused_directory(|_| {}, large, &["`rms_norm_eps` is 1", "expected a positive number of at most 3.4028235e38"]);

    let list = |config: &mut Value| config["rope_scaling"] = json!([]);
    refused_directory(|_| {}, list, &["`rope_scaling` is [], expected an object"]);

    let beyond = |config: &mut Value| config["vocab_size"] = json!(1u64 << 62);
    refused_directory(|_| {}, beyond, &["`vocab_size` is 4611686018427387904, expected at most 2147483647"]);

    let family = |config: &mut Value| config["model_type"] = json!("mamba9");
    refused_directory(|_| {}, family, &["no family plugin handles model_type `mamba9`"]);
    // Its name would clear the screen.
    let family = |config: &mut Value| config["model_type"] = json!("m\u{1b}[2J");
    refused_directory(|_| {}, family, &[r"no family plugin handles model_type `m\u{1b}[2J`"]);
}

/// A pipe would wait for ever.
#[cfg(unix)]
#[test]
fn pipes_are_no_files_of_a_model() {
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let dir = Dir::new();
        dir.write("p.toml", pipeline("tiny", "f16"));
        write_model(&dir, "tiny", &in_one_file(tiny_llama::directory(1)), |_| {});
        let path = dir.path("tiny").join(file);
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        run(&dir, PLAN).complains(file).complains("not a regular file");
    }
}

/// What `plan` and `run` say alike of a model that no family knows: the families that there are, and how to write one.
#[test]
fn a_model_that_nobody_claims() {
    let dir = Dir::new();
    write_model(&dir, "tiny", &in_one_file(tiny_llama::directory(1)), |config| config["model_type"] = json!("mamba9"));
    let mut gguf = tiny_llama::gguf(1);
    rename_architecture(&mut gguf);
    dir.write("tiny.gguf", gguf);
    let model_types = "`gemma2`, `granite`, `granitemoe`, `granitemoehybrid`, `llama`, `mistral`, `qwen2`, `qwen3`";
    let architectures = "`gemma2`, `granite`, `granitehybrid`, `granitemoe`, `llama`, `qwen2`, `qwen3`";
    for (source, claim, known) in
        [("tiny", "model_type `mamba9`", model_types), ("tiny.gguf", "gguf_architecture `lamma`", architectures)]
    {
        dir.write("p.toml", pipeline(source, "f16"));
        for verb in ["plan", "run"] {
            let refused = dir.host().args([verb, "p.toml"]).exits(PLAN);
            refused.complains(&format!("no family plugin handles {claim}; known: {known}"));
            refused.complains("a family is a small plugin crate: see \"How to add a family\" in ARCHITECTURE.md");
            assert_eq!(complete(&dir), [""; 0]);
        }
    }
}

#[test]
fn values_that_are_no_numbers_are_found_where_they_are() {
    let dir = Dir::new();
    dir.write("p.toml", pipeline("tiny", "f16"));
    let mut model = in_one_file(tiny_llama::directory(1));
    model.0.get(Q_PROJ).set(17, 5, f32::NAN);
    write_model(&dir, "tiny", &model, |_| {});
    let failed = run(&dir, STAGE);
    failed.complains("`check`").complains(Q_PROJ).complains("row 17").complains("column 5").complains("NaN");
    assert_eq!(complete(&dir), ["fetch"]);

    model.0.get(Q_PROJ).set(17, 5, 0.5);
    write_model(&dir, "tiny", &model, |_| {});
    run(&dir, 0);
}

#[test]
fn a_value_beyond_f16_advises_bf16() {
    let dir = Dir::new();
    dir.write("p.toml", pipeline("tiny", "f16"));
    let mut model = in_one_file(tiny_llama::directory(1));
    model.0.get(Q_PROJ).set(3, 2, 1e6);
    write_model(&dir, "tiny", &model, |_| {});
    run(&dir, STAGE).complains("1000000").complains("blk.1.attn_q.weight").complains("bf16");
    assert!(!complete(&dir).contains(&"convert-gguf".to_owned()));
    assert_eq!(ggufs(&dir.path("cache")), 0, "a half-written GGUF is left");

    dir.write("p.toml", pipeline("tiny", "bf16"));
    let report = run(&dir, 0).json();
    let cached: Vec<&Value> = report["stages"].as_array().unwrap().iter().map(|s| &s["cached"]).collect();
    assert_eq!(cached, [true, true, false], "what was made before the failure is still good");
}

#[test]
fn an_unknown_quantizer_lists_the_known() {
    let dir = Dir::new();
    dir.write("p.toml", pipeline("tiny", "q9_x"));
    write_model(&dir, "tiny", &in_one_file(tiny_llama::directory(1)), |_| {});
    let failed = run(&dir, PLAN);
    failed.complains("no quantizer offers `q9_x`").complains("`q8_0`").complains("`f16`");
    dir.write("p.toml", pipeline("tiny", "q8_0"));
    run(&dir, 0);
}

#[test]
fn a_model_that_is_not_there() {
    let dir = Dir::new();
    dir.write("p.toml", pipeline("tiny.gguf", "q8_0"));
    run(&dir, PLAN).complains("tiny.gguf").complains("does not exist").complains("relative to the pipeline file");
    dir.write("tiny.gguf", tiny_llama::gguf(1));
    run(&dir, 0);
}

/// A GGUF with a fault, refused at once; then the same file without it.
#[track_caller]
fn refused_gguf(break_it: fn(&mut Vec<u8>), says: &[&str]) {
    let dir = Dir::new();
    dir.write("p.toml", pipeline("tiny.gguf", "q8_0"));
    let mut gguf = tiny_llama::gguf(1);
    break_it(&mut gguf);
    dir.write("tiny.gguf", gguf);
    let started = Instant::now();
    let failed = run(&dir, PLAN);
    assert!(started.elapsed() < Duration::from_secs(20), "{failed}");
    for text in says {
        failed.complains(text);
    }
    assert_eq!(complete(&dir), [""; 0]);
    dir.write("tiny.gguf", tiny_llama::gguf(1));
    run(&dir, 0);
}

const DOWN: &str = "blk.1.ffn_down.weight";

#[test]
fn a_gguf_that_is_cut_short() {
    refused_gguf(|gguf| gguf.truncate(gguf.len() - 1000), &["tiny.gguf", DOWN, "is truncated, download it again"]);
    refused_gguf(|gguf| gguf.truncate(1000), &["tiny.gguf", "`tokenizer.ggml.tokens`", "is truncated or damaged"]);
    refused_gguf(|gguf| gguf.truncate(20), &["tiny.gguf", "ends inside its header at byte"]);
}

#[test]
fn a_gguf_whose_header_lies() {
    let far = |gguf: &mut Vec<u8>| {
        let at = TensorInfo::find(gguf, DOWN).offset;
        gguf[at..at + 8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    };
    refused_gguf(far, &[DOWN, "has offset 1099511627776, expected"]);
    let tensors = |gguf: &mut Vec<u8>| gguf[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    refused_gguf(tensors, &["claims 18446744073709551615 tensors"]);
    let pairs = |gguf: &mut Vec<u8>| gguf[16..24].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    refused_gguf(pairs, &["claims 1152921504606846976"]);
    let unknown = |gguf: &mut Vec<u8>| {
        let at = TensorInfo::find(gguf, DOWN).stored_type;
        gguf[at..at + 4].copy_from_slice(&99_u32.to_le_bytes());
    };
    refused_gguf(unknown, &[DOWN, "has type 99"]);
}

/// `lamma` instead of `llama`.
fn rename_architecture(gguf: &mut [u8]) {
    let name = [&5_u64.to_le_bytes()[..], b"llama"].concat();
    let at = gguf.windows(name.len()).position(|w| w == name).unwrap() + 8;
    gguf[at..at + 5].copy_from_slice(b"lamma");
}

#[test]
fn a_gguf_of_an_architecture_that_nobody_claims() {
    refused_gguf(|gguf| rename_architecture(gguf), &["no family plugin handles gguf_architecture `lamma`"]);
}

/// A published Llama has biases on all four projections of attention or on none; a GGUF may have them on any.
#[test]
fn a_network_that_no_configuration_describes() {
    const QKV: [&str; 3] = ["attn_q", "attn_k", "attn_v"];
    const OUTPUT: [&str; 1] = ["attn_output"];
    let fused = |to: &str| {
        "schema = 1\n[stages.base]\nuses = \"fetch\"\nwith = { source = \"path:tiny.gguf\" }\n".to_owned()
            + &format!("[stages.to]\nuses = \"{to}\"\ninputs = {{ model = \"base\" }}\n")
    };
    let dir = Dir::new();
    for (biased, bias) in [(&QKV[..], "is missing"), (&OUTPUT[..], "belongs to nothing")] {
        dir.write("tiny.gguf", tiny_llama::gguf_with_biases(1, biased));
        dir.write("p.toml", fused("fuse"));
        let refused = dir.host().args(["plan", "p.toml"]).exits(PLAN);
        refused.complains("no `config.json` describes this model").complains("self_attn.o_proj.bias").complains(bias);
        run(&dir, PLAN);
        assert_eq!(complete(&dir), [""; 0]);
    }
    dir.write("p.toml", fused("convert-gguf"));
    run(&dir, 0);

    dir.write("tiny.gguf", tiny_llama::gguf_with_biases(1, &[&QKV[..], &OUTPUT[..]].concat()));
    dir.write("p.toml", fused("fuse"));
    let report = run(&dir, 0).json();
    let fused = Path::new(report["stages"][1]["outputs"]["model"]["path"].as_str().unwrap()).join("config.json");
    let config: Value = serde_json::from_slice(&std::fs::read(fused).unwrap()).unwrap();
    assert_eq!(config["attention_bias"], true);
}
