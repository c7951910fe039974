//! Checkpoints that mlx-lm quantized are bases like any other, and what is wrong with one is said before it is used.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::{Value, json};
use tests::Dir;
use tests::checkpoint_edit::{Tensors, in_one_file, write_model};
use tests::family_models::{apart, read_logits};
use tests::mlx_models::{MlxModel, digests};
use tests::report::{gguf_in, output};

const PLAN: i32 = 4;

/// The greatest difference of logits from transformers', as a share of their deviation.
const LOGITS: f64 = 5e-5;

macro_rules! model {
    ($test:ident, $name:literal, $said:literal) => {
        #[test]
        fn $test() {
            check($name, $said);
        }
    };
}

model!(llama, "llama", "4 bits in groups of 64:");
model!(qwen_2_of_2_bits, "qwen2-2", "2 bits in groups of 32:");
model!(qwen_2_of_3_bits, "qwen2-3", "3 bits in groups of 64:");
model!(qwen_2_of_4_bits, "qwen2-4", "4 bits in groups of 128:");
model!(qwen_2_of_5_bits, "qwen2-5", "5 bits in groups of 32:");
model!(qwen_2_of_6_bits, "qwen2-6", "6 bits in groups of 64:");
model!(qwen_2_of_8_bits, "qwen2-8", "8 bits in groups of 64:");
model!(qwen_2_of_all_widths, "qwen2-mixed", "4 bits in groups of 64, some of 2 bits in groups of 32");
model!(granite_3_moe, "granite3-moe", "4 bits in groups of 64, some of 8 bits in groups of 64:");
model!(granite_4, "granite4", "4 bits in groups of 32:");
model!(granite_4_h, "granite4-h", "4 bits in groups of 64:");
model!(granite_4_h_moe, "granite4-h-moe", "5 bits in groups of 32, some of 8 bits in groups of 64:");

const CHATS: &str = r#"{"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]}
{"messages": [{"role": "user", "content": "three"}, {"role": "assistant", "content": "four"}]}
"#;

/// Logits are transformers', values are numpy's; and whatever is made of the packed checkpoint is what is made of its
/// values, to the bit.
fn check(name: &str, said: &str) {
    let (dir, model) = (Dir::new(), MlxModel::named(name));
    model.write(&dir, "model");
    dir.write("chats.jsonl", CHATS);
    std::fs::copy(model.text(), dir.path("text.txt")).unwrap();
    dir.write("p.toml", pipeline());
    let report = dir.host().args(["run", "p.toml", "--json"]).exits(0).json();

    let findings = stage(&report, "packed")["findings"].to_string();
    assert!(findings.contains(&format!("the dialect is mlx-lm, {said}")), "{findings}");
    let checked: Value =
        serde_json::from_slice(&std::fs::read(output(&report, "check", "report").join("report.json")).unwrap())
            .unwrap();
    assert_eq!(checked["dialect"], "mlx-lm");

    let (ids, expected) = model.golden();
    let (ours, logits) = read_logits(&output(&report, "logits-packed", "logits"));
    assert_eq!(ours, ids);
    let far = apart(&logits, &expected);
    assert!(far <= LOGITS, "{name}: logits are {far:.1e} of their deviation from transformers'");

    let values = output(&report, "values", "model");
    let mut tensors = Tensors::parse(&std::fs::read(values.join("model.safetensors")).unwrap());
    assert!(tensors.by_name().values().all(|tensor| tensor.dtype == "F32"));
    assert_eq!(digests(&mut tensors), model.values());
    let config = std::fs::read_to_string(values.join("config.json")).unwrap();
    assert!(!config.contains("quantization"), "{config}");

    for made in ["gguf-f32", "gguf-q8_0"] {
        let [packed, plain] = ["packed", "values"].map(|base| gguf(&report, &format!("{made}-{base}")));
        assert!(packed == plain, "{name}: {made} differs");
    }
    for (made, output) in [("train", "adapter"), ("beside", "logits"), ("logits", "logits")] {
        let digest = |base: &str| stage(&report, &format!("{made}-{base}"))["outputs"][output]["digest"].clone();
        // An adapter's directory names its base, so weights are compared.
        let [packed, plain] = ["packed", "values"].map(|base| match made {
            "train" => json!(digests(&mut adapter(&report, base))),
            _ => digest(base),
        });
        assert!(!packed.is_null());
        assert_eq!(packed, plain, "{name}: {made} differs");
    }
    let (_, beside) = read_logits(&output(&report, "beside-packed", "logits"));
    assert!(apart(&beside, &logits) > 1e-3, "{name}: training changed nothing");
}

fn adapter(report: &Value, base: &str) -> Tensors {
    let file = output(report, &format!("train-{base}"), "adapter").join("adapter_model.safetensors");
    Tensors::parse(&std::fs::read(file).unwrap())
}

