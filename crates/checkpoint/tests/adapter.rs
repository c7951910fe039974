//! PEFT adapters: round trip, scales, and everything that is refused.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use checkpoint::adapter::{Adapter, AdapterConfig, CONFIG_FILE, LoraModule, Matrix, ModuleShape, WEIGHTS_FILE};
use checkpoint::safetensors::{Safetensors, Writer};
use model::StoredType;
use model::description::StoredTensor;
use serde_json::{Value, json};

const Q: &str = "model.layers.0.self_attn.q_proj";
const DOWN: &str = "model.layers.1.mlp.down_proj";

fn matrix(rows: usize, columns: usize) -> Matrix {
    Matrix::new(rows, columns, (0..rows * columns).map(|i| i as f32 - 1.5).collect()).unwrap()
}

/// Two modules of different rank and alpha.
fn adapter() -> Adapter {
    let mut config = AdapterConfig::new(2, 8.0, vec!["q_proj".into(), "down_proj".into()]);
    config.rank_pattern = vec![("layers.1.mlp.down_proj".into(), 4)];
    config.alpha_pattern = vec![(r"layers\.\d+\.mlp\..*".into(), 2.0)];
    let q = LoraModule::new(matrix(2, 6), matrix(5, 2), 4.0);
    let down = LoraModule::new(matrix(4, 3), matrix(6, 4), 0.5);
    Adapter { config, modules: BTreeMap::from([(Q.into(), q), (DOWN.into(), down)]) }
}

#[test]
fn what_is_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    adapter().write(dir.path()).unwrap();
    let first = std::fs::read(dir.path().join(WEIGHTS_FILE)).unwrap();
    assert_eq!(Adapter::read(dir.path()).unwrap(), adapter());
    adapter().write(dir.path()).unwrap();
    assert_eq!(std::fs::read(dir.path().join(WEIGHTS_FILE)).unwrap(), first, "same adapter, same bytes");
}

/// The same adapter with lengths of rows.
fn dora() -> Adapter {
    let mut adapter = adapter();
    adapter.config.use_dora = true;
    for lora in adapter.modules.values_mut() {
        lora.magnitude = Some((0..lora.b.rows).map(|i| 1.0 + i as f32).collect());
    }
    adapter
}

#[test]
fn lengths_of_rows_are_written_as_peft_does() {
    let dir = tempfile::tempdir().unwrap();
    dora().write(dir.path()).unwrap();
    assert_eq!(Adapter::read(dir.path()).unwrap(), dora());
    let file = Safetensors::open_file(&dir.path().join(WEIGHTS_FILE)).unwrap();
    let (header, _) = file.get(&format!("base_model.model.{Q}.lora_magnitude_vector")).unwrap();
    assert_eq!(header.shape, [5]);
}

#[test]
fn all_modules_have_lengths_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let error = |adapter: Adapter| adapter.write(dir.path()).unwrap_err().problem.to_string();
    let mut some = dora();
    some.modules.get_mut(Q).unwrap().magnitude = None;
    assert_eq!(error(some), format!("module `{Q}` has 0 in `lora_magnitude_vector`, expected 5"));
    let mut unsaid = dora();
    unsaid.config.use_dora = false;
    assert_eq!(error(unsaid), format!("module `{Q}` has 5 in `lora_magnitude_vector`, expected 0"));
}

