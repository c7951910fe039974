//! PEFT adapters of embeddings: other names than a linear's, and factors that lie otherwise.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use checkpoint::adapter::{Adapter, AdapterConfig, LoraModule, Matrix, WEIGHTS_FILE};
use checkpoint::safetensors::Safetensors;
use model::Inventory;
use model::inventory::{AdapterFacts, Presence, Role, TensorSpec};

const EMBEDDING: &str = "model.embed_tokens";
const HEAD: &str = "lm_head";
const ENTRIES: usize = 7;
const FEATURES: usize = 3;

/// An embedding and a head of the same shape.
fn inventory() -> Inventory {
    let tensor = |module: &str, role| TensorSpec {
        name: format!("{module}.weight"),
        shape: vec![ENTRIES as u64, FEATURES as u64],
        role,
        layer: None,
        presence: Presence::Required,
        heads: None,
        adapter: Some(AdapterFacts {
            module: module.into(),
            input_axis: 1,
            output_axis: 0,
            expert_axis: None,
            parameter: None,
        }),
        forms: Vec::new(),
    };
    let tensors = vec![tensor(EMBEDDING, Role::Embedding), tensor(HEAD, Role::Head)];
    Inventory { tensors, ignored: Vec::new(), gguf: Vec::new() }
}

fn matrix(rows: usize, columns: usize) -> Matrix {
    Matrix::new(rows, columns, (0..rows * columns).map(|i| i as f32).collect()).unwrap()
}

fn adapter() -> Adapter {
    let config = AdapterConfig::new(2, 4.0, vec![EMBEDDING.into(), HEAD.into()]);
    let lora = LoraModule::new(matrix(2, FEATURES), matrix(ENTRIES, 2), 2.0);
    Adapter { config, modules: BTreeMap::from([(EMBEDDING.into(), lora.clone()), (HEAD.into(), lora)]) }
}

#[test]
fn an_embedding_has_names_and_shapes_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    adapter().write_for(&inventory(), dir.path()).unwrap();
    let file = Safetensors::open_file(&dir.path().join(WEIGHTS_FILE)).unwrap();
    let shape = |name: &str| file.get(&format!("base_model.model.{name}")).unwrap().0.shape.clone();
    assert_eq!(shape("model.embed_tokens.lora_embedding_A"), [2, 7]);
    assert_eq!(shape("model.embed_tokens.lora_embedding_B"), [3, 2]);
    assert_eq!(shape("lm_head.lora_A.weight"), [2, 3]);
    assert_eq!(shape("lm_head.lora_B.weight"), [7, 2]);
    // B's second column, as PEFT's second row: 1, 3, 5, …
    let bytes = file.get("base_model.model.model.embed_tokens.lora_embedding_A").unwrap().1;
    let second_row: Vec<f32> =
        bytes[4 * 7..].chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect();
    assert_eq!(second_row, [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0]);
    assert_eq!(Adapter::read_for(&inventory(), dir.path()).unwrap(), adapter());
}

/// The two have the same shape here, so names alone tell.
#[test]
fn names_must_be_those_of_the_modules_kind() {
    let dir = tempfile::tempdir().unwrap();
    let refused = || Adapter::read_for(&inventory(), dir.path()).unwrap_err().problem.to_string();
    adapter().write(dir.path()).unwrap();
    assert!(refused().contains("`model.embed_tokens` has factors, but no `lora_embedding_A`"), "{}", refused());

    let mut other = inventory();
    other.tensors[1].role = Role::Embedding;
    adapter().write_for(&other, dir.path()).unwrap();
    assert!(refused().contains("`lm_head` has factors, but no `lora_A`"), "{}", refused());
}

#[test]
fn one_matrix_stays_one_where_the_configuration_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut tied = adapter();
    tied.config.ensure_weight_tying = true;
    tied.write_for(&inventory(), dir.path()).unwrap();
    assert_eq!(Adapter::read_for(&inventory(), dir.path()).unwrap().config, tied.config);
}
