//! Whole published tokenizers, which are too big to keep here: set `FIXTURES` to a folder that holds `models/NAME/`.
//!
//! With `CONVERTED` set to a folder of `golden/scripts/converted.py`, key-values are held against llama.cpp's
//! converter, and `NAME.ids.json` is written there for `golden/scripts/llama_ids.py --whole`, and `rebuilt/NAME/` for
//! the converter to read again. Without `FIXTURES` there is nothing to compare.
#![allow(clippy::unwrap_used)]

mod golden_form;
mod nasty;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokenizer::Tokenizer;
use tokenizer::gguf::{Convention, GgufOptions, GgufVocabulary, RebuildOptions};
use tokenizer::hf_files::HfFiles;

use golden_form::to_golden_form;

const COUNT: usize = 10_000;

fn fixtures() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("FIXTURES")?).join("models"))
}

fn to_gguf(files: &HfFiles, convention: Convention) -> GgufVocabulary {
    GgufVocabulary::from_hf(files, &GgufOptions { convention, vocab_size: None, pre: None }).unwrap().0
}

/// How many texts the rebuilt tokenizer cuts otherwise than the original.
fn differences(name: &str, convention: Convention) -> Option<usize> {
    let files = HfFiles::read(&fixtures()?.join(name)).unwrap();
    let vocabulary = to_gguf(&files, convention);
    let (rebuilt, _) = Tokenizer::from_gguf(&vocabulary, &RebuildOptions::default()).unwrap();
    let original = Tokenizer::from_files(files).unwrap();
    let pieces: Vec<String> = (0..original.vocab_size() as u32).filter_map(|id| original.id_to_token(id)).collect();
    let texts = nasty::texts(&pieces, COUNT);
    let ids = |tokenizer: &Tokenizer| -> Vec<Vec<u32>> {
        texts.iter().map(|text| tokenizer.encode(text, false).unwrap().ids).collect()
    };
    let (original_ids, rebuilt_ids) = (ids(&original), ids(&rebuilt));
    if let Some(converted) = std::env::var_os("CONVERTED") {
        compare_with_converter(&vocabulary, Path::new(&converted), name);
        let directory = Path::new(&converted).join("rebuilt").join(name);
        std::fs::create_dir_all(&directory).unwrap();
        rebuilt.write(&directory).unwrap();
        std::fs::write(directory.join("config.json"), original.files().model_config().to_string()).unwrap();
        let findings = original.differences_from_llama_cpp();
        let codes: BTreeSet<&str> = findings.iter().map(|finding| finding.code.as_str()).collect();
        let plain = findings.iter().filter(|finding| finding.code == "control-by-text");
        let plain: Vec<&str> = plain.map(|finding| finding.message.split('`').nth(1).unwrap()).collect();
        let ids = json!({
            "texts": texts, "original": original_ids, "rebuilt": rebuilt_ids, "codes": codes, "plain_end_texts": plain,
        });
        std::fs::write(Path::new(&converted).join(format!("{name}.ids.json")), ids.to_string()).unwrap();
    }
    Some(original_ids.iter().zip(&rebuilt_ids).filter(|(a, b)| a != b).count())
}

fn compare_with_converter(vocabulary: &GgufVocabulary, converted: &Path, name: &str) {
    let bytes = std::fs::read(converted.join(format!("{name}.json"))).unwrap();
    let expected: Value = serde_json::from_slice(&bytes).unwrap();
    let sorted = |mut list: Vec<Value>| {
        list.sort_by_key(|entry| entry[0].to_string());
        list
    };
    let expected = sorted(expected["key_values"].as_array().unwrap().clone());
    let given = sorted(vocabulary.to_key_values().into_iter().map(to_golden_form).collect());
    let keys = |list: &[Value]| list.iter().map(|entry| entry[0].to_string()).collect::<Vec<_>>();
    assert_eq!(keys(&given), keys(&expected), "{name}");
    for (given, expected) in given.iter().zip(&expected) {
        assert!(given == expected, "{name}: {} differs", given[0]);
    }
}

fn assert_none_differ(name: &str, convention: Convention) {
    if let Some(different) = differences(name, convention) {
        assert_eq!(different, 0, "{name}: {different} of {COUNT} texts have other ids");
    }
}

#[test]
fn smollm2() {
    assert_none_differ("SmolLM2-135M-Instruct", Convention::Llama);
}

#[test]
fn llama_3() {
    assert_none_differ("tiny-llama32", Convention::Llama);
}

#[test]
fn qwen() {
    assert_none_differ("tiny-qwen25", Convention::Plain);
}

#[test]
fn granite_3() {
    assert_none_differ("tiny-granite3", Convention::Llama);
    assert_none_differ("tiny-granite3moe", Convention::Llama);
}

#[test]
fn granite_4() {
    assert_none_differ("tiny-granite4-micro", Convention::Plain);
    assert_none_differ("tiny-granite4-h-micro", Convention::Plain);
    assert_none_differ("tiny-granite4-h-tiny", Convention::Plain);
}

#[test]
fn gemma_2() {
    assert_none_differ("tiny-gemma2", Convention::Plain);
}

/// Its `tokenizer.json` puts a space before the first text only, llama.cpp before every one: the rebuilt tokenizer has
/// llama.cpp's ids (`scripts/llama_ids.py --whole` counts), so here the two do differ.
#[test]
fn mistral() {
    if let Some(different) = differences("tiny-mistral", Convention::Llama) {
        assert!(different > COUNT / 10, "{different} of {COUNT}");
    }
}
