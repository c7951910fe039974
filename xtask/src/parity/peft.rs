//! Fifty steps of training here and in PEFT, and what came of ours loaded in PEFT and transformers.

use super::ParityError;
use super::sides::{Sides, source};

/// The same base, data, order and initial adapter on both sides.
///
/// # Errors
/// Where one side fails, or they differ.
pub fn compare(sides: &Sides<'_>) -> Result<(), ParityError> {
    let (steps, base) = (sides.script("peft_steps.py"), sides.smollm2()?);
    let (initial, theirs) = (sides.work("peft/initial"), sides.work("peft/trained"));
    sides.peers.run(&steps, ["init".as_ref(), base.as_os_str(), initial.as_os_str()])?;
    let vars = [("model", source(&base)), ("initial", initial.display().to_string())];
    let report = sides.host("peft.toml", &vars)?;

    let chats = sides.workspace.root().join("pipelines/data/quickstart/chats.jsonl");
    sides
        .peers
        .run(&steps, ["run".as_ref(), base.as_os_str(), chats.as_os_str(), initial.as_os_str(), theirs.as_os_str()])?;
    sides.peers.run(&steps, ["compare".as_ref(), report.run_dir.as_os_str(), theirs.as_os_str()])?;

    let (adapter, fused) = (report.output("train", "adapter")?, report.output("fused", "model")?);
    let logits = report.output("logits", "logits")?;
    Ok(sides.peers.run(&sides.script("fused.py"), [base.as_path(), adapter, fused, logits])?)
}
