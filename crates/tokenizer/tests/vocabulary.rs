//! `tokenizer.json` to GGUF's key-values and back: against llama.cpp's converter, and ids against the original's.
#![allow(clippy::unwrap_used)]

mod golden_form;
mod nasty;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use golden_form::to_golden_form;
use serde_json::{Map, Value, json};
use tokenizer::Tokenizer;
use tokenizer::gguf::{Convention, GgufOptions, GgufVocabulary, RebuildOptions, VocabValue};
use tokenizer::hf_files::HfFiles;
use tokenizer::special_tokens::Role;

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The cut tokenizer with some of its files replaced.
fn cut_with(changed: &Map<String, Value>) -> HfFiles {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(golden().join("smollm2-cut")).unwrap() {
        let path = entry.unwrap().path();
        files.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap());
    }
    files.extend(changed.iter().map(|(name, value)| (name.clone(), value.to_string().into_bytes())));
    HfFiles::from_files(files).unwrap()
}

fn cut() -> HfFiles {
    cut_with(&Map::new())
}

const LLAMA: GgufOptions<'static> = GgufOptions { convention: Convention::Llama, vocab_size: None, pre: None };

#[test]
fn key_values_are_those_of_llama_cpps_converter() {
    for (name, convention) in [
        ("smollm2-cut", Convention::Llama),
        ("llama3-like", Convention::Llama),
        ("several-templates", Convention::Plain),
    ] {
        let expected = read_json(&golden().join(format!("converter/{name}.json")));
        let files = cut_with(expected["files"].as_object().unwrap());
        let (vocabulary, _) = GgufVocabulary::from_hf(&files, &GgufOptions { convention, ..LLAMA }).unwrap();
        let given: Vec<Value> = vocabulary.to_key_values().into_iter().map(to_golden_form).collect();
        let keys = |list: &[Value]| list.iter().map(|entry| entry[0].clone()).collect::<Vec<_>>();
        let expected = expected["key_values"].as_array().unwrap();
        assert_eq!(keys(&given), keys(expected), "{name}");
        for (given, expected) in given.iter().zip(expected) {
            assert!(given == expected, "{name}: {} differs", given[0]);
        }
    }
}

#[test]
fn key_values_are_read_back() {
    let (vocabulary, _) = GgufVocabulary::from_hf(&cut(), &LLAMA).unwrap();
    let mut key_values = vocabulary.to_key_values();
    key_values.push(("general.name".into(), VocabValue::String("not a vocabulary's".into())));
    assert_eq!(GgufVocabulary::from_key_values(key_values).unwrap(), vocabulary);
}

/// The rebuilt tokenizer gives the original's ids and texts on every nasty string.
fn assert_same_ids(original: &Tokenizer, rebuilt: &Tokenizer, count: usize) {
    let vocabulary: Vec<String> = (0..original.vocab_size() as u32).filter_map(|id| original.id_to_token(id)).collect();
    for text in nasty::texts(&vocabulary, count) {
        for special in [false, true] {
            let (a, b) = (original.encode(&text, special).unwrap(), rebuilt.encode(&text, special).unwrap());
            assert_eq!(a, b, "{text:?}");
            assert_eq!(original.decode(&a.ids, false).unwrap(), rebuilt.decode(&b.ids, false).unwrap(), "{text:?}");
        }
    }
}

fn round_trip(files: HfFiles) -> (Tokenizer, Tokenizer) {
    let (vocabulary, _) = GgufVocabulary::from_hf(&files, &LLAMA).unwrap();
    let vocabulary = GgufVocabulary::from_key_values(vocabulary.to_key_values()).unwrap();
    let (rebuilt, _) = Tokenizer::from_gguf(&vocabulary, &RebuildOptions::default()).unwrap();
    (Tokenizer::from_files(files).unwrap(), rebuilt)
}

#[test]
fn a_rebuilt_tokenizer_has_the_ids_of_the_original() {
    let (original, rebuilt) = round_trip(cut());
    assert_same_ids(&original, &rebuilt, 3000);
    assert_eq!(
        original.files().whole_tokenizer().unwrap(),
        rebuilt.files().whole_tokenizer().unwrap(),
        "tokenizer.json is the very same"
    );
    assert_eq!(original.chat_template().unwrap().source(), rebuilt.chat_template().unwrap().source());
}

