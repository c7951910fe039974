//! End-of-generation tokens, which llama.cpp knows by their text.
//!
//! A GGUF stores one `eos_token_id`; llama.cpp stops at every token whose text is in the lists below, which are those
//! of `llama-vocab.cpp` (`special_eog_ids`). The same rule is used for Hugging Face tokenizers, so both containers of
//! one model agree.

/// Ends a text, a turn or a message.
const END_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Separators of fill-in-the-middle prompts, at which llama.cpp stops too: padding, repository and file marks.
const FILL_IN_TEXTS: &[&str] = &[
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<PAD>",
    "[PAD]",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<REPO>",
    "<reponame>",
    "<|file_sep|>",
];

/// Whether llama.cpp takes a token of this text for the end of a turn or a text.
pub fn is_end_text(text: &str) -> bool {
    END_TEXTS.contains(&text)
}

/// Every id at which llama.cpp stops, ascending: tokens by text, and those that the file names.
///
/// `tokens` are all of the vocabulary with their ids; `stored` are the end tokens that the file names by id.
pub fn end_of_generation_ids<'a>(
    tokens: impl Iterator<Item = (u32, &'a str)>,
    stored: impl IntoIterator<Item = u32>,
) -> Vec<u32> {
    let mut ids: Vec<u32> = stored.into_iter().collect();
    let mut by_text = Vec::new();
    for (id, text) in tokens {
        if is_end_text(text) || FILL_IN_TEXTS.contains(&text) {
            ids.push(id);
            by_text.push((id, text));
        }
    }
    // Where a harmony-style vocabulary ends turns with other tokens, `<|end|>` only closes a message.
    let has = |text: &str| by_text.iter().any(|(_, found)| *found == text);
    let calls = has("<|call|>") || has("<|calls|>");
    if calls && (has("<|return|>") || has("<|flush|>")) {
        ids.retain(|id| !by_text.contains(&(*id, "<|end|>")));
    }
    if has("<|tool_response>") {
        ids.retain(|id| !by_text.contains(&(*id, "</s>")));
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_by_text_and_by_name() {
        let tokens = ["a", "<|im_end|>", "b", "<|endoftext|>", "<|file_sep|>"];
        let tokens = || (0..).zip(tokens);
        assert_eq!(end_of_generation_ids(tokens(), [2]), [1, 2, 3, 4]);
        let harmony = ["<|end|>", "<|return|>", "<|call|>"];
        assert_eq!(end_of_generation_ids((0..).zip(harmony), []), [1, 2]);
    }
}
