//! Pre-tokenizers of byte-level BPE: llama.cpp knows them by name, `tokenizer.json` spells them out.
//!
//! [`KNOWN`] is the table between the two. A name is found by comparing structure (normalizer, splits, `ignore_merges`),
//! never by a hash of encoded text. What each name computes is `llama-vocab.cpp`'s; the regular expressions here are
//! the published ones, of which llama.cpp has equal rewritings.

use serde_json::{Value, json};

/// tiktoken's cl100k expression as Llama 3, DBRX and Granite 4 publish it: digits in groups of up to three.
const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The same with single digits, as Qwen publishes it.
const CL100K_SINGLE_DIGITS: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// GPT-2's expression, which `ByteLevel` applies itself when it is asked to.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// llama.cpp's own splits where a file names none. No published tokenizer has them.
const DEFAULT_SPLITS: [&str; 4] = [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"];

/// One step of a pre-tokenizer. Offsets (`trim_offsets`) do not change ids and are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Cuts the text into matches of an expression and what lies between them.
    Split(&'static str),
    /// Every digit by itself.
    Digits,
    /// Bytes to printable characters, with GPT-2's expression first or without.
    ByteLevel { gpt2_split: bool },
}

impl Step {
    fn to_json(&self) -> Value {
        match self {
            Self::Split(regex) => {
                json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
            }
            Self::Digits => json!({"type": "Digits", "individual_digits": true}),
            Self::ByteLevel { gpt2_split } => {
                json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": gpt2_split})
            }
        }
    }

    fn matches(&self, json: &Value) -> bool {
        match self {
            Self::Split(regex) => {
                json["type"] == "Split"
                    && json["pattern"]["Regex"] == *regex
                    && json["behavior"] == "Isolated"
                    && json["invert"] == false
            }
            Self::Digits => json["type"] == "Digits" && json["individual_digits"] == true,
            Self::ByteLevel { gpt2_split } => {
                // Files from before the field existed mean the expression.
                let use_regex = json.get("use_regex").and_then(Value::as_bool).unwrap_or(true);
                json["type"] == "ByteLevel" && json["add_prefix_space"] == false && use_regex == *gpt2_split
            }
        }
    }
}

/// What a pre-tokenizer does with text before it is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// Nothing.
    None,
    /// Unicode's composed form. llama.cpp does not do it: ids differ on text that is not composed.
    Nfc,
}

/// A byte-level BPE pre-tokenizer under the name that llama.cpp gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreTokenizer {
    /// llama.cpp's `tokenizer.ggml.pre`.
    pub name: &'static str,
    /// Other names under which llama.cpp computes the same.
    pub aliases: &'static [&'static str],
    /// A whole piece that is in the vocabulary is taken without looking at merges.
    pub ignore_merges: bool,
    /// What llama.cpp does where the file has no `tokenizer.ggml.add_bos_token`.
    pub add_bos: bool,
    /// Of the text, in transformers.
    pub normalization: Normalization,
    /// Decoding drops the space before punctuation; the one thing that tells `refact` from `smollm`.
    pub clean_spaces: bool,
    steps: &'static [Step],
}

const CL100K_STEPS: &[Step] = &[Step::Split(CL100K), Step::ByteLevel { gpt2_split: false }];
const DIGITS_STEPS: &[Step] = &[Step::Digits, Step::ByteLevel { gpt2_split: true }];

const BASE: PreTokenizer = PreTokenizer {
    name: "gpt-2",
    aliases: &["phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "gigachat", "mellum"],
    ignore_merges: false,
    add_bos: false,
    normalization: Normalization::None,
    clean_spaces: true,
    steps: &[Step::ByteLevel { gpt2_split: true }],
};

/// Every pre-tokenizer that is read and written. Of names with one structure the first is the one that is written.
pub const KNOWN: &[PreTokenizer] = &[
    PreTokenizer {
        name: "llama-bpe",
        aliases: &["llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        ignore_merges: true,
        add_bos: true,
        steps: CL100K_STEPS,
        ..BASE
    },
    PreTokenizer { name: "dbrx", aliases: &[], steps: CL100K_STEPS, ..BASE },
    PreTokenizer { name: "smaug-bpe", aliases: &[], steps: CL100K_STEPS, ..BASE },
    PreTokenizer {
        name: "qwen2",
        aliases: &["deepseek-r1-qwen", "kormo", "f2llmv2", "megrez"],
        normalization: Normalization::Nfc,
        clean_spaces: false,
        steps: &[Step::Split(CL100K_SINGLE_DIGITS), Step::ByteLevel { gpt2_split: false }],
        ..BASE
    },
    PreTokenizer { name: "smollm", aliases: &[], clean_spaces: false, steps: DIGITS_STEPS, ..BASE },
    PreTokenizer {
        name: "refact",
        aliases: &["starcoder", "codeshell", "exaone", "minerva-7b", "mellum2"],
        steps: DIGITS_STEPS,
        ..BASE
    },
    BASE,
    PreTokenizer {
        name: DEFAULT,
        aliases: &[],
        steps: &[
            Step::Split(DEFAULT_SPLITS[0]),
            Step::Split(DEFAULT_SPLITS[1]),
            Step::Split(DEFAULT_SPLITS[2]),
            Step::Split(DEFAULT_SPLITS[3]),
            Step::ByteLevel { gpt2_split: false },
        ],
        ..BASE
    },
];

/// llama.cpp's name for what it does where a file names no pre-tokenizer.
pub const DEFAULT: &str = "default";

/// A structure that has no name.
#[derive(Debug, thiserror::Error)]
pub enum PreTokenizerError {
    /// No row of [`KNOWN`] has this structure.
    #[error(
        "pre-tokenizer not recognised: normalizer {normalizer}, pre-tokenizer {pre_tokenizer}, ignore_merges \
         {ignore_merges} (hint: known are {}; where llama.cpp computes the same under a name, give it as `pre`)",
        names().join(", ")
    )]
    Unrecognised {
        /// `normalizer` as the file has it.
        normalizer: String,
        /// `pre_tokenizer` as the file has it.
        pre_tokenizer: String,
        /// `model.ignore_merges`.
        ignore_merges: bool,
    },
    /// A name that the table lacks.
    #[error("pre-tokenizer `{name}` is not known (hint: known are {}; override it with `pre`)", names().join(", "))]
    UnknownName {
        /// llama.cpp's name, or the override.
        name: String,
    },
}