/// What diverged in its last step is not written, and not read from a file that has it all the same.
#[test]
fn factors_are_numbers() {
    let dir = tempfile::tempdir().unwrap();
    for bad in [f32::NAN, f32::INFINITY] {
        for spoil in [
            (|lora, bad| lora.a.values[3] = bad) as fn(&mut LoraModule, f32),
            |lora, bad| lora.b.values[0] = bad,
            |lora, bad| lora.magnitude.as_mut().unwrap()[2] = bad,
        ] {
            let mut adapter = dora();
            spoil(adapter.modules.get_mut(DOWN).unwrap(), bad);
            let error = adapter.write(dir.path()).unwrap_err().to_string();
            assert!(error.contains(DOWN) && error.contains("NaN or infinite"), "{error}");
            assert_eq!(dir.path().read_dir().unwrap().count(), 0, "nothing is left");
        }
    }
    dora().write(dir.path()).unwrap();
    let path = dir.path().join(WEIGHTS_FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    assert!(Adapter::read(dir.path()).unwrap_err().to_string().contains("NaN or infinite"));
}

#[test]
fn rslora_divides_by_the_root() {
    let mut config = AdapterConfig::new(16, 8.0, Vec::new());
    assert_eq!(config.scale_of(Q).unwrap(), 0.5);
    config.use_rslora = true;
    assert_eq!(config.scale_of(Q).unwrap(), 2.0);
}

#[test]
fn a_scale_changes_something() {
    for alpha in [0.0, 1e-300, 1e300, f64::NAN] {
        let error = AdapterConfig::new(16, alpha, Vec::new()).scale_of(Q).unwrap_err().to_string();
        assert!(error.contains("the scale") && error.contains(Q), "{error}");
    }
}

#[test]
fn a_pattern_matches_whole_names_only() {
    let mut config = AdapterConfig::new(2, 2.0, Vec::new());
    config.rank_pattern = vec![("proj".into(), 9), ("q_proj".into(), 4)];
    assert_eq!(config.rank_of(Q).unwrap(), 4);
}

/// In Python's dialect, as PEFT reads them; what would take for ever is an error.
#[test]
fn a_pattern_may_look_around() {
    let mut config = AdapterConfig::new(2, 2.0, Vec::new());
    config.rank_pattern = vec![(r"(?!layers\.0)layers\.\d+.*".into(), 9), (r"(?P<p>q|k)_(?<=q_)proj".into(), 4)];
    assert_eq!(config.rank_of(Q).unwrap(), 4);
    assert_eq!(config.rank_of(&Q.replace(".0.", ".1.")).unwrap(), 9);
    config.rank_pattern = vec![(r"((?=[a-z.])([a-z0-9._]+)+)+!".into(), 9)];
    assert!(config.rank_of(Q).unwrap_err().to_string().contains("`rank_pattern`"));
}

#[test]
fn a_configuration_that_peft_wrote_is_read() {
    let config = AdapterConfig::parse(include_bytes!("data/peft_adapter_config.json")).unwrap();
    let mut expected = AdapterConfig::new(4, 8.0, config.target_modules.clone());
    expected.base_model_name_or_path = Some("x".into());
    assert_eq!(config, expected);
    assert_eq!(config.target_modules.len(), 2);
}

/// A configuration with one key changed.
fn parse_with(key: &str, value: Value) -> Result<AdapterConfig, String> {
    let mut json = adapter().config.to_json();
    json[key] = value;
    AdapterConfig::parse(json.to_string().as_bytes()).map_err(|problem| problem.to_string())
}

#[test]
fn keys_that_change_the_computation_are_refused() {
    let refused = |key, value| parse_with(key, value).unwrap_err();
    assert_eq!(
        refused("use_qalora", json!(true)),
        "`use_qalora` is true, which is not supported yet; only its absence is"
    );
    assert!(refused("bias", json!("all")).contains("only \"none\" is"));
    assert!(refused("init_lora_weights", json!("pissa")).starts_with("`init_lora_weights` is \"pissa\""));
    assert!(refused("modules_to_save", json!(["lm_head"])).starts_with("`modules_to_save` is [\"lm_head\"]"));
    assert!(refused("quantum_lora", json!(3)).starts_with("unknown key `quantum_lora` is set to 3 and may change"));
    assert_eq!(refused("r", json!(0)), "`r` is 0, expected a positive integer");
    assert_eq!(refused("lora_alpha", Value::Null), "`lora_alpha` is null, expected a number");
    assert_eq!(refused("peft_type", json!("LOHA")), "`peft_type` is \"LOHA\", only \"LORA\" is read");
}

#[test]
fn harmless_keys_and_new_defaults_are_read_over() {
    assert!(parse_with("layers_to_transform", json!([0, 1])).is_ok());
    assert!(parse_with("feature_of_next_year", Value::Null).is_ok());
    assert_eq!(parse_with("target_modules", json!("all-linear")).unwrap().target_modules, ["all-linear"]);
}

/// Reads a directory of the configuration above and these tensors.
fn read_tensors(tensors: &[(&str, [u64; 2])]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let json = AdapterConfig::new(2, 8.0, Vec::new()).to_json().to_string();
    std::fs::write(dir.path().join(CONFIG_FILE), json).unwrap();
    let planned = tensors.iter().map(|(name, shape)| StoredTensor {
        name: (*name).to_owned(),
        stored_type: StoredType::F32,
        shape: shape.to_vec(),
    });
    let planned: Vec<_> = planned.collect();
    let mut writer = Writer::create(&dir.path().join(WEIGHTS_FILE), &planned, &BTreeMap::new()).unwrap();
    for tensor in &planned {
        writer.write(&tensor.name, &vec![0; tensor.bytes() as usize]).unwrap();
    }
    writer.finish().unwrap();
    Adapter::read(dir.path()).unwrap_err().problem.to_string()
}

#[test]
fn tensors_must_be_pairs_of_the_configured_rank() {
    let a = "base_model.model.x.q_proj.lora_A.weight";
    let b = "base_model.model.x.q_proj.lora_B.weight";
    assert_eq!(read_tensors(&[(a, [2, 3])]), "module `x.q_proj` has no `lora_B`");
    let rank = "module `x.q_proj`: A is [4, 3] and B is [5, 4], expected [2, in] and [out, 2]";
    assert_eq!(read_tensors(&[(a, [4, 3]), (b, [5, 4])]), rank);
    assert!(read_tensors(&[("base_model.model.lm_head.weight", [1, 1])]).contains("whole weights beside them"));
    let embedding = "base_model.model.model.embed_tokens.lora_embedding_A";
    assert!(read_tensors(&[(embedding, [2, 9])]).contains("`model.embed_tokens` has factors of an embedding"));
    assert_eq!(read_tensors(&[]), "holds no module");
}

#[test]
fn modules_are_held_against_the_model() {
    let known = BTreeMap::from([
        (Q.to_owned(), ModuleShape { experts: 1, in_features: 6, out_features: 9 }),
        ("model.layers.0.mlp.down_proj".to_owned(), ModuleShape { experts: 1, in_features: 3, out_features: 6 }),
    ]);
    let problems: Vec<_> = adapter().check_modules(&known).iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "module `model.layers.0.self_attn.q_proj` is 6 → 5 in the adapter, 6 → 9 in the model: it was trained on another model",
            "the model has no module `model.layers.1.mlp.down_proj`; it has `model.layers.0.mlp.down_proj`, …",
        ]
    );
}
