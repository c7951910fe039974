//! One runner over families and dialects: logits against transformers, the GGUF in llama.cpp, the same bytes from every
//! spelling, training and fusing, all through the real binary.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::Value;
use tests::Dir;
use tests::checkpoint_edit::Tensors;
use tests::family_models::{FamilyModel, Spelling, apart, read_logits};
use tests::report::{divergence, gguf_in, output};

/// What a family's checks may reach.
struct Bars {
    /// Logits against transformers, as a share of their standard deviation.
    logits: f64,
    /// KL divergence of llama.cpp's f32 from ours, nats a token.
    divergence: f64,
}

const USUAL: Bars = Bars { logits: 5e-5, divergence: 1e-8 };
/// llama.cpp's GELU is a table of f16.
const GELU_TABLE: Bars = Bars { divergence: 1e-5, ..USUAL };

macro_rules! family {
    ($test:ident, $name:literal, $bars:expr) => {
        #[test]
        fn $test() {
            check($name, &$bars);
        }
    };
}

family!(llama_3, "llama3", USUAL);
family!(qwen_2, "qwen2", USUAL);
family!(qwen_3, "qwen3", USUAL);
family!(mistral, "mistral", USUAL);
family!(gemma_2, "gemma2", GELU_TABLE);
family!(granite_3, "granite3", USUAL);
family!(granite_3_moe, "granite3-moe", USUAL);
family!(granite_4, "granite4", USUAL);
family!(granite_4_h, "granite4-h", USUAL);
family!(granite_4_h_moe, "granite4-h-moe", USUAL);

#[test]
fn an_adapter_of_experts_with_patterns_is_pefts() {
    check_adapter("granite3-moe", &USUAL);
}

#[test]
fn an_adapter_of_experts_and_mamba_is_pefts() {
    check_adapter("granite4-h-moe", &USUAL);
}

/// The example pipelines, each planned on a model of its family.
#[test]
fn the_pipelines_are_planned() {
    for (pipeline, name) in [
        ("qwen25", "qwen2"),
        ("mistral", "mistral"),
        ("gemma2", "gemma2"),
        ("granite3", "granite3"),
        ("granite4", "granite4-h-moe"),
    ] {
        let dir = Dir::new();
        FamilyModel::named(name).write(&dir, "model", Spelling::Published);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../pipelines/{pipeline}.toml"));
        let source = format!("stages.base.with.source=\"path:{}\"", dir.path("model").display());
        let host = dir.host().args(["plan".as_ref(), file.as_os_str()]);
        let plan = host.args(["--json", "--set", &source]).exits(0).json();
        assert_eq!(plan["stages"].as_array().unwrap().len(), 7, "{pipeline}");
    }
}

/// What a margin between router logits is at least, as a multiple of what rounding does to one of them.
const SURE: f32 = 100.0;

const CHATS: &str = r#"{"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]}
{"messages": [{"role": "user", "content": "three"}, {"role": "assistant", "content": "four"}]}
"#;