#[test]
fn bos_merges_as_pairs_and_tokens_behind_the_pieces_survive() {
    let variant = read_json(&golden().join("converter/llama3-like.json"));
    let (original, rebuilt) = round_trip(cut_with(variant["files"].as_object().unwrap()));
    assert_same_ids(&original, &rebuilt, 3000);
    let (mut given, mut expected) = (rebuilt.summary(), original.summary());
    assert_ne!(given.sha256, expected.sha256);
    // The padding token is named in the model's configuration alone.
    (given.pad, given.sha256, expected.sha256) = (None, String::new(), String::new());
    assert_eq!(given, expected);
    assert!(given.add_bos && !given.add_eos);
    assert_eq!(rebuilt.files().generation_config()["eos_token_id"], json!([4080, 4081, 4082]));
}

#[test]
fn rebuilt_files_are_found_again_after_writing() {
    let (_, rebuilt) = round_trip(cut());
    let directory = tempfile::tempdir().unwrap();
    rebuilt.write(directory.path()).unwrap();
    let again = Tokenizer::from_directory(directory.path()).unwrap();
    assert_eq!(again.summary(), rebuilt.summary());
    assert_eq!(again.special_id(Role::Eos), Some(2));
    assert_eq!(again.files().tokenizer_config()["tokenizer_class"], "PreTrainedTokenizerFast");
}

/// Whatever a GGUF says and leaves unsaid, files made of it and converted say the same again.
#[test]
fn key_values_are_the_same_after_a_way_through_files() {
    let (vocabulary, _) = GgufVocabulary::from_hf(&cut(), &LLAMA).unwrap();
    let options = GgufOptions { vocab_size: Some(vocabulary.tokens.len() as u64), ..LLAMA };
    let (bos, eos, sep) = (Role::Bos, Role::Eos, Role::Sep);
    let said: [&[(Role, bool)]; 8] = [
        &[],
        &[(bos, false)],
        &[(bos, true)],
        &[(bos, true), (eos, false)],
        &[(bos, true), (eos, false), (sep, false)],
        &[(bos, false), (eos, true)],
        &[(eos, true)],
        &[(sep, true)],
    ];
    for pre in [Some("smollm"), Some("refact"), Some("llama-bpe"), Some("qwen2"), None] {
        for add_special in said {
            let before =
                GgufVocabulary { pre: pre.map(str::to_owned), add_special: add_special.to_vec(), ..vocabulary.clone() };
            let (rebuilt, _) = Tokenizer::from_gguf(&before, &RebuildOptions::default()).unwrap();
            let (mut after, _) = rebuilt.to_gguf(&options).unwrap();
            if pre == Some("llama-bpe") && before.adds(bos).is_none() {
                // llama.cpp adds BOS here without being told, which files cannot leave unsaid.
                assert_eq!(after.add_special.iter().position(|said| *said == (bos, true)), Some(0));
                after.add_special.remove(0);
            }
            assert!(after == before, "{pre:?} {add_special:?}: {:?} {:?}", after.pre, after.add_special);
        }
    }
}

#[test]
fn every_end_token_that_a_gguf_names_ends_generation() {
    let (mut vocabulary, _) = GgufVocabulary::from_hf(&cut(), &LLAMA).unwrap();
    vocabulary.special_ids.push((Role::Eot, 5));
    let (rebuilt, _) = Tokenizer::from_gguf(&vocabulary, &RebuildOptions::default()).unwrap();
    assert_eq!(rebuilt.files().generation_config()["eos_token_id"], json!([0, 2, 5]));
    assert!(rebuilt.is_end_of_turn(5));
}

#[test]
fn a_missing_pre_tokenizer_means_llama_cpps_default_and_is_said() {
    let (mut vocabulary, _) = GgufVocabulary::from_hf(&cut(), &LLAMA).unwrap();
    vocabulary.pre = None;
    let (by_default, findings) = Tokenizer::from_gguf(&vocabulary, &RebuildOptions::default()).unwrap();
    assert!(findings.iter().any(|finding| finding.code == "pre-tokenizer-missing"), "{findings:?}");
    let given = RebuildOptions { pre: Some("smollm"), ..RebuildOptions::default() };
    let (overridden, findings) = Tokenizer::from_gguf(&vocabulary, &given).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    let original = Tokenizer::from_files(cut()).unwrap();
    assert_same_ids(&original, &overridden, 300);
    let text = "costs $5 (or so)--don't \u{2014} \"ask\"";
    assert_ne!(by_default.encode(text, false).unwrap().ids, original.encode(text, false).unwrap().ids);
}

