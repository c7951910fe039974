//! Fifty steps of training here and in PEFT, and what came of ours loaded in PEFT and transformers.

use std::ffi::OsStr;

use super::ParityError;
use super::sides::{Sides, source};

/// The same base, data, order and initial adapter on both sides.
///
/// # Errors
/// Where one side fails, or they differ.
pub fn compare(sides: &Sides<'_>) -> Result<(), ParityError> {
    let (steps, base) = (sides.script("peft_steps.py"), sides.smollm2()?);
    let initial = sides.work("peft/initial");
    sides.peers.run(&steps, ["init".as_ref(), base.as_os_str(), initial.as_os_str()])?;
    let vars = [("model", source(&base)), ("initial", initial.display().to_string())];
    let report = sides.host("peft.toml", &vars)?;

    let chats = sides.workspace.root().join("pipelines/data/quickstart/chats.jsonl");
    let [f64, f32] = ["float64", "float32"].map(|dtype| (sides.work("peft").join(dtype), dtype));
    for (theirs, dtype) in [&f64, &f32] {
        let options = ["run", "--dtype", dtype].map(OsStr::new);
        let paths = [&base, &chats, &initial, theirs].map(|path| path.as_os_str());
        sides.peers.run(&steps, options.into_iter().chain(paths))?;
    }
    let paths = [report.run_dir.as_os_str(), f64.0.as_os_str(), f32.0.as_os_str()];
    sides.peers.run(&steps, [OsStr::new("compare")].into_iter().chain(paths))?;

    let (adapter, fused) = (report.output("train", "adapter")?, report.output("fused", "model")?);
    let logits = report.output("logits", "logits")?;
    Ok(sides.peers.run(&sides.script("fused.py"), [base.as_path(), adapter, fused, logits])?)
}