fn check(name: &str, bars: &Bars) {
    let (dir, model) = (Dir::new(), FamilyModel::named(name));
    let spellings = spellings(&model);
    for (spelled, spelling) in &spellings {
        model.write(&dir, spelled, *spelling);
    }
    dir.write("chats.jsonl", CHATS);
    std::fs::copy(model.text(), dir.path("text.txt")).unwrap();
    dir.write("p.toml", pipeline(&spellings, model.has_experts()));
    let report = dir.host().args(["run", "p.toml", "--json"]).exits(0).json();

    let (ids, expected) = model.golden();
    let (ours, logits) = read_logits(&output(&report, "logits", "logits"));
    assert_eq!(ours, ids);
    let far = apart(&logits, &expected);
    assert!(far <= bars.logits, "{name}: logits are {far:.1e} of their deviation from transformers'");

    if let Some((margin, rounding)) = model.router_margin() {
        let sure = margin >= SURE * rounding && rounding > 0.0;
        assert!(
            sure,
            "{name}: agreement is an accident: experts are chosen by {margin:.1e}, rounding is {rounding:.1e}"
        );
    }

    let divergence = divergence(&report);
    assert!(divergence <= bars.divergence, "{name}: llama.cpp diverges by {divergence:.1e}");

    let bytes = gguf(&report, "gguf-published");
    for (spelled, _) in &spellings {
        assert!(gguf(&report, &format!("gguf-{spelled}")) == bytes, "{name}: {spelled} makes another GGUF");
    }
    // A GGUF is a base like any other. What it holds of `A_log` is rounded, so hybrids alone may differ by that.
    let exact = !name.starts_with("granite4-h");
    for (one, other) in [("logits-gguf", "logits"), ("logits-q8", "logits-values")] {
        let [got, want] = [one, other].map(|stage| read_logits(&output(&report, stage, "logits")).1);
        let far = apart(&got, &want);
        assert!(far <= if exact { 0.0 } else { bars.logits }, "{name}: {one} is {far:.1e} from {other}");
    }
    let (_, beside) = read_logits(&output(&report, "logits-beside", "logits"));
    let (_, fused) = read_logits(&output(&report, "logits-fused", "logits"));
    assert!(apart(&beside, &logits) > 1e-3, "{name}: training changed nothing");
    let far = apart(&fused, &beside);
    assert!(far <= bars.logits, "{name}: fused is {far:.1e} from base + adapter");
    // It was fused from transformers 5's spelling, and what is written is the published one.
    let config = std::fs::read_to_string(output(&report, "fuse", "model").join("config.json")).unwrap();
    for word in ["rope_parameters", "\"dtype\"", "linear_attention", "__float__"] {
        assert!(!config.contains(word), "{name}: {config}");
    }
}

/// PEFT's adapter, taken up and written again by a step that changes nothing: its logits beside the base, merged, and in
/// llama.cpp beside the base's GGUF.
fn check_adapter(name: &str, bars: &Bars) {
    let (dir, model) = (Dir::new(), FamilyModel::named(name));
    model.write(&dir, "base", Spelling::Published);
    dir.write("chats.jsonl", CHATS);
    std::fs::copy(model.text(), dir.path("text.txt")).unwrap();
    let f32 = "with = { quantizer = \"f32\", name = \"tiny\" }";
    let train = format!(
        "inputs = {{ model = \"base\" }}\nwith = {{ data = \"chats.jsonl\", steps = 1, learning_rate = 0.0, \
         init_adapter = \"{}\" }}",
        model.adapter().display()
    );
    let text = [
        "schema = 1\n".to_owned(),
        stage("base", "fetch", "with = { source = \"path:base\" }"),
        stage("train", "train-candle", &train),
        logits("beside", "model = \"base\", adapter = \"train\""),
        import("imported", &model.adapter()),
        stage("fuse", "fuse", "inputs = { model = \"base\", adapter = \"train\" }\nwith = { dtype = \"f32\" }"),
        logits("fused", "model = \"fuse\""),
        stage("gguf", "convert-gguf", &format!("inputs = {{ model = \"base\" }}\n{f32}")),
        logits("beside-gguf", "model = \"gguf\", adapter = \"train\""),
        stage("merged", "convert-gguf", &format!("inputs = {{ model = \"base\", adapter = \"train\" }}\n{f32}")),
        stage("merged-fused", "convert-gguf", &format!("inputs = {{ model = \"fuse\" }}\n{f32}")),
        stage("lora", "convert-gguf", "inputs = { adapter = \"train\" }"),
        stage(
            "evaluate",
            "evaluate-gguf",
            "inputs = { model = \"gguf\", adapter = \"lora.adapter\", reference = \"beside\" }",
        ),
    ];
    dir.write("p.toml", text.concat());
    let report = dir.host().args(["run", "p.toml", "--json"]).exits(0).json();

    let tensors =
        |directory: &Path| Tensors::parse(&std::fs::read(directory.join("adapter_model.safetensors")).unwrap());
    for stage in ["train", "imported"] {
        let (mut ours, mut theirs) = (tensors(&output(&report, stage, "adapter")), tensors(&model.adapter()));
        assert!(ours.by_name() == theirs.by_name(), "{name}: what {stage} wrote is not what PEFT wrote");
    }

    let (ids, expected) = model.adapted();
    assert!(apart(&model.golden().1, &expected) > 0.1, "{name}: the adapter changes nothing");
    for stage in ["beside", "fused", "beside-gguf"] {
        let (ours, logits) = read_logits(&output(&report, stage, "logits"));
        assert_eq!(ours, ids);
        let far = apart(&logits, &expected);
        assert!(far <= bars.logits, "{name}: logits of {stage} are {far:.1e} of their deviation from PEFT's");
    }
    assert!(gguf(&report, "merged") == gguf(&report, "merged-fused"), "{name}: fusing first makes another GGUF");
    let divergence = divergence(&report);
    assert!(divergence <= bars.divergence, "{name}: llama.cpp with the GGUF LoRA diverges by {divergence:.1e}");

    // The GGUF LoRA is an adapter from elsewhere, experts of three dimensions included.
    let again = [
        "schema = 1\n".to_owned(),
        stage("base", "fetch", "with = { source = \"path:base\" }"),
        import("imported", &output(&report, "lora", "adapter")),
        logits("beside", "model = \"base\", adapter = \"imported\""),
    ];
    dir.write("again.toml", again.concat());
    let report = dir.host().args(["run", "again.toml", "--json"]).exits(0).json();
    let far = apart(&read_logits(&output(&report, "beside", "logits")).1, &expected);
    assert!(far <= bars.logits, "{name}: logits of the GGUF LoRA taken back are {far:.1e} from PEFT's");
}

