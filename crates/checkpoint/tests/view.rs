//! A model as a view: both containers give the same bits, merged and as they lie; coverage says what is wrong.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use checkpoint::adapter::{Adapter, AdapterConfig, LoraModule, Matrix};
use checkpoint::coverage::coverage;
use checkpoint::{Checkpoint, ModelView, gguf, safetensors};
use model::description::{Container, StoredTensor};
use model::expr::{Expr, Pointwise, halves_from_interleaved, interleave_halves};
use model::inventory::{AdapterFacts, Dialect, Form, GgufTensor, IgnoredTensor, Inventory, Presence, Role, TensorSpec};
use model::{ModelDescription, StoredType};

const EMBED: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
const Q: &str = "model.layers.0.self_attn.q_proj.weight";
const V: &str = "model.layers.0.self_attn.v_proj.weight";
const NORM: &str = "model.norm.weight";
/// 2 heads of 4, input of 32 (one block of `q8_0`).
const COLUMNS: u64 = 32;

fn spec(name: &str, shape: &[u64], role: Role, gguf: Expr) -> TensorSpec {
    let module = name.strip_suffix(".weight").unwrap().to_owned();
    let facts = AdapterFacts { module, input_axis: 1, output_axis: 0, expert_axis: None, parameter: None };
    TensorSpec {
        heads: None,
        name: name.into(),
        shape: shape.into(),
        role,
        layer: None,
        presence: Presence::Required,
        adapter: role.is_matrix().then_some(facts),
        forms: vec![
            Form { dialect: Dialect::Published, expr: Expr::tensor(name) },
            Form { dialect: Dialect::Gguf, expr: gguf },
        ],
    }
}

/// A model whose GGUF fuses q and v, permutes q, shifts the norm and ties the head.
fn inventory() -> Inventory {
    let fused = |start, len| Expr::tensor("attn_qkv.weight").slice(0, start, len);
    let q = halves_from_interleaved(fused(0, 8), 2, 4, Some(COLUMNS));
    let mut head = spec(HEAD, &[5, COLUMNS], Role::Head, Expr::tensor("output.weight"));
    head.presence = Presence::TiedTo(EMBED.into());
    let norm = Expr::tensor("output_norm.weight").map(Pointwise::Add(-1.0));
    let q_again = interleave_halves(Expr::tensor(Q), 2, 4, Some(COLUMNS));
    Inventory {
        tensors: vec![
            spec(EMBED, &[5, COLUMNS], Role::Embedding, Expr::tensor("token_embd.weight")),
            head,
            spec(Q, &[8, COLUMNS], Role::AttentionQuery, q),
            spec(V, &[4, COLUMNS], Role::AttentionValue, fused(8, 4)),
            spec(NORM, &[COLUMNS], Role::Norm, norm),
        ],
        ignored: vec![IgnoredTensor { name: "rope.inv_freq".into(), reason: "computed".into(), copy_of: None }],
        gguf: vec![GgufTensor {
            name: "attn_qkv.weight".into(),
            shape: vec![12, COLUMNS],
            role: Role::AttentionQuery,
            layer: Some(0),
            expr: Expr::Concat { axis: 0, parts: vec![q_again, Expr::tensor(V)] },
        }],
    }
}

fn tensor(name: &str, stored_type: StoredType, shape: &[u64]) -> StoredTensor {
    StoredTensor { name: name.into(), stored_type, shape: shape.into() }
}

/// Values that tell rows apart, encoded as the tensor's type.
fn encoded(tensor: &StoredTensor) -> Vec<u8> {
    let values: Vec<f32> = (0..tensor.values()).map(|i| ((i * 37 % 101) as f32 - 50.0) / 16.0).collect();
    let mut bytes = vec![0; tensor.bytes() as usize];
    blocks::encode_rows(tensor.stored_type, &values, &mut bytes).unwrap();
    bytes
}

fn gguf_tensors() -> Vec<StoredTensor> {
    vec![
        tensor("token_embd.weight", StoredType::Q4_0, &[5, COLUMNS]),
        tensor("attn_qkv.weight", StoredType::Q8_0, &[12, COLUMNS]),
        tensor("output_norm.weight", StoredType::F32, &[COLUMNS]),
    ]
}

