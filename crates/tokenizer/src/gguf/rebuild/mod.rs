//! From a GGUF's vocabulary back to Hugging Face files whose ids are llama.cpp's.
//!
//! Texts of type 1 and 6 are the model's pieces, 2, 3 and 4 added tokens, 5 rows without a token. What the GGUF does
//! not hold (`lstrip` and kin, `model_max_length`, the pair template) gets the value that llama.cpp's own tokenizer
//! amounts to.
//!
//! What the GGUF leaves unsaid stays unsaid where the files can do so, so that converting them gives the same keys
//! again. The one exception: where llama.cpp puts BOS before a text without being told, the files must say it.

mod byte_level;
mod companions;
mod sentencepiece;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{GgufVocabulary, TokenType, VocabularyKind};
use crate::eog::is_end_text;
use crate::finding::Finding;
use crate::hf_files::{self, HfFiles, HfFilesError};
use crate::pre_tokenizer::PreTokenizerError;
use crate::special_tokens::Role;

/// What the file does not say, or says wrongly.
#[derive(Debug, Clone, Copy, Default)]
pub struct RebuildOptions<'a> {
    /// The pre-tokenizer's name, where the file's is missing or wrong.
    pub pre: Option<&'a str>,
    /// `{arch}.context_length`, which becomes `model_max_length`.
    pub context_length: Option<u64>,
}

/// Why a vocabulary cannot be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A kind that this crate does not read yet.
    #[error("not yet supported: {} vocabulary, `tokenizer.ggml.model` is `{model}` (hint: byte-level BPE, `gpt2`, and SentencePiece, `llama`, can be read)", kind.name())]
    Unsupported {
        /// `tokenizer.ggml.model`.
        model: String,
        /// What it means.
        kind: VocabularyKind,
    },
    /// The file's pre-tokenizer is not in the table.
    #[error(transparent)]
    PreTokenizer(#[from] PreTokenizerError),
    /// llama.cpp needs merges, and so do we.
    #[error("`tokenizer.ggml.merges` is missing: a byte-level BPE vocabulary cannot be used without them")]
    NoMerges,
    /// Scores say which pieces are put together first.
    #[error("`tokenizer.ggml.scores` is missing: a SentencePiece vocabulary cannot be used without them")]
    NoScores,
    /// Token texts must be unique.
    #[error("tokens {first} and {second} are both `{text}`; llama.cpp refuses such a file too")]
    SameText {
        /// Id of the first.
        first: usize,
        /// Id of the second.
        second: usize,
        /// The text.
        text: String,
    },
    /// The files that were made, or that the GGUF carried.
    #[error(transparent)]
    Files(#[from] HfFilesError),
}

/// The files, and what was noticed on the way.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    /// `tokenizer.json` and its companions.
    pub files: HfFiles,
    /// The tokens' texts by id as these files spell them.
    pub texts: Vec<String>,
    /// Things to tell the user.
    pub findings: Vec<Finding>,
}

/// Makes Hugging Face files of a GGUF's vocabulary.
///
/// # Errors
/// [`RebuildError`].
pub fn rebuild(vocabulary: &GgufVocabulary, options: &RebuildOptions<'_>) -> Result<Rebuilt, RebuildError> {
    let kind = vocabulary.kind();
    let mut findings = Vec::new();
    let mut texts = token_texts(vocabulary)?;
    let vocabulary = &*with_implied_ids(vocabulary);
    note_special_cases(vocabulary, &texts, &mut findings);
    let (tokenizer, add_bos, clean_spaces) = match kind {
        VocabularyKind::ByteLevelBpe => {
            let pre = byte_level::pre_tokenizer(vocabulary, options, &mut findings)?;
            let add_bos = adds_bos(vocabulary, pre.add_bos, pre.name, &mut findings);
            (byte_level::tokenizer_json(vocabulary, &texts, pre, add_bos, &mut findings)?, add_bos, pre.clean_spaces)
        }
        VocabularyKind::Spm => {
            let add_bos = adds_bos(vocabulary, true, "llama", &mut findings);
            texts = sentencepiece::spelled_for_hugging_face(vocabulary, texts);
            (sentencepiece::tokenizer_json(vocabulary, &texts, add_bos, &mut findings)?, add_bos, false)
        }
        _ => return Err(RebuildError::Unsupported { model: vocabulary.model.clone(), kind }),
    };
    let tokenizer = match &vocabulary.huggingface_json {
        Some(json) => json.clone().into_bytes(),
        None => pretty(&tokenizer),
    };
    let mut config = companions::tokenizer_config(vocabulary, &texts, options, clean_spaces, add_bos);
    let mut files = Vec::new();
    if kind == VocabularyKind::Spm {
        config["added_tokens_decoder"] = sentencepiece::added_tokens_decoder(vocabulary, &texts);
        files.push((hf_files::SENTENCEPIECE, sentencepiece::model(vocabulary, &texts)));
    }
    files.extend([
        (hf_files::TOKENIZER, tokenizer),
        (hf_files::TOKENIZER_CONFIG, pretty(&config)),
        (hf_files::SPECIAL_TOKENS_MAP, pretty(&Value::Object(companions::role_texts(vocabulary, &texts)))),
        (hf_files::GENERATION_CONFIG, pretty(&companions::generation_config(vocabulary, &texts))),
    ]);
    let files = HfFiles::from_files(files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)))?;
    Ok(Rebuilt { files, texts, findings })
}

