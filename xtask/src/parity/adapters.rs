//! PEFT adapters of every family as GGUF LoRA in llama.cpp, against PEFT's own logits.

use super::ParityError;
use super::sides::Sides;

/// Makes the adapters and runs both sides; the script says how far apart they are.
///
/// # Errors
/// Where one side fails, or they are farther apart than rounding explains.
pub fn compare(sides: &Sides<'_>) -> Result<(), ParityError> {
    let families = sides.workspace.root().join("tests/data/families");
    let args = [sides.llama_cpp()?.bindings, sides.program().to_owned(), families, sides.work("adapters")];
    Ok(sides.peers.run(&sides.script("adapters.py"), args)?)
}