/// An Ollama blob: a GGUF without a suffix.
fn write_gguf(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("sha256-0123");
    let metadata = [("general.architecture", "llama")].into_iter().collect();
    let mut writer = gguf::Writer::create(&path, &metadata, &gguf_tensors()).unwrap();
    for tensor in gguf_tensors() {
        writer.write(&tensor.name, &encoded(&tensor)).unwrap();
    }
    writer.finish().unwrap();
    path
}

fn view(path: &Path, adapter: Option<Adapter>) -> ModelView {
    ModelView::new(Checkpoint::open(path).unwrap(), inventory(), adapter).unwrap()
}

fn read(view: &ModelView, name: &str) -> Vec<f32> {
    let reader = view.rows(name).unwrap();
    let mut values = vec![0.0; reader.rows() as usize * reader.columns()];
    reader.read_f32(0..reader.rows(), &mut values).unwrap();
    values
}

/// The same values as an f32 directory, through the view itself.
fn write_directory(dir: &Path, source: &ModelView) {
    std::fs::write(dir.join("config.json"), r#"{"model_type":"llama"}"#).unwrap();
    let planned: Vec<_> = source.tensors().map(|spec| tensor(&spec.name, StoredType::F32, &spec.shape)).collect();
    let mut writer = safetensors::ShardedWriter::create(dir, &planned, &BTreeMap::new(), 1 << 10).unwrap();
    for tensor in &planned {
        let bytes: Vec<u8> = read(source, &tensor.name).iter().flat_map(|v| v.to_le_bytes()).collect();
        writer.write(&tensor.name, &bytes).unwrap();
    }
    writer.finish().unwrap();
}

fn adapter() -> Adapter {
    let matrix = |rows: usize, columns: usize| {
        Matrix::new(rows, columns, (0..rows * columns).map(|i| (i as f32 * 0.7).sin()).collect()).unwrap()
    };
    let lora = LoraModule::new(matrix(3, COLUMNS as usize), matrix(8, 3), 2.0);
    let modules = BTreeMap::from([("model.layers.0.self_attn.q_proj".to_owned(), lora)]);
    Adapter { config: AdapterConfig::new(3, 6.0, vec!["q_proj".into()]), modules }
}

#[test]
fn both_containers_give_the_same_bits_with_and_without_an_adapter() {
    let (gguf_dir, hf_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let blob = write_gguf(gguf_dir.path());
    write_directory(hf_dir.path(), &view(&blob, None));
    for merged in [None, Some(adapter())] {
        let from_gguf = view(&blob, merged.clone());
        let from_directory = view(hf_dir.path(), merged);
        for name in [EMBED, HEAD, Q, V, NORM] {
            assert_eq!(read(&from_gguf, name), read(&from_directory, name), "{name}");
        }
        let gguf_q = &inventory().gguf[0];
        let both = [&from_gguf, &from_directory].map(|view| {
            let reader = view.evaluate(&gguf_q.name, &gguf_q.expr).unwrap();
            let mut values = vec![0.0; 12 * COLUMNS as usize];
            reader.read_f32(0..12, &mut values).unwrap();
            values
        });
        assert_eq!(both[0], both[1]);
    }
}

#[test]
fn merged_rows_are_base_plus_scaled_product() {
    let dir = tempfile::tempdir().unwrap();
    let blob = write_gguf(dir.path());
    let (base, merged) = (read(&view(&blob, None), Q), read(&view(&blob, Some(adapter())), Q));
    let LoraModule { a, b, scale, .. } = &adapter().modules["model.layers.0.self_attn.q_proj"];
    for (i, value) in merged.iter().enumerate() {
        let (row, column) = (i / a.columns, i % a.columns);
        let product = (0..3).fold(0.0f32, |sum, k| sum + b.row(row)[k] * a.row(k)[column]);
        assert_eq!(*value, base[i] + scale * product);
    }
}

/// DoRA: the sum's direction, and the length that the row has of its own, wherever the row is moved to.
#[test]
fn merged_rows_have_their_lengths() {
    let dir = tempfile::tempdir().unwrap();
    let blob = write_gguf(dir.path());
    let mut dora = adapter();
    dora.modules.values_mut().for_each(|lora| lora.magnitude = Some((1..=8).map(|i| i as f32).collect()));
    let (sum, merged) = (view(&blob, Some(adapter())), view(&blob, Some(dora)));
    let columns = COLUMNS as usize;
    let (sum_rows, rows) = (read(&sum, Q), read(&merged, Q));
    for (i, (row, sum)) in rows.chunks(columns).zip(sum_rows.chunks(columns)).enumerate() {
        let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        assert!((length - (i + 1) as f64).abs() < 1e-5, "row {i} is {length} long");
        let factor = row[0] / sum[0];
        assert!(row.iter().zip(sum).all(|(a, b)| (a - factor * b).abs() < 1e-5), "row {i} has another direction");
    }
    let moved = interleave_halves(Expr::tensor(Q), 2, 4, Some(COLUMNS));
    let reader = merged.evaluate("blk.0.attn_q.weight", &moved).unwrap();
    let mut values = vec![0.0; rows.len()];
    reader.read_f32(0..reader.rows(), &mut values).unwrap();
    let order = [0, 2, 1, 3, 4, 6, 5, 7].map(|row| &rows[row * columns..(row + 1) * columns]).concat();
    assert_eq!(values, order);
}

#[test]
fn rows_do_not_depend_on_the_block_they_are_read_in() {
    let dir = tempfile::tempdir().unwrap();
    let view = view(&write_gguf(dir.path()), Some(adapter()));
    let whole = read(&view, Q);
    let reader = view.rows(Q).unwrap();
    for max_values in [1, 3 * COLUMNS as usize, 1000] {
        let mut pieces = Vec::new();
        for range in reader.blocks(max_values) {
            let mut block = vec![0.0; (range.end - range.start) as usize * reader.columns()];
            reader.read_f32(range, &mut block).unwrap();
            pieces.extend(block);
        }
        assert_eq!(pieces, whole, "{max_values}");
    }
}

#[test]
fn unchanged_rows_pass_through_as_they_lie() {
    let dir = tempfile::tempdir().unwrap();
    let blob = write_gguf(dir.path());
    let plain = view(&blob, None);
    let fused = encoded(&gguf_tensors()[1]);
    // Through the canonical names and back, the permutation cancels.
    let again = plain.evaluate("attn_qkv.weight", &inventory().gguf[0].expr).unwrap();
    assert_eq!(again.stored_type(), Some(StoredType::Q8_0));
    assert_eq!(again.raw_rows(0..12).unwrap().bytes, fused);
    // The canonical q is a permutation of its rows.
    let q = plain.rows(Q).unwrap();
    assert!(q.raw_rows(0..8).is_none(), "permuted rows do not lie together");
    let mut copied = vec![0; 8 * 34];
    q.copy_raw(0..8, &mut copied).unwrap();
    for (row, from) in [0usize, 2, 1, 3, 4, 6, 5, 7].into_iter().enumerate() {
        assert_eq!(copied[row * 34..][..34], fused[from * 34..][..34], "row {row}");
    }
    assert_eq!(q.stored_segments().unwrap().len(), 1);
    // The norm passes through a function, and the adapter changes q: neither is to be had as it lies.
    assert_eq!(plain.rows(NORM).unwrap().stored_type(), None);
    let changed = view(&blob, Some(adapter()));
    assert!(changed.is_changed(Q) && !changed.is_changed(V));
    assert_eq!(changed.rows(Q).unwrap().stored_type(), None);
    assert_eq!(changed.rows(V).unwrap().stored_type(), Some(StoredType::Q8_0));
    let error = changed.rows(Q).unwrap().copy_raw(0..8, &mut copied).unwrap_err().to_string();
    assert!(error.contains("is computed or of several types"), "{error}");
}

#[test]
fn a_changed_head_is_no_longer_tied() {
    let dir = tempfile::tempdir().unwrap();
    let blob = write_gguf(dir.path());
    let names = |view: &ModelView| view.tensors().map(|spec| spec.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&view(&blob, None)), [EMBED, Q, V, NORM]);
    let mut on_head = adapter();
    let mut lora = on_head.modules.pop_first().unwrap().1;
    lora.b = Matrix::new(5, 3, vec![1.0; 15]).unwrap();
    on_head.modules.insert("lm_head".into(), lora);
    let untied = view(&blob, Some(on_head));
    assert_eq!(names(&untied), [EMBED, HEAD, Q, V, NORM]);
    assert_ne!(read(&untied, HEAD), read(&untied, EMBED));
}

#[test]
fn an_adapter_of_another_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = adapter();
    let lora = wrong.modules.pop_first().unwrap().1;
    wrong.modules.insert("model.layers.7.self_attn.q_proj".into(), lora);
    let checkpoint = Checkpoint::open(&write_gguf(dir.path())).unwrap();
    let error = ModelView::new(checkpoint, inventory(), Some(wrong)).unwrap_err().to_string();
    let expected = "the adapter does not fit this model: the model has no module `model.layers.7.self_attn.q_proj`; \
                    it has `model.layers.0.self_attn.q_proj`, …";
    assert_eq!(error, expected);
}

