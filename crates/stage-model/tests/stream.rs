//! Rows through an encoder to a writer: whatever the number of threads, the same bytes in order, and one error where
//! something fails.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use checkpoint::Checkpoint;
use checkpoint::view::ModelView;
use model::StoredType;
use model::description::StoredTensor;
use model::expr::Expr;
use model::inventory::{Dialect, Form, Inventory, Presence, Role, TensorSpec};
use stage_api::{Error, Result};
use stage_model::{Encode, RowStream, stage_error};

/// Five blocks, the last one not full, of four pieces each.
const LARGE: [u64; 2] = [1111, 1024];
const SMALL: [u64; 2] = [3, 1024];
/// Rows of a block of the large tensor.
const BLOCK: usize = 256;

fn values([rows, columns]: [u64; 2]) -> Vec<f32> {
    (0..rows * columns).map(|i| ((i * 7919 % 20011) as f32 - 10_000.0) / 64.0).collect()
}

fn stored(name: &str, shape: [u64; 2]) -> StoredTensor {
    StoredTensor { name: name.into(), stored_type: StoredType::F32, shape: shape.into() }
}

fn spec(tensor: &StoredTensor) -> TensorSpec {
    TensorSpec {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        role: Role::GluUp,
        layer: None,
        presence: Presence::Required,
        heads: None,
        adapter: None,
        forms: vec![Form { dialect: Dialect::Published, expr: Expr::tensor(&tensor.name) }],
    }
}

/// A checkpoint with `large`, whose values `change` may change, and `small`.
fn view(dir: &Path, change: impl FnOnce(&mut [f32])) -> ModelView {
    let tensors = [stored("large", LARGE), stored("small", SMALL)];
    let path = dir.join("model.safetensors");
    let mut writer = checkpoint::safetensors::Writer::create(&path, &tensors, &[].into()).unwrap();
    let mut large = values(LARGE);
    change(&mut large);
    for (name, values) in [("large", large), ("small", values(SMALL))] {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        writer.write(name, &bytes).unwrap();
    }
    writer.finish().unwrap();
    fs::write(dir.join("config.json"), "{}").unwrap();
    let inventory = Inventory { tensors: tensors.iter().map(spec).collect(), ignored: Vec::new(), gguf: Vec::new() };
    ModelView::new(Checkpoint::open(dir).unwrap(), inventory, None).unwrap()
}

fn to_bf16(values: &[f32], bytes: &mut [u8]) -> Result<()> {
    blocks::encode_rows(StoredType::Bf16, values, bytes).map_err(stage_error("bad_values"))
}

#[test]
fn threads_do_not_show() {
    let dir = tempfile::tempdir().unwrap();
    let view = view(dir.path(), |_| {});
    let encoded = |shape| {
        let values = values(shape);
        let mut bytes = vec![0; 2 * values.len()];
        to_bf16(&values, &mut bytes).unwrap();
        bytes
    };
    let expected = [encoded(SMALL), encoded(LARGE), encoded(SMALL), encoded(LARGE)].concat();
    for threads in [1, 2, 3, 7] {
        let (mut stream, mut out) = (RowStream::new(threads), Vec::new());
        for name in ["small", "large", "small", "large"] {
            let mut write = |bytes: &[u8]| {
                out.extend_from_slice(bytes);
                Ok(())
            };
            stream.encoded(&view.rows(name).unwrap(), StoredType::Bf16, &to_bf16, &mut write).unwrap();
        }
        assert!(out == expected, "{threads} threads");
    }
}

#[test]
fn rows_as_they_lie_are_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let view = view(dir.path(), |_| {});
    let mut out = Vec::new();
    let mut write = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    RowStream::new(2).raw(&view.rows("large").unwrap(), StoredType::F32, &mut write).unwrap();
    assert!(out == values(LARGE).iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
}

/// Why the large tensor is not written, where a writer takes at most so many bytes, and how many it was given.
fn failed(change: impl FnOnce(&mut [f32]), encode: &Encode<'_>, most: usize) -> (String, usize) {
    let dir = tempfile::tempdir().unwrap();
    let view = view(dir.path(), change);
    let mut given = 0;
    let mut write = |bytes: &[u8]| {
        given += bytes.len();
        if given > most { Err(Error::new("io", "the disk is full")) } else { Ok(()) }
    };
    let mut stream = RowStream::new(2);
    let error = stream.encoded(&view.rows("large").unwrap(), StoredType::Bf16, encode, &mut write).unwrap_err();
    (error.to_string(), given)
}

#[test]
fn a_value_that_is_no_number_is_named_and_what_is_before_it_is_written() {
    let columns = LARGE[1] as usize;
    let (error, given) = failed(|values| values[600 * columns + 5] = f32::NAN, &to_bf16, usize::MAX);
    assert!(error.contains("`large` holds NaN in row 600, column 5"), "{error}");
    assert_eq!(given, 2 * columns * 2 * BLOCK);
}

/// What passes as it lies is looked at too.
#[test]
fn a_value_that_is_no_number_does_not_pass() {
    let dir = tempfile::tempdir().unwrap();
    let view = view(dir.path(), |values| values[600 * LARGE[1] as usize + 5] = f32::NEG_INFINITY);
    let error = RowStream::new(2).raw(&view.rows("large").unwrap(), StoredType::F32, &mut |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("`large` holds -inf in row 600, column 5"), "{error}");
}

#[test]
fn a_writer_or_an_encoder_that_fails_ends_it() {
    let (error, given) = failed(|_| {}, &to_bf16, 1 << 20);
    assert!(error.contains("the disk is full") && given > 1 << 20, "{error}");
    let first = values(LARGE)[3 * BLOCK * LARGE[1] as usize];
    let refuses = |values: &[f32], bytes: &mut [u8]| match values[0] == first {
        true => Err(Error::new("bad_values", "not these rows")),
        false => to_bf16(values, bytes),
    };
    let (error, _) = failed(|_| {}, &refuses, usize::MAX);
    assert!(error.contains("not these rows") && error.contains("in tensor `large`, from row 768 on"), "{error}");
    let panics = |_: &[f32], _: &mut [u8]| -> Result<()> { panic!("an encoder's own mistake") };
    let (error, given) = failed(|_| {}, &panics, usize::MAX);
    assert!(error.contains("a thread panicked while it encoded `large`") && given == 0, "{error}");
}
