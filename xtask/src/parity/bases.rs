//! GGUF files of every kind as bases, held against their values stored as f32 safetensors, through the real program.

use std::path::PathBuf;

use super::ParityError;
use super::convert::fixtures;
use super::sides::Sides;

/// One of another vocabulary, where `FIXTURES` has it, joins those that are made here.
const ANOTHER_MODEL: &str = "tiny-llama32";

/// Files of every type and form, made of Llamas; the script says what it compared.
///
/// # Errors
/// Where one side fails, or they differ.
pub fn compare(sides: &Sides<'_>) -> Result<(), ParityError> {
    let another = fixtures()?.into_iter().filter(|(name, _)| name == ANOTHER_MODEL).map(|(_, path)| path);
    let args = arguments(sides, "bases")?.into_iter().chain(another);
    Ok(sides.peers.run(&sides.script("bases.py"), args)?)
}

/// The types that people download, of a small model of every kind.
///
/// # Errors
/// Where one side fails, or they differ.
pub fn compare_families(sides: &Sides<'_>) -> Result<(), ParityError> {
    let args = [PathBuf::from("--families")].into_iter().chain(arguments(sides, "families")?);
    Ok(sides.peers.run(&sides.script("bases.py"), args)?)
}

fn arguments(sides: &Sides<'_>, work: &str) -> Result<[PathBuf; 4], ParityError> {
    Ok([sides.llama_cpp()?.sources(), sides.program().to_owned(), sides.work(work), sides.smollm2()?])
}
