//! What planning says about an adapter.

use std::collections::BTreeSet;

use stage_api::{Finding, Severity};
use stage_model::ModelInput;

use crate::found::Found;
use crate::names::last_part;
use crate::place::Placed;
use crate::problem::Problem;

/// A problem as a finding that refuses the pipeline.
pub fn problem(problem: &Problem) -> Finding {
    Finding::new(Severity::Error, "unfit_adapter", problem.to_string()).with_help(problem.help())
}

/// Who made the adapter, what it changes, and for which model: the name that it has beside the one that is connected.
pub fn what_was_found(found: &Found, placed: &[Placed], model: &ModelInput) -> Finding {
    let lasts: BTreeSet<&str> = placed.iter().map(|placed| last_part(&placed.module)).collect();
    let message = format!(
        "{} {} of {}: {} modules ({}), rank {}, scale {}; it was made for {}, connected is {}",
        found.kind,
        if placed.iter().any(|placed| placed.dora) { "DoRA" } else { "LoRA" },
        found.weights.path().file_name().unwrap_or_default().to_string_lossy(),
        placed.len(),
        lasts.into_iter().collect::<Vec<_>>().join(", "),
        range(placed.iter().map(|placed| placed.rank as f32)),
        range(placed.iter().flat_map(scales)),
        found.base.as_ref().map_or("a model that it does not name".into(), |base| format!("`{base}`")),
        connected(model),
    );
    Finding::new(Severity::Note, "adapter", message)
}

fn scales(placed: &Placed) -> Vec<f32> {
    placed.pieces.iter().flatten().map(|piece| placed.scale * piece.bake).collect()
}

fn range(values: impl Iterator<Item = f32>) -> String {
    let (low, high) = values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    match (low, high) {
        _ if low > high => "none".into(),
        _ if low == high => format!("{low}"),
        _ => format!("{low} to {high}"),
    }
}

/// What the pipeline knows about its base.
fn connected(model: &ModelInput) -> String {
    let known = |key: &str| model.description.provenance.get(key).cloned();
    let named =
        || model.reading.config.get("_name_or_path")?.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    match known("source").or_else(|| known("file")).or_else(named) {
        Some(name) => format!("`{name}`"),
        None => format!("a model of the family `{}`", model.reading.family),
    }
}