/// llama.cpp takes the first three tokens of a SentencePiece vocabulary for `unk`, `bos` and `eos` where nothing is
/// said.
fn with_implied_ids(vocabulary: &GgufVocabulary) -> Cow<'_, GgufVocabulary> {
    let implied = [(Role::Bos, 1), (Role::Eos, 2), (Role::Unk, 0)];
    let missing =
        |(role, id): &(Role, u32)| vocabulary.special_id(*role).is_none() && (*id as usize) < vocabulary.tokens.len();
    let missing: Vec<_> = implied.into_iter().filter(missing).collect();
    if vocabulary.kind() != VocabularyKind::Spm || missing.is_empty() {
        return Cow::Borrowed(vocabulary);
    }
    let mut vocabulary = vocabulary.clone();
    vocabulary.special_ids.extend(missing);
    Cow::Owned(vocabulary)
}

/// Texts by id; llama.cpp gives empty ones a name. Every text is there once.
fn token_texts(vocabulary: &GgufVocabulary) -> Result<Vec<String>, RebuildError> {
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    for (second, text) in vocabulary.tokens.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        if let Some(first) = ids.insert(text, second) {
            return Err(RebuildError::SameText { first, second, text: text.clone() });
        }
    }
    let named = |(id, text): (usize, &String)| if text.is_empty() { format!("[EMPTY_{id}]") } else { text.clone() };
    Ok(vocabulary.tokens.iter().enumerate().map(named).collect())
}

/// Cases in which llama.cpp reads the file otherwise than one would think.
fn note_special_cases(vocabulary: &GgufVocabulary, tokens: &[String], findings: &mut Vec<Finding>) {
    if vocabulary.token_types.is_empty() {
        findings.push(Finding::warning(
            "token-types-missing",
            "the GGUF has no `tokenizer.ggml.token_type`: control tokens in a prompt are read as plain text",
        ));
    }
    for role in [Role::Bos, Role::Eos] {
        if vocabulary.special_id(role).is_none() {
            let name = role.name();
            findings.push(Finding::warning(
                "special-token-missing",
                format!("the GGUF has no `tokenizer.ggml.{name}_token_id`; llama.cpp takes token 11 for it"),
            ));
        }
    }
    let forced = |id: &usize| {
        vocabulary.token_type(*id) == Some(TokenType::Normal) && tokens.get(*id).is_some_and(|text| is_end_text(text))
    };
    for id in (0..tokens.len()).filter(forced) {
        findings.push(Finding::note(
            "control-by-text",
            format!(
                "token {id} `{}` is a plain piece here; llama.cpp takes it for a control token by its text",
                tokens[id]
            ),
        ));
    }
}

/// Whether texts begin with BOS; `implied` is what llama.cpp does for this kind of vocabulary where nothing is said.
fn adds_bos(vocabulary: &GgufVocabulary, implied: bool, kind: &str, findings: &mut Vec<Finding>) -> bool {
    vocabulary.adds(Role::Bos).unwrap_or_else(|| {
        if implied {
            findings.push(Finding::note(
                "add-bos-default",
                format!("the GGUF does not say whether texts begin with BOS; for `{kind}` llama.cpp adds it"),
            ));
        }
        implied
    })
}

fn added_token(id: usize, text: &str, special: bool) -> Value {
    json!({
        "id": id,
        "content": text,
        "single_word": false,
        "lstrip": false,
        "rstrip": false,
        "normalized": false,
        "special": special,
    })
}

/// Puts BOS before and EOS after a text where llama.cpp does.
fn template_processing(vocabulary: &GgufVocabulary, tokens: &[String], add_bos: bool) -> Value {
    let token = |role: Role, add: bool| {
        let id = vocabulary.special_id(role).filter(|_| add)?;
        Some((id, tokens.get(id as usize)?))
    };
    let bos = token(Role::Bos, add_bos);
    let eos = token(Role::Eos, vocabulary.adds(Role::Eos).unwrap_or(false));
    if bos.is_none() && eos.is_none() {
        return Value::Null;
    }
    let special = |entry: Option<(u32, &String)>, segment: u32| {
        entry.map(|(_, text)| json!({"SpecialToken": {"id": text, "type_id": segment}}))
    };
    let text = |name: &str, segment: u32| json!({"Sequence": {"id": name, "type_id": segment}});
    let sequence = |name: &str, segment: u32| {
        let around = special(bos, segment).into_iter().chain([text(name, segment)]).chain(special(eos, segment));
        around.collect::<Vec<_>>()
    };
    let single = sequence("A", 0);
    let pair: Vec<Value> = match vocabulary.adds(Role::Sep) {
        Some(false) => single.iter().cloned().chain(sequence("B", 1)).collect(),
        _ => special(bos, 0).into_iter().chain([text("A", 0), text("B", 1)]).chain(special(eos, 1)).collect(),
    };
    let mut special_tokens = Map::new();
    for (id, text) in [bos, eos].into_iter().flatten() {
        special_tokens.insert(text.clone(), json!({"id": text, "ids": [id], "tokens": [text]}));
    }
    json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special_tokens})
}

/// JSON as the tokenizers crate writes it.
fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}").into_bytes()
}
