//! Tokens, scores and types of a SentencePiece vocabulary, as llama.cpp's converter writes them.
//!
//! Follows `_create_vocab_sentencepiece` of `conversion/base.py`: the pieces of `tokenizer.model`, then the added
//! tokens in their places. Where that file is missing the converter writes one score for all pieces
//! (`_set_vocab_llama_hf`), or gives up (Gemma); llama.cpp puts pieces together by score and would cut every word
//! otherwise. Here the scores are then made of the merges of `tokenizer.json`, whose order says the same.

use std::collections::BTreeMap;

use serde_json::Value;

use super::TokenType;
use super::byte_pieces::{byte_of, byte_piece};
use super::from_hf::{FromHfError, check_size, looks_special, malformed};
use crate::finding::Finding;
use crate::hf_files::{self, HfFiles};
use crate::sentencepiece::{Piece, read_pieces};

/// The converter's score of rows without a token.
const PADDING_SCORE: f32 = -10_000.0;
/// The converter's score of added tokens.
const ADDED_SCORE: f32 = -1_000.0;

/// Lists as long as the vocabulary.
pub(super) struct Tokens {
    pub texts: Vec<String>,
    pub scores: Vec<f32>,
    pub types: Vec<i32>,
}

impl Tokens {
    fn padding(size: u64) -> Self {
        let texts: Vec<String> = (0..size).map(|id| format!("[PAD{id}]")).collect();
        Self { scores: vec![PADDING_SCORE; texts.len()], types: vec![TokenType::Unused as i32; texts.len()], texts }
    }

    fn put(&mut self, id: usize, text: String, score: f32, kind: TokenType) {
        (self.texts[id], self.scores[id], self.types[id]) = (text, score, kind as i32);
    }
}

