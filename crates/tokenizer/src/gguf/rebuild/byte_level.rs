//! `tokenizer.json` of a byte-level BPE vocabulary.

use serde_json::{Map, Value, json};

use super::{RebuildError, RebuildOptions, added_token, template_processing};
use crate::finding::Finding;
use crate::gguf::{GgufVocabulary, TokenType};
use crate::pre_tokenizer::{self, PreTokenizer, PreTokenizerError};
use crate::special_tokens::Role;

/// The pre-tokenizer of the given name, else of the file's.
pub(super) fn pre_tokenizer(
    vocabulary: &GgufVocabulary,
    options: &RebuildOptions<'_>,
    findings: &mut Vec<Finding>,
) -> Result<&'static PreTokenizer, PreTokenizerError> {
    let stored = vocabulary.pre.as_deref().filter(|pre| !pre.is_empty());
    let name = options.pre.or(stored).unwrap_or(pre_tokenizer::DEFAULT);
    let pre = PreTokenizer::by_name(name)?;
    if options.pre.is_none() && stored.is_none() {
        findings.push(Finding::warning(
            "pre-tokenizer-missing",
            "the GGUF names no pre-tokenizer (`tokenizer.ggml.pre`), which means llama.cpp's `default`: every third \
             text may be cut otherwise than the model was trained on. The file comes from an old or broken converter; \
             take a newer one, or give the right name as `pre` (e.g. `llama-bpe`, `qwen2`, `smollm`), here and in \
             llama.cpp (`--override-kv tokenizer.ggml.pre=str:NAME`)",
        ));
    }
    if let (Some(given), Some(stored)) = (options.pre, stored)
        && given != stored
    {
        findings.push(Finding::warning(
            "pre-tokenizer-override",
            format!("pre-tokenizer `{given}` was given; the GGUF says `{stored}`, and llama.cpp will use that"),
        ));
    }
    if pre.normalization == pre_tokenizer::Normalization::Nfc {
        findings.push(Finding::note(
            "normalization",
            format!("`{}` composes Unicode (NFC) in transformers, not in llama.cpp: ids differ on text that is not composed", pre.name),
        ));
    }
    Ok(pre)
}

pub(super) fn tokenizer_json(
    vocabulary: &GgufVocabulary,
    tokens: &[String],
    pre: &PreTokenizer,
    add_bos: bool,
    findings: &mut Vec<Finding>,
) -> Result<Value, RebuildError> {
    if vocabulary.merges.is_empty() {
        return Err(RebuildError::NoMerges);
    }
    let (vocab, added) = vocab_and_added(vocabulary, tokens);
    let merges = usable_merges(&vocabulary.merges, &vocab, findings);
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": pre.normalizer_json(),
        "pre_tokenizer": pre.to_json(),
        "post_processor": post_processor(vocabulary, tokens, add_bos),
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": pre.ignore_merges,
            "vocab": vocab,
            "merges": merges,
        },
    }))
}

/// The model's pieces and the added tokens.
///
/// The tokenizers crate numbers added tokens itself, after the pieces. One whose id is not the next in that row must
/// be a piece too, so that its id is found there; no merge makes it, and added tokens are cut out of a text first.
fn vocab_and_added(vocabulary: &GgufVocabulary, tokens: &[String]) -> (Map<String, Value>, Vec<Value>) {
    let kind = |id: usize| vocabulary.token_type(id);
    let is_added =
        |id: usize| matches!(kind(id), Some(TokenType::Control | TokenType::UserDefined | TokenType::Unknown));
    let is_piece = |id: usize| matches!(kind(id), Some(TokenType::Normal | TokenType::Byte) | None);
    // From here on there are added tokens alone, without a hole: these need no piece.
    let last = (0..tokens.len()).rev().find(|id| is_added(*id) || is_piece(*id)).map_or(0, |id| id + 1);
    let tail = (0..last).rev().take_while(|id| is_added(*id)).last().unwrap_or(last);
    let complete = (0..tail).all(|id| is_added(id) || is_piece(id));
    let mut vocab = Map::new();
    let mut added = Vec::new();
    for (id, text) in tokens.iter().enumerate() {
        if is_piece(id) || (is_added(id) && (id < tail || !complete)) {
            vocab.insert(text.clone(), id.into());
        }
        if is_added(id) {
            added.push(added_token(id, text, kind(id) != Some(TokenType::UserDefined)));
        }
    }
    (vocab, added)
}

/// Merges whose pieces and whose result are in the vocabulary. llama.cpp looks merges up by pairs of pieces and so
/// never meets the others, unless a result is missing.
fn usable_merges<'a>(merges: &'a [String], vocab: &Map<String, Value>, findings: &mut Vec<Finding>) -> Vec<&'a str> {
    let usable = |merge: &&str| {
        let cut = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
        cut.is_some_and(|at| {
            let (left, right) = (&merge[..at], &merge[at + 1..]);
            vocab.contains_key(left) && vocab.contains_key(right) && vocab.contains_key(&format!("{left}{right}"))
        })
    };
    let kept: Vec<&str> = merges.iter().map(String::as_str).filter(usable).collect();
    if kept.len() < merges.len() {
        let dropped = merges.len() - kept.len();
        findings.push(Finding::warning(
            "merges-dropped",
            format!("{dropped} of {} merges name pieces that the vocabulary lacks and were left out", merges.len()),
        ));
    }
    kept
}

/// The form is that of published files as far as it says no more than the GGUF: to llama.cpp's converter a `ByteLevel`
/// step is a word on both ends of a text, and what stands between a pair is one on separators.
fn post_processor(vocabulary: &GgufVocabulary, tokens: &[String], add_bos: bool) -> Value {
    let template = template_processing(vocabulary, tokens, add_bos);
    let both_ends_said = vocabulary.adds(Role::Bos).and(vocabulary.adds(Role::Eos)).is_some();
    if template.is_null() || !both_ends_said {
        return template;
    }
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
    json!({"type": "Sequence", "processors": [bytes, template]})
}