/// The names that are written.
fn names() -> Vec<&'static str> {
    KNOWN.iter().map(|known| known.name).collect()
}

impl PreTokenizer {
    /// Finds a pre-tokenizer by the name in a GGUF.
    ///
    /// # Errors
    /// [`PreTokenizerError::UnknownName`].
    pub fn by_name(name: &str) -> Result<&'static Self, PreTokenizerError> {
        KNOWN
            .iter()
            .find(|known| known.name == name || known.aliases.contains(&name))
            .ok_or_else(|| PreTokenizerError::UnknownName { name: name.into() })
    }

    /// Finds the pre-tokenizer of a `tokenizer.json` by its structure.
    ///
    /// `clean_spaces` is `clean_up_tokenization_spaces` of the configuration, for names that differ in nothing else.
    ///
    /// # Errors
    /// [`PreTokenizerError::Unrecognised`].
    pub fn recognise(tokenizer: &Value, clean_spaces: bool) -> Result<&'static Self, PreTokenizerError> {
        let ignore_merges = tokenizer["model"]["ignore_merges"].as_bool().unwrap_or(false);
        let steps = flatten(&tokenizer["pre_tokenizer"], "pretokenizers");
        let normalizers = flatten(&tokenizer["normalizer"], "normalizers");
        let same = |known: &&Self| {
            known.ignore_merges == ignore_merges
                && known.accepts(&normalizers)
                && known.steps.len() == steps.len()
                && known.steps.iter().zip(&steps).all(|(step, json)| step.matches(json))
        };
        let mut candidates = KNOWN.iter().filter(same);
        let first = candidates.next();
        let exact = first.into_iter().chain(candidates).find(|known| known.clean_spaces == clean_spaces);
        exact.or(first).ok_or_else(|| PreTokenizerError::Unrecognised {
            normalizer: tokenizer["normalizer"].to_string(),
            pre_tokenizer: tokenizer["pre_tokenizer"].to_string(),
            ignore_merges,
        })
    }

    /// Whether a file with these normalizers may carry this name. llama.cpp never normalizes, so a file without NFC
    /// is `qwen2` too.
    fn accepts(&self, normalizers: &[&Value]) -> bool {
        match (self.normalization, normalizers) {
            (_, []) => true,
            (Normalization::Nfc, [only]) => only["type"] == "NFC",
            _ => false,
        }
    }

    /// The `normalizer` of a `tokenizer.json`.
    pub fn normalizer_json(&self) -> Value {
        match self.normalization {
            Normalization::None => Value::Null,
            Normalization::Nfc => json!({"type": "NFC"}),
        }
    }

    /// The `pre_tokenizer` of a `tokenizer.json`.
    pub fn to_json(&self) -> Value {
        match self.steps {
            [only] => only.to_json(),
            steps => {
                let steps: Vec<Value> = steps.iter().map(Step::to_json).collect();
                json!({"type": "Sequence", "pretokenizers": steps})
            }
        }
    }
}

/// The members of a possibly nested `Sequence`; nothing of null.
fn flatten<'a>(json: &'a Value, members: &str) -> Vec<&'a Value> {
    match json {
        Value::Null => Vec::new(),
        _ if json["type"] == "Sequence" => {
            json[members].as_array().into_iter().flatten().flat_map(|member| flatten(member, members)).collect()
        }
        _ => vec![json],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(pre: &PreTokenizer) -> Value {
        json!({
            "normalizer": pre.normalizer_json(),
            "pre_tokenizer": pre.to_json(),
            "model": {"ignore_merges": pre.ignore_merges},
        })
    }

    #[test]
    fn every_written_structure_is_found_again() {
        for known in KNOWN {
            let found = PreTokenizer::recognise(&file(known), known.clean_spaces).unwrap();
            assert_eq!(found.steps, known.steps);
            assert_eq!((found.ignore_merges, found.clean_spaces), (known.ignore_merges, known.clean_spaces));
            assert_eq!(PreTokenizer::by_name(known.name).unwrap(), known);
        }
    }

    #[test]
    fn digits_structure_is_told_apart_by_clean_spaces() {
        let json = file(PreTokenizer::by_name("smollm").unwrap());
        assert_eq!(PreTokenizer::recognise(&json, false).unwrap().name, "smollm");
        assert_eq!(PreTokenizer::recognise(&json, true).unwrap().name, "refact");
    }

    #[test]
    fn unknown_structure_says_what_was_seen() {
        let mut json = file(PreTokenizer::by_name("dbrx").unwrap());
        json["normalizer"] = json!({"type": "Lowercase"});
        let message = PreTokenizer::recognise(&json, true).unwrap_err().to_string();
        assert!(
            message.contains("Lowercase") && message.contains("llama-bpe") && message.contains("`pre`"),
            "{message}"
        );
        assert!(PreTokenizer::by_name("tekken").unwrap_err().to_string().contains("`tekken`"));
    }
}