/// The vocabulary's pieces: of `tokenizer.model` where it is there, else of `tokenizer.json`.
pub(super) fn pieces(
    files: &HfFiles,
    tokenizer: &Value,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Piece>, FromHfError> {
    match files.file(hf_files::SENTENCEPIECE) {
        Some(bytes) => {
            let pieces = read_pieces(bytes)?;
            findings.extend(differs_from_tokenizer_json(&pieces, tokenizer));
            Ok(pieces)
        }
        None => {
            findings.push(Finding::note(
                "scores-from-merges",
                "there is no `tokenizer.model`: the scores of pieces are made of the order of merges in \
                 `tokenizer.json`, which gives llama.cpp the same ids",
            ));
            pieces_of_tokenizer_json(tokenizer, findings)
        }
    }
}

/// Lays pieces and added tokens out over the rows of the embedding.
pub(super) fn tokens(
    files: &HfFiles,
    pieces: Vec<Piece>,
    vocab_size: u64,
    findings: &mut Vec<Finding>,
) -> Result<Tokens, FromHfError> {
    if let Some(id) = (pieces.len() as u64).checked_sub(1).filter(|last| *last >= vocab_size) {
        let token = pieces.into_iter().next_back().map(|piece| piece.text).unwrap_or_default();
        return Err(FromHfError::OutsideEmbedding { token, id, vocab_size });
    }
    let mut tokens = Tokens::padding(vocab_size);
    for (id, piece) in pieces.into_iter().enumerate() {
        // The converter does not ask for this one type: what is always one token is said by the added tokens.
        let kind = if piece.kind == TokenType::UserDefined { TokenType::Normal } else { piece.kind };
        tokens.put(id, piece.text, piece.score, kind);
    }
    for (id, text) in listed_in_added_tokens_json(files)? {
        if let Some(id) = row(id, &text, vocab_size, findings) {
            tokens.put(id, text, ADDED_SCORE, TokenType::UserDefined);
        }
    }
    for (id, text, special) in added_tokens(files)? {
        let Some(id) = row(id, &text, vocab_size, findings) else { continue };
        match special || looks_special(&text) {
            true => tokens.put(id, text, ADDED_SCORE, TokenType::Control),
            false => tokens.put(id, text.replace('\u{2581}', " "), ADDED_SCORE, TokenType::UserDefined),
        }
    }
    Ok(tokens)
}

/// Where a token goes. Published models name padding tokens that have no row; the converter leaves them out, too.
fn row(id: u64, text: &str, vocab_size: u64, findings: &mut Vec<Finding>) -> Option<usize> {
    if id < vocab_size {
        return usize::try_from(id).ok();
    }
    findings.push(Finding::warning(
        "added-token-outside",
        format!("the added token `{text}` has id {id}, but the model has {vocab_size} rows; it is left out"),
    ));
    None
}

fn listed_in_added_tokens_json(files: &HfFiles) -> Result<Vec<(u64, String)>, FromHfError> {
    let Some(bytes) = files.file(hf_files::ADDED_TOKENS) else { return Ok(Vec::new()) };
    let json = hf_files::parse_json(hf_files::ADDED_TOKENS, bytes)?;
    let listed = json.as_object().ok_or_else(|| malformed("`added_tokens.json`", &json, "an object"))?;
    let entry = |(text, id): (&String, &Value)| {
        let id = id.as_u64().ok_or_else(|| malformed("an id in `added_tokens.json`", id, "a whole number"))?;
        Ok((id, text.clone()))
    };
    listed.iter().map(entry).collect()
}

/// Id, text, and whether the token is special: from the configuration as the converter does, from `tokenizer.json`
/// where newer versions of transformers left them out of the configuration.
fn added_tokens(files: &HfFiles) -> Result<Vec<(u64, String, bool)>, FromHfError> {
    let token = |id: Option<u64>, token: &Value| {
        let id = id.ok_or_else(|| malformed("an added token's id", token, "a whole number"))?;
        let text = token["content"].as_str().ok_or_else(|| malformed("an added token", token, "one with `content`"))?;
        Ok((id, text.to_owned(), token["special"].as_bool().unwrap_or(false)))
    };
    if let Some(decoder) = files.tokenizer_config()["added_tokens_decoder"].as_object() {
        return decoder.iter().map(|(id, entry)| token(id.parse().ok(), entry)).collect();
    }
    let listed = files.tokenizer()["added_tokens"].as_array();
    listed.into_iter().flatten().map(|entry| token(entry["id"].as_u64(), entry)).collect()
}

/// Pieces by id, with scores that put them together in the order of the merges.
fn pieces_of_tokenizer_json(tokenizer: &Value, findings: &mut Vec<Finding>) -> Result<Vec<Piece>, FromHfError> {
    let model = &tokenizer["model"];
    let vocab = model["vocab"].as_object().ok_or_else(|| malformed("model.vocab", &model["vocab"], "an object"))?;
    let mut by_id = BTreeMap::new();
    for (text, id) in vocab {
        let id = id.as_u64().ok_or_else(|| malformed("an id in model.vocab", id, "a whole number"))?;
        if let Some(first) = by_id.insert(id, text.as_str()) {
            return Err(FromHfError::SameId { first: first.into(), second: text.clone(), id });
        }
    }
    let size = by_id.last_key_value().map_or(0, |(id, _)| id.saturating_add(1));
    check_size(size)?;
    let (turns, count) = turns(tokenizer, findings)?;
    let piece = |id: u64| {
        let Some(&text) = by_id.get(&id) else {
            return Piece { text: format!("[PAD{id}]"), score: PADDING_SCORE, kind: TokenType::Unused };
        };
        // Pieces that nothing is put together to need no score; they follow in the order of their ids.
        let turn = turns.get(text).copied().unwrap_or(count + id as usize);
        let (text, kind) = match spelled_out_byte(text, vocab) {
            Some(byte) => (byte_piece(byte), TokenType::Byte),
            None if byte_of(text).is_some() => (text.to_owned(), TokenType::Byte),
            None if model["unk_token"] == *text => (text.to_owned(), TokenType::Unknown),
            None => (text.to_owned(), TokenType::Normal),
        };
        Piece { text, score: -(turn as f32), kind }
    };
    Ok((0..size).map(piece).collect())
}

/// Gemma's `tokenizer.json` spells one byte piece out: it has a tab in the place of `<0x09>`.
fn spelled_out_byte(text: &str, vocab: &serde_json::Map<String, Value>) -> Option<u8> {
    let &[byte] = text.as_bytes() else { return None };
    let has = |byte: u8| vocab.contains_key(&byte_piece(byte));
    (!has(byte) && has(byte.wrapping_add(1)) && has(byte.wrapping_sub(1))).then_some(byte)
}

/// In which turn each piece is put together, by its text, and how many turns there are.
///
/// Pieces of one score are put together by the lengths of their parts, so the merges of several are interleaved: pieces
/// of which that is seen get one turn.
fn turns(tokenizer: &Value, findings: &mut Vec<Finding>) -> Result<(BTreeMap<String, usize>, usize), FromHfError> {
    let json = &tokenizer["model"]["merges"];
    let merges = json.as_array().ok_or_else(|| malformed("model.merges", json, "a list"))?;
    let merges = merges.iter().map(Merge::read).collect::<Result<Vec<_>, _>>()?;
    let last: BTreeMap<&str, usize> = merges.iter().enumerate().map(|(at, merge)| (merge.made.as_str(), at)).collect();
    let mut turns = BTreeMap::new();
    let (mut count, mut end, mut unsorted) = (0, 0, 0);
    for (at, merge) in merges.iter().enumerate() {
        if at == end {
            count += 1;
        } else if merges[at - 1].made != merge.made && merges[at - 1].lengths < merge.lengths {
            unsorted += 1;
        }
        end = end.max(last[merge.made.as_str()] + 1);
        turns.insert(merge.made.clone(), count - 1);
    }
    if unsorted > 0 {
        findings.push(Finding::warning(
            "merges-without-scores",
            format!(
                "{unsorted} merges stand in an order that no scores of pieces give; each piece gets its first merge's \
                 turn, and llama.cpp may cut some words otherwise than `tokenizer.json`"
            ),
        ));
        turns.clear();
        for merge in merges {
            let turn = turns.len();
            turns.entry(merge.made).or_insert(turn);
        }
        count = turns.len();
    }
    Ok((turns, count))
}

/// Two pieces that become one.
struct Merge {
    made: String,
    /// Of the two, in characters.
    lengths: (usize, usize),
}

impl Merge {
    /// From either of the two spellings.
    fn read(json: &Value) -> Result<Self, FromHfError> {
        let parts = match json {
            Value::String(merge) => merge.split_once(' '),
            _ => json.as_array().filter(|pair| pair.len() == 2).and_then(|p| Some((p[0].as_str()?, p[1].as_str()?))),
        };
        let (left, right) = parts
            .ok_or_else(|| malformed("an entry of model.merges", json, "a text of two pieces or a pair of texts"))?;
        let lengths = (left.chars().count(), right.chars().count());
        Ok(Self { made: [left, right].concat(), lengths })
    }
}

/// A `tokenizer.model` that lies beside another model's `tokenizer.json` names other tokens.
fn differs_from_tokenizer_json(pieces: &[Piece], tokenizer: &Value) -> Option<Finding> {
    let vocab = tokenizer["model"]["vocab"].as_object()?;
    let same = |id: usize, piece: &Piece| {
        let at = |text: &str| vocab.get(text).is_some_and(|at| at.as_u64() == Some(id as u64));
        at(&piece.text) || byte_of(&piece.text).is_some_and(|byte| at(char::from(byte).encode_utf8(&mut [0; 4])))
    };
    let added = tokenizer["added_tokens"].as_array().map_or(&[][..], Vec::as_slice);
    let is_added = |id: usize| added.iter().any(|token| token["id"].as_u64() == Some(id as u64));
    let mut others = pieces.iter().enumerate().filter(|(id, piece)| !same(*id, piece) && !is_added(*id));
    let (id, first) = others.next()?;
    Some(Finding::warning(
        "two-vocabularies",
        format!(
            "`tokenizer.model` and `tokenizer.json` differ in {} pieces, the first of them {id}, `{}`: the GGUF gets \
             the former's, as from llama.cpp's converter, and training uses the latter's",
            others.count() + 1,
            first.text
        ),
    ))
}
