//! `tokenizer.json` of a SentencePiece vocabulary.
//!
//! SentencePiece puts the two neighbours together whose piece has the highest score; the tokenizers crate wants a list
//! of pairs in order. The list made of the scores is the one that transformers makes of a `tokenizer.model`. A space
//! that `add_space_prefix` asks for stands before every stretch of text, after special tokens too: that is
//! llama.cpp's way, and what the normalizers `Prepend` and `Replace` do.

use serde_json::{Map, Value, json};

use super::{RebuildError, added_token, template_processing};
use crate::finding::Finding;
use crate::gguf::byte_pieces::byte_of;
use crate::gguf::merges_from_scores::merges_from_scores;
use crate::gguf::{GgufVocabulary, TokenType};
use crate::sentencepiece::{Piece, write_pieces};
use crate::special_tokens::Role;

/// Texts as Hugging Face's files spell them, which differ in two ways from those that llama.cpp's converter writes.
///
/// Text that is always one token has its spaces written `▁` again. And the piece of a byte is spelled out where longer
/// pieces hold the character (Gemma's tabs): in llama.cpp characters come together before they are looked up.
pub(super) fn spelled_for_hugging_face(vocabulary: &GgufVocabulary, mut texts: Vec<String>) -> Vec<String> {
    for (id, text) in texts.iter_mut().enumerate() {
        if vocabulary.token_type(id) == Some(TokenType::UserDefined) {
            *text = text.replace(' ', "\u{2581}");
        }
    }
    let (mut alone, mut within) = ([false; 128], [false; 128]);
    let spelled = texts.iter().enumerate().filter(|(id, _)| vocabulary.token_type(*id) != Some(TokenType::Byte));
    for byte in spelled.clone().filter_map(|(_, text)| single_byte(text)) {
        alone[usize::from(byte)] = true;
    }
    for byte in spelled.filter(|(_, text)| text.len() > 1).flat_map(|(_, text)| text.bytes()).filter(u8::is_ascii) {
        within[usize::from(byte)] = true;
    }
    for (id, text) in texts.iter_mut().enumerate() {
        let byte = byte_of(text).filter(|byte| byte.is_ascii() && vocabulary.token_type(id) == Some(TokenType::Byte));
        if let Some(byte) = byte.filter(|byte| within[usize::from(*byte)] && !alone[usize::from(*byte)]) {
            *text = char::from(byte).into();
        }
    }
    texts
}

fn single_byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] => Some(*byte),
        _ => None,
    }
}

pub(super) fn tokenizer_json(
    vocabulary: &GgufVocabulary,
    texts: &[String],
    add_bos: bool,
    findings: &mut Vec<Finding>,
) -> Result<Value, RebuildError> {
    let scores = vocabulary.scores.as_ref().ok_or(RebuildError::NoScores)?;
    if scores.iter().all(|score| Some(score) == scores.first()) {
        findings.push(Finding::warning(
            "scores-all-equal",
            "all pieces have one score: the file comes from a converter that had no scores, and llama.cpp cuts words \
             otherwise than the model was trained on (hint: convert the original again, with its `tokenizer.model`)",
        ));
    }
    let kind = |id: usize| vocabulary.token_type(id);
    let mut vocab = Map::new();
    let mut added_tokens = Vec::new();
    let mut pieces = Vec::new();
    for (id, text) in texts.iter().enumerate().filter(|(id, _)| kind(*id) != Some(TokenType::Unused)) {
        vocab.insert(text.clone(), id.into());
        added_tokens.extend(added(kind(id)).map(|special| added_token(id, text, special)));
        // The converter gives what is always one token a score of its own making; the original's is 0.
        let is_user_defined = kind(id) == Some(TokenType::UserDefined);
        let score = if is_user_defined { 0.0 } else { scores.get(id).copied().unwrap_or(0.0) };
        pieces.push((text.as_str(), id, score));
    }
    let merges = merges_from_scores(&pieces).into_iter().map(|(left, right)| format!("{left} {right}"));
    let merges: Vec<String> = merges.collect();
    // llama.cpp adds the space where the file does not say.
    let prefix = vocabulary.add_space_prefix.unwrap_or(true);
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens,
        "normalizer": normalizer(prefix),
        "pre_tokenizer": pre_tokenizer(prefix),
        "post_processor": template_processing(vocabulary, texts, add_bos),
        "decoder": decoder(prefix),
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": unknown(vocabulary).and_then(|id| texts.get(id)),
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": true,
            "ignore_merges": false,
            "vocab": vocab,
            "merges": merges,
        },
    }))
}

/// `tokenizer.model` with the scores that `tokenizer.json` has no place for, which llama.cpp's converter asks for.
///
/// Rows without a token at the end are the embedding's padding and no part of it.
pub(super) fn model(vocabulary: &GgufVocabulary, texts: &[String]) -> Vec<u8> {
    let kind = |id: usize| vocabulary.token_type(id).unwrap_or(TokenType::Normal);
    let used = (0..texts.len()).rev().find(|id| kind(*id) != TokenType::Unused).map_or(0, |last| last + 1);
    let unknown = unknown(vocabulary);
    let piece = |id: usize| Piece {
        // A byte that is spelled out is known by its number here.
        text: if kind(id) == TokenType::Byte { vocabulary.tokens[id].clone() } else { texts[id].clone() },
        score: vocabulary.scores.as_ref().and_then(|scores| scores.get(id)).copied().unwrap_or(0.0),
        // The converter makes a control token of the one piece that SentencePiece wants for the unknown.
        kind: if Some(id) == unknown { TokenType::Unknown } else { kind(id) },
    };
    write_pieces(&(0..used).map(piece).collect::<Vec<_>>(), vocabulary.add_space_prefix.unwrap_or(true))
}

/// `added_tokens_decoder` of the configuration, where the converter looks for what is no piece.
pub(super) fn added_tokens_decoder(vocabulary: &GgufVocabulary, texts: &[String]) -> Value {
    let mut decoder = Map::new();
    for (id, text) in texts.iter().enumerate() {
        if let Some(special) = added(vocabulary.token_type(id)) {
            let mut token = added_token(id, text, special);
            token.as_object_mut().map(|fields| fields.shift_remove("id"));
            decoder.insert(id.to_string(), token);
        }
    }
    decoder.into()
}

/// Whether a token of this type is special, where it is cut out of a text before all else.
fn added(kind: Option<TokenType>) -> Option<bool> {
    match kind? {
        TokenType::UserDefined => Some(false),
        TokenType::Control | TokenType::Unknown => Some(true),
        _ => None,
    }
}

fn unknown(vocabulary: &GgufVocabulary) -> Option<usize> {
    let by_type = (0..vocabulary.tokens.len()).find(|id| vocabulary.token_type(*id) == Some(TokenType::Unknown));
    vocabulary.special_id(Role::Unk).map(|id| id as usize).or(by_type)
}

fn normalizer(prefix: bool) -> Value {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    match prefix {
        true => json!({
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "\u{2581}"}, replace],
        }),
        false => replace,
    }
}

/// Gemma's file has this step, though the normalizer leaves no space that it could find.
fn pre_tokenizer(prefix: bool) -> Value {
    match prefix {
        true => Value::Null,
        false => {
            json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false})
        }
    }
}

fn decoder(prefix: bool) -> Value {
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": steps})
}
