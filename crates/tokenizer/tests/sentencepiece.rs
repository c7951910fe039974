//! SentencePiece vocabularies to GGUF's key-values and back: against llama.cpp's converter, and ids against
//! llama.cpp's own. Provenance: `golden/README.md`.
#![allow(clippy::unwrap_used)]

mod golden_form;
mod nasty;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value, json};
use tokenizer::Tokenizer;
use tokenizer::finding::Finding;
use tokenizer::gguf::{Convention, GgufOptions, GgufVocabulary, RebuildOptions, VocabValue};
use tokenizer::hf_files::HfFiles;
use tokenizer::special_tokens::Role;

use golden_form::to_golden_form;

const MISTRAL: (&str, Convention) = ("mistral-cut", Convention::Llama);
const GEMMA: (&str, Convention) = ("gemma-like", Convention::Plain);

fn golden(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

fn read_json(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(path)).unwrap()).unwrap()
}

/// The files of a tokenizer by name, to be changed.
fn files_of(name: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(golden(name)).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap()))
        .collect()
}

fn options(convention: Convention) -> GgufOptions<'static> {
    GgufOptions { convention, vocab_size: None, pre: None }
}

fn to_gguf(files: BTreeMap<String, Vec<u8>>, convention: Convention) -> (GgufVocabulary, Vec<Finding>) {
    GgufVocabulary::from_hf(&HfFiles::from_files(files).unwrap(), &options(convention)).unwrap()
}

fn vocabulary((name, convention): (&str, Convention)) -> GgufVocabulary {
    let (vocabulary, findings) = to_gguf(files_of(name), convention);
    assert_eq!(findings, [], "{name}");
    vocabulary
}

fn rebuild(vocabulary: &GgufVocabulary) -> (Tokenizer, Vec<Finding>) {
    let vocabulary = GgufVocabulary::from_key_values(vocabulary.to_key_values()).unwrap();
    Tokenizer::from_gguf(&vocabulary, &RebuildOptions::default()).unwrap()
}

fn changed_json(name: &str, file: &str, change: impl FnOnce(&mut Value)) -> BTreeMap<String, Vec<u8>> {
    let mut files = files_of(name);
    let mut json: Value = serde_json::from_slice(&files[file]).unwrap();
    change(&mut json);
    files.insert(file.into(), json.to_string().into_bytes());
    files
}

fn has(findings: &[Finding], code: &str) -> bool {
    findings.iter().any(|finding| finding.code == code)
}

