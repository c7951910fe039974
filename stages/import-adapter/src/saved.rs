//! Whole embeddings and heads beside the factors that change them. PEFT saves those that it adapts, frozen as they are;
//! where they are the base's own there is nothing to merge.

use checkpoint::view::{ModelView, RowReader};
use model::StoredType;
use model::description::StoredTensor;
use model::inventory::{Role, TensorSpec};
use stage_api::{Context, Result};
use stage_model::{HEAD, ModelInput, stage_error};

use crate::MODEL;
use crate::error::ImportError;
use crate::found::Found;
use crate::names::core;
use crate::problem::Problem;

/// Values that are compared at a time.
const BLOCK: usize = 1 << 16;

/// Those that cannot be the base's own, told from headers.
pub fn problems(model: &ModelInput, found: &Found) -> Vec<Problem> {
    let unfit = |(module, saved): (&String, &StoredTensor)| {
        let tensor = saved.name.clone();
        let spec = own(model, module)?;
        if spec.shape != saved.shape {
            return Some(Problem::Resized { tensor, got: saved.shape.clone(), expected: spec.shape.clone() });
        }
        let (stored_type, own) = (saved.stored_type, model.stored_type(spec)?);
        let comparable = own.is_float() && stored_type.is_float() && blocks::decoder(stored_type).is_some();
        (!comparable).then_some(Problem::SavedIncomparable { tensor, stored_type, own })
    };
    found.saved.iter().filter_map(unfit).collect()
}

/// Compares values: a weight that was trained, or is another base's, is no part of a LoRA.
pub fn hold(ctx: &Context, model: &ModelInput, found: &Found) -> Result<()> {
    if found.saved.is_empty() {
        return Ok(());
    }
    let view = ModelView::new(model.open(ctx, MODEL)?, model.reading.inventory.clone(), None);
    let view = view.map_err(stage_error("unreadable_model"))?;
    for (module, saved) in &found.saved {
        let Some(spec) = own(model, module) else { continue };
        let reader = view.rows(&spec.name).map_err(stage_error("unreadable_model"))?;
        compare(ctx, found, saved, &reader)?;
    }
    Ok(())
}

/// The base's weight of that module; where embedding and head stay one matrix, that is both.
fn own<'a>(model: &'a ModelInput, module: &str) -> Option<&'a TensorSpec> {
    let inventory = &model.reading.inventory;
    let is_it = |spec: &&TensorSpec| match spec.name.strip_suffix(".weight") {
        Some(known) => core(known) == core(module) && matches!(spec.role, Role::Embedding | Role::Head),
        None => false,
    };
    let embedding = || inventory.tensors.iter().find(|spec| spec.role == Role::Embedding);
    let tied = model.reading.architecture.is_tied() && core(module) == HEAD;
    inventory.tensors.iter().find(is_it).or_else(|| tied.then(embedding).flatten())
}

/// The two are the same where the saved one is the base's, rounded to its type: a trainer may load a model in fewer bits
/// than it is stored in. One in more bits has no reason to differ.
fn compare(ctx: &Context, found: &Found, saved: &StoredTensor, reader: &RowReader<'_>) -> Result<()> {
    let (bytes, columns) = (found.weights.bytes(saved), reader.columns());
    let row_bytes = saved.stored_type.row_bytes(columns as u64).unwrap_or(0) as usize;
    let decode = |source| ImportError::Decode { tensor: saved.name.clone(), source };
    for range in reader.blocks(BLOCK) {
        ctx.check_cancelled()?;
        let count = (range.end - range.start) as usize * columns;
        let (mut base, mut theirs) = (vec![0.0; count], vec![0.0; count]);
        reader.read_f32(range.clone(), &mut base).map_err(stage_error("unreadable_model"))?;
        let rows = &bytes[range.start as usize * row_bytes..range.end as usize * row_bytes];
        blocks::decode_rows(saved.stored_type, rows, &mut theirs).map_err(decode)?;
        let base = rounded(saved.stored_type, base);
        if let Some(at) = (0..count).find(|at| base[*at] != theirs[*at]) {
            let row = range.start + (at / columns) as u64;
            let (got, expected) = (theirs[at], base[at]);
            return Err(ImportError::SavedOther { tensor: saved.name.clone(), row, got, expected }.into());
        }
    }
    Ok(())
}

/// Values as a type of floats keeps them; one that is too large for it stays.
fn rounded(stored: StoredType, values: Vec<f32>) -> Vec<f32> {
    let mut bytes = vec![0; stored.block_bytes() as usize];
    let mut round = |value: &f32| {
        let mut rounded = [*value];
        let kept = blocks::encode_rows(stored, &rounded, &mut bytes);
        match kept.and_then(|()| blocks::decode_rows(stored, &bytes, &mut rounded)) {
            Ok(()) => rounded[0],
            Err(_) => *value,
        }
    };
    if stored == StoredType::F32 { values } else { values.iter().map(&mut round).collect() }
}
