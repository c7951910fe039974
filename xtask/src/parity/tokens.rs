//! Token ids of whole vocabularies on 10,000 texts: by the Hugging Face tokenizer, by what we rebuild of its GGUF
//! vocabulary, and by llama.cpp with the vocabulary that its own converter writes.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::ParityError;
use super::convert::{FIXTURES, fixtures};
use super::sides::Sides;
use serde_json::Value;

use crate::host::{HostError, at, read_json};
use crate::workspace::run;

const SMOLLM2: &str = "SmolLM2-135M-Instruct";

/// SmolLM2's vocabulary, and those of the models in `FIXTURES` where it is set; the scripts count differences by class.
///
/// # Errors
/// Where one side fails, a difference is of no known class, or a rebuilt vocabulary is another one.
pub fn compare(sides: &Sides<'_>) -> Result<(), ParityError> {
    let llama_cpp = sides.llama_cpp()?;
    let (work, again) = (sides.work("tokens"), sides.work("tokens/again"));
    if work.exists() {
        fs::remove_dir_all(&work).map_err(at(&work))?;
    }
    let (home, names) = models(sides, &work)?;
    let scripts = sides.workspace.root().join("crates/tokenizer/tests/golden/scripts");
    let convert = |out: &Path, from: &Path| {
        let models = names.iter().map(|name| from.join(name));
        let args = [llama_cpp.sources(), out.to_owned()].into_iter().chain(models);
        sides.peers.run(&scripts.join("converted.py"), args)
    };
    convert(&work, &home.join("models"))?;
    let mut tests = sides.workspace.cargo(["test", "--quiet", "-p", "tokenizer", "--test", "whole_tokenizers"]);
    // Where only one is there, only its test has something to read.
    tests.args(env::var_os(FIXTURES).is_none().then_some("smollm2"));
    run(tests.env(FIXTURES, &home).env("CONVERTED", &work))?;
    for name in &names {
        println!("tokens: {name}");
        let files = ["json", "ids.json"].map(|extension| work.join(format!("{name}.{extension}")));
        let args = [llama_cpp.bindings.clone(), "--whole".into()].into_iter().chain(files);
        sides.peers.run(&scripts.join("llama_ids.py"), args)?;
    }
    convert(&again, &work.join("rebuilt"))?;
    names.iter().try_for_each(|name| same(&work, &again, name))
}

/// A directory with `models/NAME`, and the names.
fn models(sides: &Sides<'_>, work: &Path) -> Result<(PathBuf, Vec<String>), ParityError> {
    if let Some(home) = env::var_os(FIXTURES) {
        let names = fixtures()?.into_iter().map(|(name, _)| name);
        return Ok((home.into(), names.collect()));
    }
    let (from, to) = (sides.smollm2()?, work.join("models").join(SMOLLM2));
    fs::create_dir_all(&to).map_err(at(&to))?;
    for entry in fs::read_dir(&from).map_err(at(&from))? {
        let path = entry.map_err(at(&from))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            fs::copy(&path, to.join(path.file_name().unwrap_or_default())).map_err(at(&path))?;
        }
    }
    Ok((work.to_owned(), vec![SMOLLM2.to_owned()]))
}

/// The vocabulary of the rebuilt tokenizer is the one that it was rebuilt of.
fn same(work: &Path, again: &Path, name: &str) -> Result<(), ParityError> {
    // The converter writes keys in the order in which it finds them in a tokenizer's files.
    let file = |folder: &Path| -> Result<Value, HostError> {
        let mut vocabulary: Value = read_json(&folder.join(format!("{name}.json")))?;
        if let Some(Value::Array(pairs)) = vocabulary.get_mut("key_values") {
            pairs.sort_by_key(|pair| pair[0].to_string());
        }
        Ok(vocabulary)
    };
    if file(work)? != file(again)? {
        return Err(ParityError::Vocabulary { name: name.to_owned() });
    }
    println!("tokens: {name}: the rebuilt tokenizer has the same GGUF vocabulary");
    Ok(())
}