fn import(id: &str, adapter: &Path) -> String {
    let with = format!("with = {{ source = \"path:{}\" }}", adapter.display());
    stage(id, "import-adapter", &format!("inputs = {{ model = \"base\" }}\n{with}"))
}

fn spellings(model: &FamilyModel) -> Vec<(&'static str, Spelling)> {
    let mut spellings = vec![("published", Spelling::Published), ("v5", Spelling::Transformers5)];
    if model.has_mlx_spelling() {
        spellings.push(("mlx", Spelling::Mlx));
    }
    spellings
}

fn stage(id: &str, uses: &str, rest: &str) -> String {
    format!("[stages.{id}]\nuses = \"{uses}\"\n{rest}\n")
}

fn logits(id: &str, inputs: &str) -> String {
    let with = "with = { text = \"text.txt\", tokens = 256, window = 256 }";
    stage(id, "logits", &format!("inputs = {{ {inputs} }}\n{with}"))
}

fn pipeline(spellings: &[(&str, Spelling)], has_experts: bool) -> String {
    let mut text = "schema = 1\n".to_owned();
    for (spelled, _) in spellings {
        text += &stage(spelled, "fetch", &format!("with = {{ source = \"path:{spelled}\" }}"));
        let with = "with = { quantizer = \"f32\", name = \"tiny\" }";
        let gguf = format!("inputs = {{ model = \"{spelled}\" }}\n{with}");
        text += &stage(&format!("gguf-{spelled}"), "convert-gguf", &gguf);
    }
    text += &stage("check", "validate-arch", "inputs = { model = \"published\" }");
    text += &logits("logits", "model = \"published\"");
    text += &logits("logits-gguf", "model = \"gguf-published\"");
    let evaluate = "inputs = { model = \"gguf-published\", reference = \"logits\" }";
    text += &stage("evaluate", "evaluate-gguf", evaluate);
    let experts = "target_parameters = [\"experts.gate_up_proj\", \"experts.down_proj\"], ";
    let train = format!(
        "inputs = {{ model = \"published\" }}\nwith = {{ data = \"chats.jsonl\", rank = 4, steps = 2, {}\
         batch_size = 2, learning_rate = 0.02, warmup_ratio = 0.0 }}",
        if has_experts { experts } else { "" }
    );
    text += &stage("train", "train-candle", &train);
    text += &logits("logits-beside", "model = \"published\", adapter = \"train\"");
    text +=
        &stage("q8", "convert-gguf", "inputs = { model = \"v5\" }\nwith = { quantizer = \"q8_0\", name = \"tiny\" }");
    text += &stage("values", "fuse", "inputs = { model = \"q8\" }\nwith = { dtype = \"f32\" }");
    text += &logits("logits-q8", "model = \"q8\"");
    text += &logits("logits-values", "model = \"values\"");
    let fuse = "inputs = { model = \"v5\", adapter = \"train\" }\nwith = { dtype = \"f32\" }";
    text += &stage("fuse", "fuse", fuse);
    text += &logits("logits-fused", "model = \"fuse\"");
    text
}

fn gguf(report: &Value, stage: &str) -> Vec<u8> {
    std::fs::read(gguf_in(&output(report, stage, "model"))).unwrap()
}