#[test]
fn numbers_that_are_none_are_found_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let blob = write_gguf(dir.path());
    let mut bytes = std::fs::read(&blob).unwrap();
    let header = gguf::Header::read(&bytes).unwrap();
    let norm = &header.tensors[2];
    bytes[norm.offset as usize + 12..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let damaged = dir.path().join("damaged");
    std::fs::write(&damaged, bytes).unwrap();
    let error = view(&damaged, None).values(NORM).unwrap_err().to_string();
    assert!(error.starts_with("tensor `model.norm.weight` holds NaN in row 0, column 3"), "{error}");
}

#[test]
fn ranges_and_buffers_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let view = view(&write_gguf(dir.path()), None);
    let reader = view.rows(V).unwrap();
    let mut short = vec![0.0; 10];
    assert!(reader.read_f32(0..1, &mut short).is_err());
    assert!(reader.read_f32(3..5, &mut vec![0.0; 64]).is_err());
    assert_eq!(view.rows("nobody").unwrap_err().to_string(), "this architecture has no tensor `nobody`");
}

#[test]
fn a_path_is_known_by_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(&write_gguf(dir.path())).unwrap();
    let ModelDescription { container, tensors, metadata, .. } = checkpoint.describe();
    assert_eq!((container, tensors), (Container::Gguf, gguf_tensors()));
    assert_eq!(metadata["general.architecture"].as_str(), Some("llama"));
    let zip = dir.path().join("model.gguf");
    std::fs::write(&zip, "PK\u{3}\u{4}").unwrap();
    let error = Checkpoint::open(&zip).unwrap_err().to_string();
    assert!(error.contains(r"is no model: it begins with `PK\x03\x04`; a model is a directory with"), "{error}");
    assert!(Checkpoint::open(&dir.path().join("nothing")).unwrap_err().to_string().contains("No such file"));
}

