//! What rounding the weights alone has cost: the file's logits by our own decoder, which keeps activations in `f32`,
//! against the reference's. llama.cpp's divergence holds its rounding of activations too.

use std::path::Path;

use stage_api::Context;

use crate::divergence::{Comparison, Divergence};
use crate::error::EvaluateError;
use crate::reference::{Reference, ReferenceError};
use crate::windows::{Block, Window};

/// Rows that are compared at once.
const ROWS: usize = 64;

/// Compares two artifacts of the `logits` stage row by row; both must be of the same text.
pub fn divergence(
    ctx: &Context,
    reference: &Path,
    weights: &Path,
    threads: usize,
) -> Result<Option<Divergence>, EvaluateError> {
    let (mut reference, mut weights) = (Reference::open(reference)?, Reference::open(weights)?);
    if reference.windows != weights.windows {
        let (got, expected) = (weights.tokens(), reference.tokens());
        return Err(ReferenceError::OtherText { got, expected }.into());
    }
    let windows: Vec<Window> = std::mem::take(&mut reference.windows);
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    let mut comparison = Comparison::default();
    for window in &windows {
        for first in (0..window.tokens.len()).step_by(ROWS) {
            ctx.check_cancelled()?;
            let rows = ROWS.min(window.tokens.len() - first);
            reference.read_rows(rows, &mut theirs)?;
            weights.read_rows(rows, &mut ours)?;
            let block = Block { window, first, logits: &ours, vocab_size: weights.vocab_size };
            comparison.add(&block, &theirs, reference.vocab_size, threads);
        }
    }
    Ok(comparison.finish())
}
