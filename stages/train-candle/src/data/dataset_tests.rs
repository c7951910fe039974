#![allow(clippy::unwrap_used)]
use std::path::PathBuf;

use tokenizer::Tokenizer;

use super::*;
use crate::data::{Learn, SystemText};

/// SmolLM2's tokenizer, cut to few tokens.
fn smollm2() -> Tokenizer {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../crates/tokenizer/tests/golden/smollm2-cut");
    Tokenizer::from_directory(&golden).unwrap()
}

fn load(text: impl AsRef<[u8]>, learn: Learn, system: SystemText, max_length: usize) -> Result<Dataset, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.jsonl");
    std::fs::write(&path, text).unwrap();
    let tokenizer = smollm2();
    let preparation = Preparation::new(&tokenizer, (learn, system), max_length, "2024-07-26").unwrap();
    Dataset::load(&path, &preparation, u64::MAX).map_err(|error| error.to_string())
}

fn learned(dataset: &Dataset, sample: usize) -> String {
    let sample = &dataset.samples[sample];
    let ids: Vec<u32> =
        sample.ids.iter().zip(&sample.learned).filter(|(_, learned)| **learned).map(|(id, _)| *id).collect();
    smollm2().decode(&ids, false).unwrap()
}

const CHAT: &str = r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there"}, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "See you"}]}"#;

#[test]
fn forms_may_be_mixed_and_blank_lines_are_none() {
    let text = format!(
        "\u{feff}{CHAT}\n\n{}\r\n{}",
        r#"{"prompt": "a b", "completion": " c d"}"#, r#"{"text": "some words"}"#
    );
    let dataset = load(&text, Learn::Assistant, SystemText::Keep, 100).unwrap();
    assert_eq!(dataset.samples.len(), 3);
    assert_eq!(learned(&dataset, 0), "Hello there<|im_end|>See you<|im_end|>");
    assert_eq!(learned(&dataset, 1), " c d<|im_end|>");
    assert_eq!(dataset.extent, Extent { read: text.len() as u64, total: text.len() as u64 });
    let findings = dataset.findings();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].message.contains("`data.jsonl`: 3 samples"), "{findings:?}");
}

#[test]
fn what_is_learned_is_chosen() {
    let last = load(CHAT, Learn::LastTurn, SystemText::Keep, 100).unwrap();
    assert_eq!(learned(&last, 0), "See you<|im_end|>");
    let all = load(CHAT, Learn::All, SystemText::Keep, 100).unwrap();
    assert_eq!(all.learned_tokens(), all.tokens() - 1);
    let cut = load(CHAT, Learn::All, SystemText::Keep, 7).unwrap();
    assert_eq!((cut.tokens(), cut.learned_tokens()), (7, 6));
}

#[test]
fn system_text_is_kept_merged_or_dropped() {
    let chat = r#"{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}"#;
    let rendered = |system| {
        let dataset = load(chat, Learn::Assistant, system, 100).unwrap();
        assert_eq!(learned(&dataset, 0), "Yes<|im_end|>");
        smollm2().decode(&dataset.samples[0].ids, false).unwrap()
    };
    assert!(rendered(SystemText::Keep).contains("<|im_start|>system\nBe brief.<|im_end|>"));
    assert!(rendered(SystemText::Merge).contains("<|im_start|>user\nBe brief.\n\nHi<|im_end|>"));
    assert!(!rendered(SystemText::Drop).contains("brief"));
}

#[test]
fn bad_lines_are_named_with_what_is_expected() {
    let error = |text: &str| load(text, Learn::Assistant, SystemText::Keep, 100).unwrap_err();
    let message = error(&format!("{CHAT}\n{{\"messages\": [\n{{\"question\": 1}}\n{CHAT}\n"));
    let second =
        "data.jsonl`: line 2: not JSON, expected one object a line: EOF while parsing a list at column 14; line 3";
    assert!(message.contains(second), "{message}");
    assert!(message.contains("line 3: keys [\"question\"] are no training record"), "{message}");
    let message = error(&format!("\u{feff}{CHAT}\r\n  {{\"text\": \"ü\" x}}\r\n"));
    assert!(message.contains("line 2: not JSON") && message.ends_with("at column 16"), "{message}");
    let message = error(&"{}\n".repeat(8));
    assert!(message.contains("line 5: ") && message.contains("and 3 lines more"), "{message}");
    assert!(error("\n \n").contains("holds no record"));
    assert!(load(b"{\"text\": \"\xff\"}", Learn::All, SystemText::Keep, 9).unwrap_err().contains("line 1: not JSON"));
}

#[test]
fn nothing_learned_is_an_error_and_cut_ends_are_said() {
    let silent = r#"{"messages": [{"role": "user", "content": "Hi"}]}"#;
    let message = load(silent, Learn::Assistant, SystemText::Keep, 100).unwrap_err();
    assert!(message.contains("line 1: none of"), "{message}");
    let message = load(CHAT, Learn::Assistant, SystemText::Keep, 4).unwrap_err();
    assert!(message.contains("`max_length` cuts at 4"), "{message}");
    let whole = load(CHAT, Learn::Assistant, SystemText::Keep, 100).unwrap().tokens();
    let cut = load(CHAT, Learn::Assistant, SystemText::Keep, whole - 3).unwrap();
    let codes: Vec<_> = cut.findings().into_iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["data", "learned_tokens_dropped"]);
    assert!(cut.findings()[1].message.contains("1 lines, the first is 1: longer than `max_length`"));
}

#[test]
fn a_part_stands_for_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.jsonl");
    let line = format!("{CHAT}\n");
    std::fs::write(&path, line.repeat(10)).unwrap();
    let tokenizer = smollm2();
    let preparation = Preparation::new(&tokenizer, (Learn::Assistant, SystemText::Keep), 100, "2024-07-26").unwrap();
    let part = Dataset::load(&path, &preparation, 2 * line.len() as u64).unwrap();
    assert_eq!(part.samples.len(), 3);
    assert_eq!(part.extent.scale(3), 10);
    assert!(part.findings()[0].message.contains("in the first"));
    assert_eq!(check(&path, u64::MAX).unwrap().0, [CHAT.len(); 10]);
}
