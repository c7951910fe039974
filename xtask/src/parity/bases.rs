//! GGUF files of every kind as bases, held against their values stored as f32 safetensors, through the real program.

use std::env;
use std::path::PathBuf;

use super::ParityError;
use super::sides::Sides;

/// Names a folder of models; one of another vocabulary, where it is there, joins those that are made here.
const FIXTURES: &str = "FIXTURES";
const ANOTHER_MODEL: &str = "models/tiny-llama32";

/// Makes the files and runs both sides; the script says what it compared.
///
/// # Errors
/// Where one side fails, or they differ.
pub fn compare(sides: &Sides<'_>) -> Result<(), ParityError> {
    let another = env::var_os(FIXTURES).map(|folder| PathBuf::from(folder).join(ANOTHER_MODEL));
    let args = [sides.llama_cpp()?.sources(), sides.program().to_owned(), sides.work("bases"), sides.smollm2()?];
    let args = args.into_iter().chain(another.filter(|path| path.is_dir()));
    Ok(sides.peers.run(&sides.script("bases.py"), args)?)
}