#[test]
fn key_values_are_those_of_llama_cpps_converter() {
    for which in [MISTRAL, GEMMA] {
        let given = vocabulary(which).to_key_values().into_iter().map(to_golden_form);
        let expected = read_json(&format!("converter/{}.json", which.0))["key_values"].as_array().unwrap().clone();
        // Gemma's class writes `add_space_prefix` last.
        let by_key = |list: Vec<Value>| -> BTreeMap<String, Value> {
            list.into_iter().map(|entry| (entry[0].as_str().unwrap().to_owned(), entry)).collect()
        };
        let (given, expected) = (by_key(given.collect()), by_key(expected));
        assert_eq!(given.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{}", which.0);
        for (key, value) in &given {
            assert!(*value == expected[key], "{}: {key} differs", which.0);
        }
    }
}

#[test]
fn key_values_are_read_back() {
    for which in [MISTRAL, GEMMA] {
        let vocabulary = vocabulary(which);
        assert_eq!(GgufVocabulary::from_key_values(vocabulary.to_key_values()).unwrap(), vocabulary);
    }
}

/// Without `tokenizer.model` the scores come from the merges: llama.cpp gives the same ids with them, as
/// `golden/scripts/llama_ids.py` asserts for the scores that are stored here.
#[test]
fn scores_are_made_of_merges_where_there_are_none() {
    let expected = read_json("llama_ids_spm.json");
    for which in [MISTRAL, GEMMA] {
        let mut files = files_of(which.0);
        files.remove("tokenizer.model");
        let (made, findings) = to_gguf(files, which.1);
        assert!(has(&findings, "scores-from-merges") && findings.len() == 1, "{findings:?}");
        let scores: Vec<f64> = made.scores.iter().flatten().map(|score| f64::from(*score)).collect();
        assert!(json!(scores) == expected["scores_from_merges"][which.0], "{}", which.0);
        let with_model = vocabulary(which);
        assert_eq!(GgufVocabulary { scores: with_model.scores.clone(), ..made }, with_model);
    }
}

#[test]
fn a_rebuilt_tokenizer_has_the_merges_and_pieces_of_the_original() {
    for which in [MISTRAL, GEMMA] {
        let (rebuilt, _) = rebuild(&vocabulary(which));
        let original = HfFiles::from_files(files_of(which.0)).unwrap().whole_tokenizer().unwrap();
        let rebuilt = rebuilt.files().whole_tokenizer().unwrap();
        assert!(rebuilt["model"] == original["model"], "{}: merges or pieces differ", which.0);
        assert_eq!(rebuilt["decoder"], original["decoder"], "{}", which.0);
        assert_eq!(rebuilt["post_processor"], original["post_processor"], "{}", which.0);
        if which == GEMMA {
            assert_eq!(rebuilt["normalizer"], original["normalizer"]);
            assert_eq!(rebuilt["pre_tokenizer"], original["pre_tokenizer"]);
        }
    }
}

/// What was made of a GGUF gives the same GGUF again, scores and types included.
#[test]
fn a_rebuilt_tokenizer_gives_the_vocabulary_it_came_from() {
    for which in [MISTRAL, GEMMA] {
        let vocabulary = vocabulary(which);
        let (rebuilt, _) = rebuild(&vocabulary);
        let options = GgufOptions { vocab_size: Some(vocabulary.tokens.len() as u64), ..options(which.1) };
        let (again, findings) = rebuilt.to_gguf(&options).unwrap();
        assert_eq!(findings, [], "{}", which.0);
        assert!(again == vocabulary, "{}", which.0);
    }
}

fn assert_same_ids(original: &Tokenizer, rebuilt: &Tokenizer, count: usize) {
    let pieces: Vec<String> = (0..original.vocab_size() as u32).filter_map(|id| original.id_to_token(id)).collect();
    for text in nasty::texts(&pieces, count) {
        for special in [false, true] {
            let (a, b) = (original.encode(&text, special).unwrap(), rebuilt.encode(&text, special).unwrap());
            assert_eq!(a, b, "{text:?}");
            assert_eq!(original.decode(&a.ids, false).unwrap(), rebuilt.decode(&b.ids, false).unwrap(), "{text:?}");
        }
    }
}

#[test]
fn a_rebuilt_tokenizer_has_the_ids_of_the_original() {
    let (gemma, _) = rebuild(&vocabulary(GEMMA));
    let original = Tokenizer::from_files(HfFiles::from_files(files_of(GEMMA.0)).unwrap()).unwrap();
    assert_same_ids(&original, &gemma, 3000);

    // A GGUF says nothing of `Metaspace`; with the older normalizers the original is what llama.cpp computes.
    let legacy = changed_json(MISTRAL.0, "tokenizer.json", |json| {
        json["pre_tokenizer"] = Value::Null;
        json["normalizer"] = json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]});
    });
    let original = Tokenizer::from_files(HfFiles::from_files(legacy).unwrap()).unwrap();
    assert_eq!(original.differences_from_llama_cpp(), []);
    let (mistral, findings) = rebuild(&vocabulary(MISTRAL));
    assert_eq!(findings, []);
    assert_same_ids(&original, &mistral, 3000);
    let (mut given, mut expected) = (mistral.summary(), original.summary());
    (given.sha256, expected.sha256) = (String::new(), String::new());
    assert_eq!(given, expected);
}

