//! PEFT adapters of parameters: where PEFT puts the factors of experts, and in what order.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use checkpoint::adapter::{Adapter, AdapterConfig, LoraModule, Matrix, WEIGHTS_FILE};
use checkpoint::safetensors::Safetensors;
use model::Inventory;
use model::inventory::{AdapterFacts, Presence, Role, TensorSpec};

const EXPERTS: usize = 3;
const GATE_UP: &str = "model.layers.0.moe.input_linear";
const DOWN: &str = "model.layers.0.moe.output_linear";
const ROUTER: &str = "model.layers.0.moe.router.layer";

/// A router, and experts of 4 → 10 and 5 → 4; in transformers all three are parameters.
fn inventory() -> Inventory {
    let tensor = |module: &str, shape: &[u64], parameter: &str| {
        let stacked = shape.len() == 3;
        let facts = AdapterFacts {
            module: module.into(),
            input_axis: shape.len() - 1,
            output_axis: shape.len() - 2,
            expert_axis: stacked.then_some(0),
            parameter: Some(format!("model.layers.0.moe.{parameter}")),
        };
        TensorSpec {
            name: format!("{module}.weight"),
            shape: shape.to_vec(),
            role: Role::ExpertsUp,
            layer: Some(0),
            presence: Presence::Required,
            heads: None,
            adapter: Some(facts),
            forms: Vec::new(),
        }
    };
    let experts = EXPERTS as u64;
    let tensors = vec![
        tensor(ROUTER, &[experts, 4], "router.weight"),
        tensor(GATE_UP, &[experts, 10, 4], "experts.gate_up_proj"),
        tensor(DOWN, &[experts, 4, 5], "experts.down_proj"),
    ];
    Inventory { tensors, ignored: Vec::new(), gguf: Vec::new() }
}

fn matrix(rows: usize, columns: usize) -> Matrix {
    Matrix::new(rows, columns, (0..rows * columns).map(|i| i as f32).collect()).unwrap()
}

fn experts(rank: usize, inputs: usize, outputs: usize, scale: f32) -> LoraModule {
    let (a, b) = (matrix(EXPERTS * rank, inputs), matrix(EXPERTS * outputs, rank));
    LoraModule { experts: EXPERTS, ..LoraModule::new(a, b, scale) }
}

/// The parameters of these names, down with a rank and gate and up with an alpha of their own.
fn adapter(parameters: &[&str]) -> Adapter {
    let mut config = AdapterConfig::new(2, 8.0, Vec::new());
    config.target_parameters = parameters.iter().map(|name| (*name).to_owned()).collect();
    config.rank_pattern = vec![("experts.down_proj".into(), 3)];
    config.alpha_pattern = vec![(r"model\.layers\.\d+\.moe\.experts\.gate_up_proj".into(), 2.0)];
    let all = [
        (ROUTER, "router.weight", LoraModule::new(matrix(2, 4), matrix(EXPERTS, 2), 4.0)),
        (GATE_UP, "experts.gate_up_proj", experts(2, 4, 10, 1.0)),
        (DOWN, "experts.down_proj", experts(3, 5, 4, 8.0 / 3.0)),
    ];
    let named = all.into_iter().filter(|(_, parameter, _)| parameters.contains(parameter));
    Adapter { config, modules: named.map(|(module, _, lora)| (module.to_owned(), lora)).collect() }
}

fn written(adapter: &Adapter, dir: &Path) -> BTreeMap<String, (Vec<u64>, Vec<f32>)> {
    adapter.write_for(&inventory(), dir).unwrap();
    let file = Safetensors::open_file(&dir.join(WEIGHTS_FILE)).unwrap();
    let values = |bytes: &[u8]| bytes.as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect();
    file.tensors().map(|t| (t.name.clone(), (t.shape.clone(), values(file.get(&t.name).unwrap().1)))).collect()
}

fn name(path: &str, half: &str) -> String {
    format!("base_model.model.model.layers.0.moe.{path}.lora_{half}.weight")
}

