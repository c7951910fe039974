//! From Hugging Face files to the vocabulary that llama.cpp's converter writes.
//!
//! Follows `get_vocab_base` and `_set_vocab_gpt2` of `conversion/base.py` and `set_vocab` of `conversion/llama.py`;
//! what SentencePiece vocabularies have of their own is in `from_sentencepiece`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::from_sentencepiece;
use super::special_vocab::SpecialVocab;
use super::{GgufVocabulary, TokenType, VocabularyKind};
use crate::finding::Finding;
use crate::hf_files::{HfFiles, HfFilesError, NamedTemplate};
use crate::pre_tokenizer::{DEFAULT, PreTokenizer, PreTokenizerError};
use crate::sentencepiece::SentencePieceError;
use crate::space_prefix::SpacePrefix;
use crate::special_tokens::Role;

/// More rows than any model has; a configuration that asks for more is broken, not big.
const MOST_TOKENS: u64 = 1 << 24;

/// Which of the converter's classes handles the architecture; they write different keys.
///
/// The class of Mamba hybrids (`granitehybrid`) also rounds the number of tokens up to a multiple of eight. That is not
/// followed: llama.cpp refuses a file with more tokens than the embedding has rows, and where the numbers are equal it
/// changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convention {
    /// `LlamaModel` and what derives from it (`llama`, `granite`, `granitemoe`): also `add_space_prefix` where the
    /// configuration has `add_prefix_space`, and `add_bos_token = false` for vocabularies of 49,152.
    Llama,
    /// The vocabulary alone (`qwen2`, `qwen3`, `gemma2`, `granitehybrid`, …).
    Plain,
}

/// What the files do not say.
#[derive(Debug, Clone, Copy)]
pub struct GgufOptions<'a> {
    /// Which keys the converter writes for the architecture.
    pub convention: Convention,
    /// Rows of the embedding, to which the tokens are padded; `config.json`'s `vocab_size` where `None`.
    pub vocab_size: Option<u64>,
    /// llama.cpp's name of the pre-tokenizer, for a structure that is not recognised.
    pub pre: Option<&'a str>,
}

