//! PEFT adapters of embeddings: other names than a linear's, and factors that lie otherwise.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use checkpoint::adapter::{Adapter, AdapterConfig, LoraModule, Matrix, WEIGHTS_FILE};
use checkpoint::safetensors::{Safetensors, Writer};
use model::description::StoredTensor;
use model::inventory::{AdapterFacts, Presence, Role, TensorSpec};
use model::{Inventory, StoredType};

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
    let alone = Adapter::read(dir.path()).unwrap_err().problem.to_string();
    assert!(alone.contains("only the model says"), "{alone}");
    assert!(refused().contains("`lm_head` has factors, but no `lora_A`"), "{}", refused());
}

#[test]
fn what_is_no_pair_of_factors() {
    let dir = tempfile::tempdir().unwrap();
    let written = |tensors: &[(&str, StoredType, &[u64])]| {
        adapter().write_for(&inventory(), dir.path()).unwrap();
        let header = |(name, stored_type, shape): &(&str, StoredType, &[u64])| StoredTensor {
            name: format!("base_model.model.{EMBEDDING}.{name}"),
            stored_type: *stored_type,
            shape: shape.to_vec(),
        };
        let headers: Vec<_> = tensors.iter().map(header).collect();
        let mut writer = Writer::create(&dir.path().join(WEIGHTS_FILE), &headers, &BTreeMap::new()).unwrap();
        headers.iter().for_each(|t| writer.write(&t.name, &vec![0; t.bytes() as usize]).unwrap());
        writer.finish().unwrap();
        Adapter::read_for(&inventory(), dir.path()).unwrap_err().problem.to_string()
    };
    let (a, b) = ("lora_embedding_A", "lora_embedding_B");
    let (f32, i32) = (StoredType::F32, StoredType::I32);
    assert_eq!(written(&[(a, f32, &[2, 7])]), "module `model.embed_tokens` has no `lora_embedding_B`");
    assert_eq!(written(&[(b, f32, &[3, 2])]), "module `model.embed_tokens` has no `lora_embedding_A`");
    assert!(written(&[(a, i32, &[2, 7])]).contains("i32 of shape [2, 7], expected a matrix"));
    assert!(written(&[(a, f32, &[14])]).contains("f32 of shape [14], expected a matrix"));
    assert!(written(&[(a, f32, &[0, 7]), (b, f32, &[3, 0])]).contains("A is [0, 3] and B is [7, 0]"));
    let dora = written(&[(a, f32, &[2, 7]), (b, f32, &[3, 2]), ("lora_magnitude_vector", f32, &[3])]);
    assert!(dora.contains("`model.embed_tokens` is an embedding with DoRA"), "{dora}");
}

#[test]
fn one_matrix_stays_one_where_the_configuration_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut tied = adapter();
    tied.config.ensure_weight_tying = true;
    tied.write_for(&inventory(), dir.path()).unwrap();
    assert_eq!(Adapter::read_for(&inventory(), dir.path()).unwrap().config, tied.config);
}