/// The packed checkpoint and its values, side by side through every stage.
fn pipeline() -> String {
    let mut text = "schema = 1\n[stages.packed]\nuses = \"fetch\"\nwith = { source = \"path:model\" }\n\
                    [stages.check]\nuses = \"validate-arch\"\ninputs = { model = \"packed\" }\n\
                    [stages.values]\nuses = \"fuse\"\ninputs = { model = \"packed\" }\nwith = { dtype = \"f32\" }\n"
        .to_owned();
    let with_text = "with = { text = \"text.txt\", tokens = 256, window = 256 }";
    let training = "with = { data = \"chats.jsonl\", rank = 4, steps = 2, batch_size = 2, learning_rate = 0.02, \
                    warmup_ratio = 0.0 }";
    for base in ["packed", "values"] {
        let mut stage = |id: &str, uses: &str, inputs: &str, with: &str| {
            text += &format!(
                "[stages.{id}-{base}]\nuses = \"{uses}\"\ninputs = {{ model = \"{base}\"{inputs} }}\n{with}\n"
            );
        };
        stage("logits", "logits", "", with_text);
        stage("train", "train-candle", "", training);
        stage("beside", "logits", &format!(", adapter = \"train-{base}\""), with_text);
        for quantizer in ["f32", "q8_0"] {
            let with = format!("with = {{ quantizer = \"{quantizer}\", name = \"tiny\" }}");
            stage(&format!("gguf-{quantizer}"), "convert-gguf", "", &with);
        }
    }
    text
}

fn stage<'a>(report: &'a Value, stage: &str) -> &'a Value {
    let stages = report["stages"].as_array().unwrap();
    stages.iter().find(|s| s["stage"] == stage).unwrap_or_else(|| panic!("no `{stage}`: {report:#}"))
}

fn gguf(report: &Value, stage: &str) -> Vec<u8> {
    std::fs::read(gguf_in(&output(report, stage, "model"))).unwrap()
}

/// The Llama with a fault, refused with `says` while planning; nothing panics.
#[track_caller]
fn refused(break_it: impl FnOnce(&mut Tensors), config: impl FnOnce(&mut Value), says: &[&str]) {
    let dir = Dir::new();
    let mut model = in_one_file(MlxModel::named("llama").files());
    break_it(&mut model.0);
    write_model(&dir, "model", &model, config);
    dir.write("p.toml", "schema = 1\n[stages.base]\nuses = \"fetch\"\nwith = { source = \"path:model\" }\n");
    let failed = dir.host().args(["plan", "p.toml"]).exits(PLAN);
    for text in says {
        failed.complains(text);
    }
}

/// Changes both spellings of the key.
fn quantization(value: Value) -> impl FnOnce(&mut Value) {
    move |config| {
        config["quantization"] = value.clone();
        config["quantization_config"] = value;
    }
}

const DOWN: &str = "model.layers.1.mlp.down_proj";

#[test]
fn a_mode_that_is_not_affine_is_refused_by_name() {
    for mode in ["mxfp4", "nvfp4", "mxfp8"] {
        let key = quantization(json!({ "bits": 4, "group_size": 32, "mode": mode }));
        refused(|_| {}, key, &[&format!("mlx-lm quantized in the mode \"{mode}\""), "`affine`"]);
    }
    let of_one = json!({ "bits": 4, "group_size": 64, DOWN: { "bits": 4, "group_size": 32, "mode": "mxfp4" } });
    refused(|_| {}, quantization(of_one), &[&format!("`quantization.{DOWN}.mode`"), "\"mxfp4\""]);
    let gptq = |config: &mut Value| {
        config.as_object_mut().unwrap().remove("quantization");
        config["quantization_config"] = json!({ "quant_method": "gptq", "bits": 4, "group_size": 128 });
    };
    refused(|_| {}, gptq, &["a quantized checkpoint (gptq) is not supported"]);
}

#[test]
fn numbers_that_mlx_does_not_have_are_refused() {
    for (key, expected) in [
        (json!({ "bits": 7, "group_size": 64 }), "`quantization.bits` is 7, expected one of [1, 2, 3, 4, 5, 6, 8]"),
        (json!({ "bits": 4, "group_size": 0 }), "`quantization.group_size` is 0, expected one of [32, 64, 128]"),
        (json!({ "bits": 4, "group_size": -64 }), "`quantization.group_size` is -64"),
        (json!({ "bits": "4", "group_size": 64 }), "`quantization.bits` is \"4\""),
        (json!({ "group_size": 64 }), "the configuration has no `quantization.bits`"),
        (json!([4, 64]), "`quantization` is [4,64], expected an object"),
        (json!({ "bits": 4, "group_size": 64, "zero_point": true }), "`quantization.zero_point` is true"),
        (json!({ "bits": 4, "group_size": 64, DOWN: 3 }), "expected an object"),
        (
            json!({ "bits": 4, "group_size": 64, DOWN: { "bits": 4, "group_size": 64, "global_scale": true } }),
            "quantization.model.layers.1.mlp.down_proj.global_scale",
        ),
    ] {
        refused(|_| {}, quantization(key), &[expected]);
    }
    let unlike = |config: &mut Value| config["quantization_config"]["bits"] = json!(8);
    refused(|_| {}, unlike, &["`quantization_config` is", "the same as `quantization`"]);
}

