//! `cargo xtask parity`: asks transformers, PEFT and llama.cpp anew what the golden files say, and holds what we make of
//! real models against what they make of them.

mod adapters;
mod bases;
mod convert;
mod golden;
mod lora;
mod peft;
mod sides;
mod spellings;
mod tokens;

use crate::host::HostError;
use crate::peers::PeerError;
use crate::pip::PipError;
use crate::workspace::{Workspace, WorkspaceError};
use sides::Sides;

/// Why there is no parity.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// No such comparison.
    #[error("there is no comparison `{name}`; known: {}", known.join(", "))]
    Unknown { name: String, known: Vec<&'static str> },
    /// Nothing could be built.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// Our side failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The other side failed, or differs and has said where.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// A tokenizer did not come back from its GGUF vocabulary.
    #[error("`{name}`: the tokenizer that was rebuilt from the GGUF vocabulary has another GGUF vocabulary")]
    Vocabulary { name: String },
    /// Packages are missing.
    #[error(transparent)]
    Pip(#[from] PipError),
    /// Golden files are not what the programs give today.
    #[error(
        "golden files changed; `git diff` shows how, and they belong in the next commit if the programs are right:\n{files}"
    )]
    GoldenChanged { files: String },
}

/// One comparison; it prints what it held against what.
struct Part {
    name: &'static str,
    compare: fn(&Sides<'_>) -> Result<(), ParityError>,
}

const PARTS: &[Part] = &[
    // The programs' answers that the tests know, made again.
    Part { name: "golden", compare: golden::make },
    // GGUF files, byte by byte.
    Part { name: "convert", compare: convert::compare },
    // GGUF files of every type and kind as bases, to the bit.
    Part { name: "bases", compare: bases::compare },
    // The same of every family, in the types that people download.
    Part { name: "families", compare: bases::compare_families },
    // The spellings of transformers 5 and mlx-lm, where llama.cpp's converter gives up or goes wrong.
    Part { name: "spellings", compare: spellings::compare },
    // Token ids on 10,000 texts a vocabulary.
    Part { name: "tokens", compare: tokens::compare },
    // A GGUF LoRA in llama.cpp.
    Part { name: "lora", compare: lora::compare },
    // PEFT adapters of every family, as GGUF LoRA in llama.cpp.
    Part { name: "adapters", compare: adapters::compare },
    // Training step by step, and what comes of it in PEFT and transformers.
    Part { name: "peft", compare: peft::compare },
];

/// Makes the comparisons of these names, all where none is given.
///
/// # Errors
/// Where a name is unknown, a program cannot be brought, or the two sides differ.
pub fn parity(workspace: &Workspace, names: &[String]) -> Result<(), ParityError> {
    let parts = chosen(names)?;
    let sides = Sides::bring(workspace)?;
    for part in parts {
        println!("{}", part.name);
        (part.compare)(&sides)?;
    }
    Ok(())
}

/// In the order in which they are listed here, whatever the order of the names.
fn chosen(names: &[String]) -> Result<Vec<&'static Part>, ParityError> {
    if let Some(name) = names.iter().find(|name| PARTS.iter().all(|part| part.name != name.as_str())) {
        let known = PARTS.iter().map(|part| part.name).collect();
        return Err(ParityError::Unknown { name: name.clone(), known });
    }
    Ok(PARTS.iter().filter(|part| names.is_empty() || names.iter().any(|name| name == part.name)).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(given: &[&str]) -> Result<Vec<&'static str>, ParityError> {
        let given: Vec<String> = given.iter().map(|&name| name.into()).collect();
        Ok(chosen(&given)?.into_iter().map(|part| part.name).collect())
    }

    #[test]
    fn parts_are_chosen_by_name() {
        assert_eq!(names(&[]).unwrap().len(), PARTS.len());
        assert_eq!(names(&["peft", "golden"]).unwrap(), ["golden", "peft"]);
        let message = names(&["peft", "pfet"]).unwrap_err().to_string();
        assert!(message.starts_with("there is no comparison `pfet`; known: golden, convert, bases, "), "{message}");
    }
}
