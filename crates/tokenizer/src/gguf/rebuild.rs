//! From a GGUF's vocabulary back to Hugging Face files whose ids are llama.cpp's.
//!
//! Texts of type 1 and 6 are the model's pieces, 2, 3 and 4 added tokens, 5 rows without a token. What the GGUF does
//! not hold (`lstrip` and kin, `model_max_length`, the pair template) gets the value that llama.cpp's own tokenizer
//! amounts to.
//!
//! What the GGUF leaves unsaid stays unsaid where the files can do so, so that converting them gives the same keys
//! again. The one exception: where llama.cpp puts BOS before a text without being told, the files must say it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{GgufVocabulary, TokenType, VocabularyKind};
use crate::eog::is_end_text;
use crate::finding::Finding;
use crate::hf_files::{self, HfFiles, HfFilesError};
use crate::pre_tokenizer::{self, PreTokenizer, PreTokenizerError};
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
    #[error("not yet supported: {} vocabulary, `tokenizer.ggml.model` is `{model}` (hint: byte-level BPE, `gpt2`, can be read)", kind.name())]
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
    /// Things to tell the user.
    pub findings: Vec<Finding>,
}

/// Makes Hugging Face files of a GGUF's vocabulary.
///
/// # Errors
/// [`RebuildError`].
pub fn rebuild(vocabulary: &GgufVocabulary, options: &RebuildOptions<'_>) -> Result<Rebuilt, RebuildError> {
    let kind = vocabulary.kind();
    if kind != VocabularyKind::ByteLevelBpe {
        return Err(RebuildError::Unsupported { model: vocabulary.model.clone(), kind });
    }
    let mut findings = Vec::new();
    let tokens = token_texts(vocabulary)?;
    let pre = pre_tokenizer(vocabulary, options, &mut findings)?;
    note_special_cases(vocabulary, &tokens, &mut findings);
    let add_bos = adds_bos(vocabulary, pre, &mut findings);
    let tokenizer = match &vocabulary.huggingface_json {
        Some(json) => json.clone().into_bytes(),
        None => pretty(&tokenizer_json(vocabulary, &tokens, pre, add_bos, &mut findings)?),
    };
    let files = [
        (hf_files::TOKENIZER, tokenizer),
        (hf_files::TOKENIZER_CONFIG, pretty(&tokenizer_config(vocabulary, &tokens, options, pre, add_bos))),
        (hf_files::SPECIAL_TOKENS_MAP, pretty(&Value::Object(role_texts(vocabulary, &tokens)))),
        (hf_files::GENERATION_CONFIG, pretty(&generation_config(vocabulary, &tokens))),
    ];
    let files = HfFiles::from_files(files.map(|(name, bytes)| (name.to_owned(), bytes)))?;
    Ok(Rebuilt { files, findings })
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

fn pre_tokenizer(
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

fn adds_bos(vocabulary: &GgufVocabulary, pre: &PreTokenizer, findings: &mut Vec<Finding>) -> bool {
    vocabulary.adds(Role::Bos).unwrap_or_else(|| {
        if pre.add_bos {
            findings.push(Finding::note(
                "add-bos-default",
                format!("the GGUF does not say whether texts begin with BOS; for `{}` llama.cpp adds it", pre.name),
            ));
        }
        pre.add_bos
    })
}

fn tokenizer_json(
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

/// Puts BOS before and EOS after a text where llama.cpp does.
///
/// The form is that of published files as far as it says no more than the GGUF: to llama.cpp's converter a `ByteLevel`
/// step is a word on both ends of a text, and what stands between a pair is one on separators.
fn post_processor(vocabulary: &GgufVocabulary, tokens: &[String], add_bos: bool) -> Value {
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
    let template =
        json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special_tokens});
    if vocabulary.adds(Role::Bos).and(vocabulary.adds(Role::Eos)).is_none() {
        return template;
    }
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true});
    json!({"type": "Sequence", "processors": [bytes, template]})
}

/// `bos_token` and kin, for the roles that transformers knows.
fn role_texts(vocabulary: &GgufVocabulary, tokens: &[String]) -> Map<String, Value> {
    let mut texts = Map::new();
    for role in Role::NAMED {
        if let Some(text) = vocabulary.special_id(role).and_then(|id| tokens.get(id as usize)) {
            texts.insert(format!("{}_token", role.name()), text.as_str().into());
        }
    }
    texts
}

fn tokenizer_config(
    vocabulary: &GgufVocabulary,
    tokens: &[String],
    options: &RebuildOptions<'_>,
    pre: &PreTokenizer,
    add_bos: bool,
) -> Value {
    let mut config = Map::new();
    let bos = vocabulary.adds(Role::Bos).or(add_bos.then_some(true));
    for (role, add) in
        [(Role::Bos, bos), (Role::Eos, vocabulary.adds(Role::Eos)), (Role::Sep, vocabulary.adds(Role::Sep))]
    {
        if let Some(add) = add {
            config.insert(format!("add_{}_token", role.name()), add.into());
        }
    }
    if let Some(add) = vocabulary.add_space_prefix {
        config.insert("add_prefix_space".into(), add.into());
    }
    config.extend(role_texts(vocabulary, tokens));
    let templates = &vocabulary.chat_templates;
    match (templates.as_slice(), vocabulary.chat_template()) {
        ([], _) => {}
        ([_], Some(source)) => drop(config.insert("chat_template".into(), source.into())),
        (named, _) => {
            let named: Vec<Value> = named.iter().map(|t| json!({"name": t.name, "template": t.source})).collect();
            config.insert("chat_template".into(), named.into());
        }
    }
    config.insert("clean_up_tokenization_spaces".into(), pre.clean_spaces.into());
    if let Some(length) = options.context_length {
        config.insert("model_max_length".into(), length.into());
    }
    // The generic class takes `tokenizer.json` as it is; the classes of single models rebuild parts of it.
    config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    Value::Object(config)
}

/// Where generation starts and stops. The GGUF names few end tokens; the others are those that llama.cpp stops at by
/// their text, without the separators of fill-in-the-middle prompts.
fn generation_config(vocabulary: &GgufVocabulary, tokens: &[String]) -> Value {
    let id = |role: Role| vocabulary.special_id(role).map(Value::from);
    let control = |id: &usize| vocabulary.token_type(*id) == Some(TokenType::Control) && is_end_text(&tokens[*id]);
    let mut ends: BTreeSet<usize> = (0..tokens.len()).filter(control).collect();
    let named = [Role::Eos, Role::Eot, Role::Eom].into_iter().filter_map(|role| vocabulary.special_id(role));
    ends.extend(named.map(|id| id as usize));
    let ends = match ends.len() {
        0 | 1 => ends.first().map(|id| Value::from(*id)),
        _ => Some(ends.into_iter().collect::<Vec<_>>().into()),
    };
    let keys = [("bos_token_id", id(Role::Bos)), ("eos_token_id", ends), ("pad_token_id", id(Role::Pad))];
    keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// JSON as the tokenizers crate writes it.
fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}").into_bytes()
}