/// llama.cpp itself tokenized these texts, see `golden/scripts/llama_ids.py`.
#[test]
fn ids_are_llama_cpps() {
    let expected = read_json("llama_ids_spm.json");
    let texts: Vec<&str> = expected["texts"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    for which in [MISTRAL, GEMMA] {
        let (tokenizer, _) = rebuild(&vocabulary(which));
        assert_eq!(json!(tokenizer.end_of_generation_ids()), expected["end_of_generation"][which.0]);
        let mut different = 0;
        for (text, ids) in texts.iter().zip(expected["ids"][which.0].as_array().unwrap()) {
            // The converter spells Gemma's runs of spaces with spaces, so a written `▁▁` is no token to llama.cpp; and
            // it takes Gemma's piece `</s>` for a control token.
            let known = which == GEMMA && (text.contains('▁') || text.contains("</s>"));
            let same = json!(tokenizer.encode(text, false).unwrap().ids) == *ids;
            assert!(same || known, "{}: {text:?}", which.0);
            different += usize::from(!same);
        }
        assert_eq!(different > 0, which == GEMMA, "{different}");
    }
}

#[test]
fn where_the_original_differs_from_llama_cpp_is_said() {
    let of = |name| Tokenizer::from_directory(&golden(name)).unwrap().differences_from_llama_cpp();
    let codes = |name| of(name).into_iter().map(|finding| finding.code).collect::<Vec<_>>();
    assert_eq!(codes("mistral-cut"), ["space-prefix"]);
    assert_eq!(codes("gemma-like"), ["control-by-text", "written-space"]);
    assert_eq!(codes("smollm2-cut"), ["missing-bytes"]);

    let original = Tokenizer::from_directory(&golden("mistral-cut")).unwrap();
    let (rebuilt, _) = rebuild(&vocabulary(MISTRAL));
    let pieces = |tokenizer: &Tokenizer| -> Vec<String> {
        let ids = tokenizer.encode("<s>[INST] the[/INST]", false).unwrap().ids;
        ids.into_iter().map(|id| tokenizer.id_to_token(id).unwrap()).collect()
    };
    assert_eq!(pieces(&original), ["<s>", "[INST]", "▁the", "[/INST]"]);
    assert_eq!(pieces(&rebuilt), ["<s>", "[INST]", "▁", "▁the", "[/INST]"]);
}

#[test]
fn bytes_and_added_tokens_cover_the_text_they_came_from() {
    for which in [MISTRAL, GEMMA] {
        for tokenizer in [Tokenizer::from_directory(&golden(which.0)).unwrap(), rebuild(&vocabulary(which)).0] {
            let text = "the \u{1f9ff}\u{0}x </s>\ty";
            let encoding = tokenizer.encode(text, true).unwrap();
            assert_eq!(encoding.offsets.len(), encoding.ids.len());
            let mut reached = 0;
            for (offsets, added) in encoding.offsets.iter().zip(&encoding.added) {
                assert!(text.is_char_boundary(offsets.start) && text.is_char_boundary(offsets.end), "{offsets:?}");
                assert!(*added || offsets.start <= reached, "a gap before {offsets:?}");
                reached = reached.max(offsets.end);
            }
            assert_eq!(reached, text.len(), "{}", which.0);
            assert_eq!(encoding.ids[0], tokenizer.special_id(Role::Bos).unwrap());
        }
    }
}

#[test]
fn added_tokens_are_found_in_either_file_and_none_is_invented() {
    // transformers 5 keeps them in `tokenizer.json` alone.
    let files = changed_json(GEMMA.0, "tokenizer_config.json", |config| {
        config.as_object_mut().unwrap().remove("added_tokens_decoder");
    });
    let (without, findings) = to_gguf(files, GEMMA.1);
    assert_eq!((without, findings), (vocabulary(GEMMA), vec![]));

    let mut files = files_of(MISTRAL.0);
    files.insert("added_tokens.json".into(), br#"{"<pad>": 1000000, "<mine>": 0}"#.to_vec());
    let (vocabulary, findings) = to_gguf(files, MISTRAL.1);
    assert!(has(&findings, "added-token-outside"), "{findings:?}");
    assert_eq!(vocabulary.tokens[0], "<unk>", "the configuration's token comes last");
}

#[test]
fn what_does_not_fit_together_is_said() {
    let mut files = files_of(GEMMA.0);
    files.insert("tokenizer.model".into(), files_of(MISTRAL.0)["tokenizer.model"].clone());
    let (_, findings) = to_gguf(files, GEMMA.1);
    assert!(has(&findings, "two-vocabularies"), "{findings:?}");

    let refused = |files: BTreeMap<String, Vec<u8>>, vocab_size| {
        let options = GgufOptions { vocab_size, ..options(Convention::Llama) };
        GgufVocabulary::from_hf(&HfFiles::from_files(files).unwrap(), &options).unwrap_err().to_string()
    };
    assert!(refused(files_of(MISTRAL.0), Some(100)).contains("the model has 100 rows"));
    let mut broken = files_of(MISTRAL.0);
    broken.get_mut("tokenizer.model").unwrap().truncate(1001);
    assert!(refused(broken, None).contains("`tokenizer.model` is cut off"));
    let scattered = changed_json(MISTRAL.0, "tokenizer.json", |json| {
        let merges = json["model"]["merges"].as_array_mut().unwrap();
        let first = merges[0].clone();
        merges.push(first);
    });
    let scattered = scattered.into_iter().filter(|(name, _)| name != "tokenizer.model").collect();
    let (made, findings) = to_gguf(scattered, MISTRAL.1);
    assert!(has(&findings, "merges-without-scores"));
    let scores = made.scores.unwrap();
    let distinct: BTreeSet<u32> = scores.iter().map(|score| score.to_bits()).collect();
    assert!(distinct.len() > 1000, "one merge out of order leaves the others theirs: {}", distinct.len());
}

#[test]
fn what_a_gguf_lacks_is_llama_cpps_default_or_refused() {
    let vocabulary = vocabulary(MISTRAL);
    let mut bare = vocabulary.clone();
    (bare.special_ids, bare.add_special) = (Vec::new(), Vec::new());
    let (tokenizer, findings) = rebuild(&bare);
    assert!(has(&findings, "add-bos-default") && findings.len() == 1, "{findings:?}");
    assert_eq!(tokenizer.special_id(Role::Eos), Some(2));
    let (whole, _) = rebuild(&vocabulary);
    assert_eq!(tokenizer.encode("the", true).unwrap(), whole.encode("the", true).unwrap());

    let equal = GgufVocabulary { scores: Some(vec![-1000.0; vocabulary.tokens.len()]), ..vocabulary.clone() };
    assert!(has(&rebuild(&equal).1, "scores-all-equal"));
    let none = GgufVocabulary { scores: None, ..vocabulary };
    let refusal = Tokenizer::from_gguf(&none, &RebuildOptions::default()).unwrap_err().to_string();
    assert!(refusal.contains("tokenizer.ggml.scores"), "{refusal}");
    let no_scores = VocabValue::F32Array(vec![0.0]);
    let key_values = none.to_key_values().into_iter().chain([("tokenizer.ggml.scores".into(), no_scores)]);
    assert!(GgufVocabulary::from_key_values(key_values).unwrap_err().to_string().contains("has 1 entries"));
}