#[test]
fn tensors_that_do_not_fit_each_other_are_refused() {
    let weight = format!("`{DOWN}.weight`");
    let without = |part: &'static str| move |t: &mut Tensors| drop(t.by_name().remove(&format!("{DOWN}.{part}")));
    refused(without("scales"), |_| {}, &["is missing", &format!("looked for `{DOWN}.scales`")]);
    refused(without("biases"), |_| {}, &["is missing", &format!("looked for `{DOWN}.biases`")]);

    let wider = quantization(json!({ "bits": 8, "group_size": 64 }));
    let says = ["cannot be made of", "packed integers of shape", "do not fit each other by 8 bits in groups of 64"];
    refused(|_| {}, wider, &says);
    let sideways = |t: &mut Tensors| t.get(&format!("{DOWN}.scales")).shape.reverse();
    refused(sideways, |_| {}, &[&weight, "scales of [2, 64]"]);
    let flat = |t: &mut Tensors| t.get(&format!("{DOWN}.weight")).shape = vec![64 * 16];
    refused(flat, |_| {}, &[&weight, "packed integers of shape [1024]"]);

    let of_bytes = |t: &mut Tensors| {
        let scales = t.get(&format!("{DOWN}.scales"));
        (scales.dtype, scales.data) = ("U8".into(), scales.data[..128].to_vec());
    };
    let says = [&format!("`{DOWN}.scales` is `u8`, scales and biases of packed integers are"), ""];
    refused(of_bytes, |_| {}, &says.map(|text| text as &str));
    let signed = |t: &mut Tensors| t.get(&format!("{DOWN}.weight")).dtype = "I32".into();
    refused(signed, |_| {}, &[&format!("{weight} is `i32`, but has scales and biases: packed integers are `u32`")]);
}

#[test]
fn packed_integers_elsewhere_are_refused() {
    let unsaid = |config: &mut Value| {
        let keys = config.as_object_mut().unwrap();
        keys.remove("quantization");
        keys.remove("quantization_config");
    };
    let says = ["is `u32`, which is not decoded", "packed integers need `quantization` in `config.json`"];
    refused(|_| {}, unsaid, &says);

    let norm = "model.norm.weight";
    let packed_norm = |t: &mut Tensors| {
        let norm = t.get(norm);
        (norm.dtype, norm.data) = ("U32".into(), vec![1; 64 * 4]);
    };
    refused(packed_norm, |_| {}, &["`model.norm.weight` is `u32`, which is not decoded"]);
    let not_said = json!({ "bits": 4, "group_size": 64, DOWN: false });
    let says = [format!("`{DOWN}.scales` (bf16, [64, 2]) belongs to nothing")];
    refused(|_| {}, quantization(not_said), &says.each_ref().map(String::as_str));
}

/// What the configuration says of modules that are not there, and a head that nobody uses.
#[test]
fn what_is_left_over_is_said() {
    let dir = Dir::new();
    let mut model = in_one_file(MlxModel::named("qwen2-8").files());
    for part in ["weight", "scales", "biases"] {
        let part = |module: &str| format!("{module}.{part}");
        let embedding = model.0.get(&part("model.embed_tokens")).clone();
        model.0.by_name().insert(part("lm_head"), embedding);
    }
    write_model(&dir, "model", &model, |config| {
        quantization(json!({ "bits": 8, "group_size": 64, "model.layers.7.mlp.up_proj": false }))(config);
    });
    dir.write("p.toml", "schema = 1\n[stages.base]\nuses = \"fetch\"\nwith = { source = \"path:model\" }\n");
    let plan = dir.host().args(["plan", "p.toml", "--json"]).exits(0).json();
    let findings = plan["stages"][0]["findings"].to_string();
    assert!(findings.contains("modules that are not in the checkpoint: `model.layers.7.mlp.up_proj`"), "{findings}");
    assert!(findings.contains("`lm_head.weight` is stored although"), "{findings}");
}

/// The data is what its script makes.
#[test]
fn every_model_is_checked() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mlx");
    let models = data.read_dir().unwrap().map(|e| e.unwrap().path()).filter(|path| path.is_dir());
    let names: Vec<String> = models.map(|p| p.file_name().unwrap().to_string_lossy().into_owned()).collect();
    let source = include_str!("mlx.rs");
    for name in names {
        assert!(source.contains(&format!("\"{name}\"")), "`{name}` is in no test");
    }
}