#[test]
fn holes_before_special_tokens_do_not_move_them() {
    let (mut vocabulary, _) = GgufVocabulary::from_hf(&cut(), &LLAMA).unwrap();
    *vocabulary.tokens.last_mut().unwrap() = "<|late|>".into();
    *vocabulary.token_types.last_mut().unwrap() = 3;
    let (rebuilt, _) = Tokenizer::from_gguf(&vocabulary, &RebuildOptions::default()).unwrap();
    assert_eq!(rebuilt.encode("a<|late|>", false).unwrap().ids.last(), Some(&4103));
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let (vocabulary, _) = GgufVocabulary::from_hf(&cut(), &LLAMA).unwrap();
    let refused = |change: &dyn Fn(&mut GgufVocabulary)| {
        let mut changed = vocabulary.clone();
        change(&mut changed);
        Tokenizer::from_gguf(&changed, &RebuildOptions::default()).unwrap_err().to_string()
    };
    assert!(refused(&|v| v.model = "t5".into()).contains("not yet supported: unigram vocabulary"));
    assert!(refused(&|v| v.model = "llama".into()).contains("`tokenizer.ggml.scores` is missing"));
    assert!(refused(&|v| v.pre = Some("tekken".into())).contains("`tekken` is not known"));
    assert!(refused(&|v| v.tokens[20] = v.tokens[30].clone()).contains("tokens 20 and 30 are both"));
    assert!(refused(&|v| v.merges.clear()).contains("tokenizer.ggml.merges"));

    let broken = |key: &str, value: VocabValue| {
        let key_values = vocabulary.to_key_values().into_iter().filter(|(named, _)| named != key);
        GgufVocabulary::from_key_values(key_values.chain([(key.to_owned(), value)])).unwrap_err().to_string()
    };
    assert!(broken("tokenizer.ggml.token_type", VocabValue::I32Array(vec![1])).contains("has 1 entries"));
    assert!(broken("tokenizer.ggml.bos_token_id", VocabValue::U32(99_999)).contains("99999"));
    assert!(broken("tokenizer.ggml.pre", VocabValue::Bool(true)).contains("has type bool, expected string"));
}

#[test]
fn what_cannot_be_written_is_refused_with_the_way_out() {
    let mut config = read_json(&golden().join("smollm2-cut/config.json"));
    config["vocab_size"] = json!(4000);
    let small = cut().with_model_config(config.clone());
    let message = GgufVocabulary::from_hf(&small, &LLAMA).unwrap_err().to_string();
    assert!(message.contains("4095") && message.contains("4000 rows"), "{message}");

    config["vocab_size"] = json!(4104);
    config["mask_token_id"] = json!(4104);
    let (vocabulary, findings) = GgufVocabulary::from_hf(&cut().with_model_config(config), &LLAMA).unwrap();
    assert_eq!((vocabulary.special_id(Role::Mask), findings[0].code.as_str()), (None, "special-token-outside"));

    let mut tokenizer = cut().whole_tokenizer().unwrap();
    tokenizer["pre_tokenizer"] = json!({"type": "Whitespace"});
    let unknown = cut_with(&Map::from_iter([("tokenizer.json".to_owned(), tokenizer)]));
    let message = GgufVocabulary::from_hf(&unknown, &LLAMA).unwrap_err().to_string();
    assert!(message.contains("Whitespace") && message.contains("`pre`"), "{message}");
    let (vocabulary, findings) =
        GgufVocabulary::from_hf(&unknown, &GgufOptions { pre: Some("gpt-2"), ..LLAMA }).unwrap();
    assert_eq!((vocabulary.pre.as_deref(), findings.len()), (Some("gpt-2"), 1));
}

fn is_composed(text: &str) -> bool {
    use tokenizers::normalizers::unicode::NFC;
    use tokenizers::{NormalizedString, Normalizer};
    let mut normalized = NormalizedString::from(text);
    NFC.normalize(&mut normalized).unwrap();
    normalized.get() == text
}

/// llama.cpp itself tokenized these texts, see `golden/scripts/llama_ids.py`. Another file of its making can be named
/// in `LLAMA_IDS`.
#[test]
fn ids_are_llama_cpps_under_every_pre_tokenizer() {
    let path = std::env::var_os("LLAMA_IDS").map_or_else(|| golden().join("llama_ids.json"), PathBuf::from);
    let expected = read_json(&path);
    let texts: Vec<&str> = expected["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let (mut vocabulary, _) = GgufVocabulary::from_hf(&cut(), &LLAMA).unwrap();
    for (name, ids) in expected["ids"].as_object().unwrap() {
        vocabulary.pre = Some(name.clone());
        let (tokenizer, _) = Tokenizer::from_gguf(&vocabulary, &RebuildOptions::default()).unwrap();
        assert_eq!(json!(tokenizer.end_of_generation_ids()), expected["end_of_generation"]);
        for (text, expected) in texts.iter().zip(ids.as_array().unwrap()) {
            // llama.cpp does not compose Unicode, which Qwen's tokenizer does.
            if name != "qwen2" || is_composed(text) {
                assert_eq!(json!(tokenizer.encode(text, false).unwrap().ids), *expected, "{name:?}: {text:?}");
            }
        }
    }
}
