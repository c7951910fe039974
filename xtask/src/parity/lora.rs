//! A GGUF LoRA in llama.cpp: against our own logits, and against what llama.cpp's converter makes of the same adapter.

use super::ParityError;
use super::sides::Sides;
use crate::fixtures::smollm2_path;
use crate::host::gguf_in;

/// Trains an adapter and runs it both ways; the pipeline has a gate, and the script says what it compared.
///
/// # Errors
/// Where one side fails, or ours is farther from our logits than it may be.
pub fn compare(sides: &Sides<'_>) -> Result<(), ParityError> {
    let report = sides.host("lora.toml", &[])?;
    for (stage, what) in [("beside-f32", "its base in f32"), ("beside-base", "its base in q4_1")] {
        let kl = report.stage(stage)?.metric("kl_mean")?;
        println!("GGUF LoRA beside {what}, in llama.cpp against our logits: KL {kl:.3e}");
    }
    let args = [
        sides.llama_cpp()?.bindings,
        smollm2_path(sides.workspace.root()),
        report.output("checkpoint", "model")?.to_owned(),
        report.output("train", "adapter")?.to_owned(),
        gguf_in(report.output("lora", "adapter")?)?,
        report.output("reference", "logits")?.to_owned(),
        sides.work("lora"),
    ];
    Ok(sides.peers.run(&sides.script("lora.py"), args)?)
}
