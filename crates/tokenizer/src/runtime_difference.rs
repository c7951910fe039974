//! On which texts a Hugging Face tokenizer's ids are not llama.cpp's for the same model.
//!
//! A model is trained on the ids of the tokenizer that its base comes with. Where a GGUF made of it is fed with other
//! ids by llama.cpp, the reader should have heard of it before.

use serde_json::Value;

use crate::eog::is_end_text;
use crate::finding::Finding;
use crate::gguf::VocabularyKind;
use crate::space_prefix::SpacePrefix;

/// What has to be known of a vocabulary beside `tokenizer.json` without its pieces.
pub(crate) struct Pieces {
    /// Tokens that are ordinary pieces, with their ids; those of the end of a turn among them matter.
    pub plain: Vec<(u32, String)>,
    /// How many bytes have no piece of their own, in a byte-level vocabulary.
    pub missing_bytes: usize,
}

/// The known classes of difference that this `tokenizer.json` has.
pub(crate) fn differences(tokenizer: &Value, kind: VocabularyKind, pieces: Pieces) -> Vec<Finding> {
    let mut findings = Vec::new();
    if kind == VocabularyKind::ByteLevelBpe && pieces.missing_bytes > 0 {
        findings.push(Finding::note(
            "missing-bytes",
            format!(
                "{} bytes have no piece, most of them control characters: both runtimes leave them out of a text, but \
                 here what stands before and behind can become one piece, in llama.cpp it cannot",
                pieces.missing_bytes
            ),
        ));
    }
    if tokenizer["normalizer"]["type"] == "NFC" {
        findings.push(Finding::note(
            "normalization",
            "the tokenizer composes Unicode (NFC) and llama.cpp does not: on text that is not composed the GGUF will \
             see other ids than those trained on",
        ));
    }
    let plain_ends = pieces.plain.into_iter().filter(|(_, text)| is_end_text(text));
    findings.extend(plain_ends.map(|(id, text)| {
        Finding::note(
            "control-by-text",
            format!(
                "token {id} `{text}` is a plain piece, which training spells from smaller ones where a text holds it; \
                 llama.cpp takes it for a control token by its text"
            ),
        )
    }));
    if kind == VocabularyKind::Spm {
        findings.extend(of_spaces(tokenizer));
    }
    findings
}

fn of_spaces(tokenizer: &Value) -> Option<Finding> {
    match SpacePrefix::of_tokenizer_json(tokenizer) {
        SpacePrefix::WhereMissing => Some(Finding::warning(
            "space-prefix",
            "llama.cpp puts a space before every stretch of text, after special tokens too; this tokenizer does it \
             only at the start of a text that begins with none. Training uses the ids of `tokenizer.json`, and the \
             GGUF will see one more space token after a special token, e.g. in `[INST] Hello` (hint: a GGUF as the \
             base is trained on llama.cpp's own ids)",
        )),
        SpacePrefix::Nowhere => Some(Finding::note(
            "written-space",
            "on text that holds the character `▁` (U+2581) itself, llama.cpp gives other ids than this tokenizer",
        )),
        SpacePrefix::Everywhere => None,
    }
}