#[test]
fn the_last_parameter_is_the_outer_one() {
    let dir = tempfile::tempdir().unwrap();
    let adapter = adapter(&["experts.down_proj", "experts.gate_up_proj", "router.weight"]);
    let tensors = written(&adapter, dir.path());
    let shapes: Vec<(&str, &[u64])> = tensors.iter().map(|(name, (shape, _))| (name.as_str(), &shape[..])).collect();
    let expected: [(String, &[u64]); 6] = [
        (name("experts.base_layer", "A"), &[6, 4]),
        (name("experts.base_layer", "B"), &[10, 6]),
        (name("experts", "A"), &[9, 5]),
        (name("experts", "B"), &[4, 9]),
        (name("router", "A"), &[2, 4]),
        (name("router", "B"), &[3, 2]),
    ];
    assert_eq!(shapes, expected.iter().map(|(name, shape)| (name.as_str(), *shape)).collect::<Vec<_>>());
    // Row 1 of B has for each rank the values of the experts side by side.
    let (_, b) = &tensors[&name("experts", "B")];
    let row = |expert: usize| adapter.modules[DOWN].b.row(expert * 4 + 1);
    let side_by_side: Vec<f32> = (0..3).flat_map(|k| (0..EXPERTS).map(move |expert| row(expert)[k])).collect();
    assert_eq!(b[9..18], side_by_side);
    assert_eq!(tensors[&name("experts", "A")].1, adapter.modules[DOWN].a.values, "expert after expert");
    assert_eq!(Adapter::read_for(&inventory(), dir.path()).unwrap(), adapter);
}

#[test]
fn a_parameter_alone_has_the_modules_name() {
    for (parameter, module) in [("experts.gate_up_proj", GATE_UP), ("experts.down_proj", DOWN)] {
        let dir = tempfile::tempdir().unwrap();
        let adapter = adapter(&[parameter]);
        let names: Vec<String> = written(&adapter, dir.path()).into_keys().collect();
        assert_eq!(names, [name("experts", "A"), name("experts", "B")]);
        let read = Adapter::read_for(&inventory(), dir.path()).unwrap();
        assert!(read == adapter && read.modules.contains_key(module), "{parameter}");
    }
}

/// Before transformers 5 experts were modules of their own.
#[test]
fn published_names_are_known_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut adapter = adapter(&["experts.gate_up_proj"]);
    adapter.config.target_parameters = vec!["input_linear.weight".into()];
    adapter.config.alpha_pattern = vec![("input_linear.weight".into(), 2.0)];
    let names: Vec<String> = written(&adapter, dir.path()).into_keys().collect();
    assert_eq!(names, [name("input_linear", "A"), name("input_linear", "B")]);
    assert_eq!(Adapter::read_for(&inventory(), dir.path()).unwrap(), adapter);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let both = adapter(&["experts.down_proj", "experts.gate_up_proj"]);
    both.write_for(&inventory(), dir.path()).unwrap();
    let problem = |read: Result<Adapter, checkpoint::adapter::Error>| read.unwrap_err().problem.to_string();
    assert!(problem(Adapter::read(dir.path())).contains("only the model that they are of says which"));

    let read_as = |config: &dyn Fn(&mut AdapterConfig)| {
        let mut changed = both.config.clone();
        config(&mut changed);
        std::fs::write(dir.path().join("adapter_config.json"), changed.to_json().to_string()).unwrap();
        problem(Adapter::read_for(&inventory(), dir.path()))
    };
    let one = read_as(&|config| config.target_parameters.truncate(1));
    assert!(one.contains("experts.base_layer` has factors of a parameter that the model lacks"), "{one}");
    let more = read_as(&|config| config.target_parameters.push("router.weight".into()));
    assert_eq!(more, "module `model.layers.0.moe.router.weight` has no `lora_A`");
    let rank = read_as(&|config| config.rank_pattern.clear());
    let expected =
        "module `model.layers.0.moe.experts.down_proj`: A is [9, 5] and B is [4, 9], expected [6, in] and [out, 6]";
    assert_eq!(rank, expected);

    let unnamed = Adapter { config: AdapterConfig::new(2, 8.0, Vec::new()), ..both.clone() };
    let refused = unnamed.write_for(&inventory(), dir.path()).unwrap_err().problem.to_string();
    assert!(refused.contains("has factors of 3 experts, and `target_parameters` does not name it so"), "{refused}");
}
