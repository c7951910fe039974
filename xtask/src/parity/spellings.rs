//! One model in the spellings of others: ours are one GGUF, and what llama.cpp's converter makes of them is said.

use super::ParityError;
use super::sides::Sides;

/// Models of every kind, made small and random; the script says what it compared.
///
/// # Errors
/// Where one side fails, or one spelling of ours makes another GGUF.
pub fn compare(sides: &Sides<'_>) -> Result<(), ParityError> {
    let args = [sides.llama_cpp()?.bindings, sides.program().to_owned(), sides.work("spellings"), sides.smollm2()?];
    Ok(sides.peers.run(&sides.script("spellings.py"), args)?)
}