fn findings(container: Container, tensors: &[StoredTensor]) -> Vec<String> {
    coverage(&inventory(), container, tensors).iter().map(ToString::to_string).collect()
}

fn published() -> Vec<StoredTensor> {
    let shapes: [(&str, &[u64]); 4] = [(EMBED, &[5, 32]), (Q, &[8, 32]), (V, &[4, 32]), (NORM, &[32])];
    shapes.map(|(name, shape)| tensor(name, StoredType::Bf16, shape)).to_vec()
}

#[test]
fn a_whole_checkpoint_has_no_findings() {
    assert_eq!(findings(Container::Gguf, &gguf_tensors()), Vec::<String>::new());
    let mut with_ignored = published();
    with_ignored.push(tensor("rope.inv_freq", StoredType::F32, &[2]));
    assert_eq!(findings(Container::Safetensors, &with_ignored), Vec::<String>::new());
}

#[test]
fn every_disagreement_is_a_finding() {
    let mut tensors = published();
    tensors[1].shape = vec![32, 8];
    tensors[2].name = "model.layers.0.self_attn.w_v.weight".into();
    tensors[3].stored_type = StoredType::U8;
    let found = coverage(&inventory(), Container::Safetensors, &tensors);
    let messages: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages[..3],
        [
            format!(
                "tensor `{Q}` has shape [32, 8], the configuration asks for [8, 32]: it is transposed, so its values \
         lie in another order"
            ),
            format!("tensor `{V}` is missing; looked for `{V}`"),
            "tensor `model.layers.0.self_attn.w_v.weight` (bf16, [4, 32]) belongs to nothing in this architecture"
                .into(),
        ]
    );
    assert!(messages[3].starts_with(&format!("tensor `{NORM}` is `u8`, which is not decoded; decoded are `f32`")));
    assert_eq!(found[0].help(), "store weights as [out, in]; dimensions of 1 may stand anywhere");
    assert_eq!(
        found.iter().map(|f| f.code()).collect::<Vec<_>>(),
        ["wrong_shape", "missing_tensor", "unexpected_tensor", "wrong_type",]
    );
    let mut narrow = gguf_tensors();
    narrow[1].shape = vec![10, COLUMNS];
    let message = &findings(Container::Gguf, &narrow)[0];
    assert!(message.starts_with(&format!("tensor `{V}` cannot be made of `attn_qkv.weight`")), "{message}");
}