/// Why no vocabulary could be written.
#[derive(Debug, thiserror::Error)]
pub enum FromHfError {
    /// A kind that this crate does not write yet.
    #[error("not yet supported: {} vocabulary (hint: byte-level BPE can be converted, e.g. Llama 3, Qwen, Granite, and BPE with byte fallback, e.g. Mistral, Gemma)", kind.name())]
    Unsupported {
        /// What `tokenizer.json` holds.
        kind: VocabularyKind,
    },
    /// The structure has no name in llama.cpp.
    #[error(transparent)]
    PreTokenizer(#[from] PreTokenizerError),
    /// The files themselves.
    #[error(transparent)]
    Files(#[from] HfFilesError),
    /// `tokenizer.model`.
    #[error(transparent)]
    SentencePiece(#[from] SentencePieceError),
    /// A token's id lies outside the embedding.
    #[error(
        "token `{token}` has id {id}, but the model has {vocab_size} rows (hint: the tokenizer belongs to another model, or tokens were added without resizing the embedding)"
    )]
    OutsideEmbedding {
        /// The token's text.
        token: String,
        /// Its id.
        id: u64,
        /// Rows of the embedding.
        vocab_size: u64,
    },
    /// Two tokens on one id.
    #[error("tokens `{first}` and `{second}` both have id {id} in `tokenizer.json`")]
    SameId {
        /// One token's text.
        first: String,
        /// The other's.
        second: String,
        /// The id.
        id: u64,
    },
    /// A size that no model has.
    #[error("`vocab_size` is {vocab_size}, expected 1 to {MOST_TOKENS}")]
    VocabSize {
        /// From the configuration or the caller.
        vocab_size: u64,
    },
    /// A part of `tokenizer.json` that is not what it should be.
    #[error("`tokenizer.json`: {what} is {got}, expected {expected}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// What it is.
        got: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl GgufVocabulary {
    /// Writes the vocabulary of Hugging Face files as llama.cpp's converter does.
    ///
    /// # Errors
    /// [`FromHfError`].
    pub fn from_hf(files: &HfFiles, options: &GgufOptions<'_>) -> Result<(Self, Vec<Finding>), FromHfError> {
        let mut findings = Vec::new();
        let kind = VocabularyKind::of_tokenizer_json(files.tokenizer());
        let mut vocabulary = match kind {
            VocabularyKind::ByteLevelBpe => byte_level(files, options, &mut findings)?,
            VocabularyKind::Spm => sentencepiece(files, options, &mut findings)?,
            _ => return Err(FromHfError::Unsupported { kind }),
        };
        let vocab_size = vocabulary.tokens.len() as u64;
        let mut special = SpecialVocab::read(files);
        findings.extend(special.findings);
        special.ids.retain(|(role, id)| {
            let exists = u64::from(*id) < vocab_size;
            if !exists {
                let message = format!(
                    "the {} token's id {id} is outside the vocabulary of {vocab_size} and is left out",
                    role.name()
                );
                findings.push(Finding::warning("special-token-outside", message));
            }
            exists
        });
        if files.chat_templates_differ() {
            findings.push(Finding::warning(
                "chat-templates-differ",
                "`chat_template.jinja` and `tokenizer_config.json` hold different chat templates; the file's is used, \
                 as in transformers",
            ));
        }
        vocabulary.special_ids = special.ids;
        vocabulary.add_special = special.add;
        vocabulary.chat_templates = gguf_templates(files.chat_templates()?);
        if options.convention == Convention::Llama {
            let configured = files.tokenizer_config()["add_prefix_space"].as_bool();
            vocabulary.add_space_prefix = vocabulary.add_space_prefix.or(configured);
            if vocab_size == 49152 {
                vocabulary.add_special.retain(|(role, _)| *role != Role::Bos);
                vocabulary.add_special.push((Role::Bos, false));
            }
        }
        Ok((vocabulary, findings))
    }
}

/// Pieces, merges and the pre-tokenizer's name.
fn byte_level(
    files: &HfFiles,
    options: &GgufOptions<'_>,
    findings: &mut Vec<Finding>,
) -> Result<GgufVocabulary, FromHfError> {
    let pre = pre_name(files, options.pre, findings)?;
    let tokenizer = files.whole_tokenizer()?;
    let by_id = tokens_by_id(files, &tokenizer)?;
    let last = by_id.last_key_value();
    let vocab_size = vocab_size(files, options, last.map_or(0, |(id, _)| id.saturating_add(1)))?;
    if let Some((&id, (token, _))) = last.filter(|(id, _)| **id >= vocab_size) {
        return Err(FromHfError::OutsideEmbedding { token: token.clone(), id, vocab_size });
    }
    let (tokens, token_types) = pad(by_id, vocab_size);
    let merges = merges(&tokenizer)?;
    // Without a name llama.cpp takes its default, and says that the file names none.
    let pre = (pre != DEFAULT || options.pre.is_some()).then_some(pre);
    Ok(GgufVocabulary { model: "gpt2".into(), pre, tokens, token_types, merges, ..Default::default() })
}

/// Pieces with scores, of which llama.cpp makes the merges itself.
fn sentencepiece(
    files: &HfFiles,
    options: &GgufOptions<'_>,
    findings: &mut Vec<Finding>,
) -> Result<GgufVocabulary, FromHfError> {
    let tokenizer = files.whole_tokenizer()?;
    let pieces = from_sentencepiece::pieces(files, &tokenizer, findings)?;
    let vocab_size = vocab_size(files, options, pieces.len() as u64)?;
    let tokens = from_sentencepiece::tokens(files, pieces, vocab_size, findings)?;
    // Gemma's class writes this one always. It says what `tokenizer.json` does, so it stands for any such file.
    let never = SpacePrefix::of_tokenizer_json(&tokenizer) == SpacePrefix::Nowhere;
    Ok(GgufVocabulary {
        model: "llama".into(),
        pre: Some("default".into()),
        tokens: tokens.texts,
        scores: Some(tokens.scores),
        token_types: tokens.types,
        add_space_prefix: never.then_some(false),
        ..Default::default()
    })
}

fn pre_name(files: &HfFiles, given: Option<&str>, findings: &mut Vec<Finding>) -> Result<String, PreTokenizerError> {
    // transformers cleaned up where the configuration said nothing.
    let clean_spaces = files.tokenizer_config()["clean_up_tokenization_spaces"].as_bool().unwrap_or(true);
    let recognised = PreTokenizer::recognise(files.tokenizer(), clean_spaces);
    let Some(name) = given else { return Ok(recognised?.name.into()) };
    let same = recognised.is_ok_and(|found| found.name == name || found.aliases.contains(&name));
    if !same {
        findings.push(Finding::warning(
            "pre-tokenizer-override",
            format!(
                "pre-tokenizer `{name}` was given, though the structure of `tokenizer.json` is not known to be that"
            ),
        ));
    }
    Ok(name.into())
}

/// Text and type of every token that exists.
fn tokens_by_id(files: &HfFiles, tokenizer: &Value) -> Result<BTreeMap<u64, (String, TokenType)>, FromHfError> {
    let mut by_id = BTreeMap::new();
    let vocab = tokenizer["model"]["vocab"]
        .as_object()
        .ok_or_else(|| malformed("model.vocab", &tokenizer["model"]["vocab"], "an object"))?;
    // Roles may name tokens of the vocabulary that nobody added; transformers adds them when it loads.
    let special_tokens = files.special_tokens();
    let named: BTreeSet<&str> = special_tokens
        .named()
        .map(|(_, text)| text)
        .chain(special_tokens.additional().iter().map(String::as_str))
        .collect();
    for (text, id) in vocab {
        let id = id.as_u64().ok_or_else(|| malformed("an id in model.vocab", id, "a whole number"))?;
        let kind = if named.contains(text.as_str()) { TokenType::Control } else { TokenType::Normal };
        if let Some((first, _)) = by_id.insert(id, (text.clone(), kind)) {
            return Err(FromHfError::SameId { first, second: text.clone(), id });
        }
    }
    for added in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        let text = added["content"]
            .as_str()
            .ok_or_else(|| malformed("an added token's content", &added["content"], "a text"))?;
        let id =
            added["id"].as_u64().ok_or_else(|| malformed("an added token's id", &added["id"], "a whole number"))?;
        let special = added["special"].as_bool().unwrap_or(false) || named.contains(text) || looks_special(text);
        let token = match special {
            true => (text.to_owned(), TokenType::Control),
            // llama.cpp wants text that is always one token as it looks, with SentencePiece's spaces written out.
            false => (text.replace('\u{2581}', " "), TokenType::UserDefined),
        };
        match by_id.insert(id, token) {
            Some((first, _)) if first != text => {
                return Err(FromHfError::SameId { first, second: text.to_owned(), id });
            }
            _ => {}
        }
    }
    Ok(by_id)
}

/// Some published tokenizers mark control tokens as ordinary ones; the converter goes by their looks.
pub(super) fn looks_special(text: &str) -> bool {
    let between = |start: &str, end: &str| text.starts_with(start) && text.ends_with(end);
    ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains(&text)
        || between("<|", "|>")
        || between("<｜", "｜>")
        || between("<unused", ">")
}

/// Rows of the embedding, as stated by the caller or the configuration; `tokens` where neither does.
fn vocab_size(files: &HfFiles, options: &GgufOptions<'_>, tokens: u64) -> Result<u64, FromHfError> {
    let config = files.model_config();
    let stated = options
        .vocab_size
        .or_else(|| config["vocab_size"].as_u64().or_else(|| config["text_config"]["vocab_size"].as_u64()));
    let vocab_size = stated.unwrap_or(tokens);
    check_size(vocab_size)?;
    Ok(vocab_size)
}

pub(super) fn check_size(vocab_size: u64) -> Result<(), FromHfError> {
    match (1..=MOST_TOKENS).contains(&vocab_size) {
        true => Ok(()),
        false => Err(FromHfError::VocabSize { vocab_size }),
    }
}

/// One entry a row of the embedding: rows without a token are called `[PADn]`.
fn pad(mut by_id: BTreeMap<u64, (String, TokenType)>, vocab_size: u64) -> (Vec<String>, Vec<i32>) {
    let row = |id| by_id.remove(&id).unwrap_or_else(|| (format!("[PAD{id}]"), TokenType::Unused));
    (0..vocab_size).map(row).map(|(text, kind)| (text, kind as i32)).unzip()
}

/// Merges in GGUF's spelling, from either of `tokenizer.json`'s.
fn merges(tokenizer: &Value) -> Result<Vec<String>, FromHfError> {
    const EXPECTED: &str = "a text of two pieces or a pair of texts";
    let json = &tokenizer["model"]["merges"];
    let merges = json.as_array().ok_or_else(|| malformed("model.merges", json, "a list"))?;
    let spelled = |merge: &Value| match merge {
        Value::String(merge) => Some(merge.clone()),
        Value::Array(pair) => match pair.as_slice() {
            [left, right] => Some(format!("{} {}", encode_spaces(left.as_str()?), encode_spaces(right.as_str()?))),
            _ => None,
        },
        _ => None,
    };
    merges
        .iter()
        .map(|merge| spelled(merge).ok_or_else(|| malformed("an entry of model.merges", merge, EXPECTED)))
        .collect()
}

fn encode_spaces(piece: &str) -> String {
    piece.replace(' ', "Ġ")
}

/// Names as the converter writes them into keys.
fn gguf_templates(templates: Vec<NamedTemplate>) -> Vec<NamedTemplate> {
    let key_part = |name: &str| name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    templates
        .into_iter()
        .map(|NamedTemplate { name, source }| NamedTemplate { name: key_part(&name), source })
        .collect()
}

pub(super) fn malformed(what: &'static str, got: &Value, expected: &'static str) -> FromHfError {
    let mut got = got.to_string();
    if got.len() > 80 {
        got = got.chars().take(80).chain(['…']).collect();
    }
    FromHfError::Malformed { what, got, expected }
}
