//! Whole embeddings and heads beside the factors that change them. PEFT saves those that it adapts, frozen as they are;
//! where they are the base's own there is nothing to merge.

use checkpoint::view::{ModelView, RowReader};
use model::StoredType;
use model::description::StoredTensor;
use model::inventory::{Role, TensorSpec};
use stage_api::{Context, Result};
use stage_model::{ModelInput, stage_error};

use crate::MODEL;
use crate::error::{ImportError, Problem};
use crate::found::Found;
use crate::names::core;
use crate::tie::HEAD;

/// Values that are compared at a time.
const BLOCK: usize = 1 << 16;

/// Those that cannot be the base's own, told from headers.
pub fn problems(model: &ModelInput, found: &Found) -> Vec<Problem> {
    let unfit = |(module, saved): (&String, &StoredTensor)| match own(model, module) {
        None => Some(Problem::SavedNowhere { tensor: saved.name.clone() }),
        Some(spec) if spec.shape != saved.shape => {
            let (got, expected) = (saved.shape.clone(), spec.shape.clone());
            Some(Problem::Resized { tensor: saved.name.clone(), got, expected })
        }
        Some(_) => None,
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

fn compare(ctx: &Context, found: &Found, saved: &StoredTensor, reader: &RowReader<'_>) -> Result<()> {
    let Some(stored) = reader.stored_type().filter(|stored| stored.is_float()) else {
        return Err(ImportError::SavedBesideQuantized { tensor: saved.name.clone() }.into());
    };
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
        round(stored, &mut theirs).map_err(decode)?;
        if let Some(at) = base.iter().zip(&theirs).position(|(base, theirs)| base != theirs) {
            let row = range.start + (at / columns) as u64;
            let (got, expected) = (theirs[at], base[at]);
            return Err(ImportError::SavedOther { tensor: saved.name.clone(), row, got, expected }.into());
        }
    }
    Ok(())
}

/// As the base stores its values: a trainer may keep the frozen ones in a wider type.
fn round(stored: StoredType, values: &mut [f32]) -> std::result::Result<(), blocks::BlockError> {
    let mut bytes = vec![0; values.len() * stored.block_bytes() as usize];
    blocks::encode_rows(stored, values, &mut bytes)?;
    blocks::decode_rows(stored, &bytes, values)
}
