//! Where in a rendered chat the assistant speaks.
//!
//! A template with `{% generation %}` blocks says so itself. Without them a turn is found by rendering the chat again
//! with other words in that turn: what the renderings have in common before and after is not the turn's. Two sets of
//! other words, which begin and end differently, keep a letter that happens to be the same from moving the border.

use std::ops::Range;

use serde_json::{Map, Value};

use crate::chat_template::{ChatTemplate, ChatTemplateError, Conversation};

/// Begin and end with different letters.
const PROBES: [&str; 2] = ["Quoted words here", "Words in another order"];

/// One turn of the assistant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    /// Its message; `None` where a generation block was taken, which names none.
    pub message: Option<usize>,
    /// Bytes of the rendered text.
    pub span: Range<usize>,
    /// Bytes of the text up to the end of this message, where that is a prefix of the whole.
    pub limit: Option<usize>,
}

/// Indices of the assistant's messages from `learn_from` on.
pub(super) fn assistant_messages(conversation: &Conversation, learn_from: usize) -> Vec<usize> {
    let is_assistant = |index: &usize| conversation.messages[*index]["role"] == "assistant";
    (learn_from..conversation.messages.len()).filter(is_assistant).collect()
}

/// Finds the span of message `index` in `text`, the rendering of the whole conversation.
pub(super) fn find_turn(
    template: &ChatTemplate,
    conversation: &Conversation,
    index: usize,
    text: &str,
) -> Result<Turn, ChatTemplateError> {
    let (mut before, mut after) = (text.len(), text.len());
    for probe in PROBES {
        let mut other = conversation.clone();
        other.messages[index] = with_words(&conversation.messages[index], probe);
        let other = template.render(&other, false)?;
        before = before.min(common_prefix(text, &other));
        after = after.min(common_suffix(text, &other));
    }
    let after = after.min(text.len() - before);
    let mut span = before..text.len() - after;
    let message = &conversation.messages[index];
    if let Some(prompt) = prompt_before(template, conversation, index).filter(|prompt| text.starts_with(prompt)) {
        // What stands round a call or a thought is the assistant's as well: it begins where the prompt ends. So is
        // white space that a template puts before an answer: a deployed model has to say it, and SentencePiece makes
        // one piece of it and the first word.
        let is_space = text.get(prompt.len()..span.start).is_some_and(|between| between.trim().is_empty());
        if is_space || !message["tool_calls"].is_null() || has_reasoning(message) {
            span.start = span.start.min(prompt.len());
        }
    }
    let upto = Conversation { messages: conversation.messages[..=index].to_vec(), ..conversation.clone() };
    let limit = template.render(&upto, false).ok().filter(|upto| text.starts_with(upto.as_str()));
    Ok(Turn { message: Some(index), span, limit: limit.map(|upto| upto.len()) })
}

/// The prompt that a deployed model gets before it says message `index`. `None` where the template refuses it.
pub(super) fn prompt_before(template: &ChatTemplate, conversation: &Conversation, index: usize) -> Option<String> {
    let upto = Conversation { messages: conversation.messages[..index].to_vec(), ..conversation.clone() };
    template.render(&upto, true).ok()
}

const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

fn has_reasoning(message: &Value) -> bool {
    REASONING.iter().any(|field| message[*field].is_string())
}

/// The message with other words wherever the assistant's own are.
fn with_words(message: &Value, words: &str) -> Value {
    let mut message = message.clone();
    match &mut message["content"] {
        Value::String(content) => *content = words.into(),
        Value::Array(parts) => {
            for part in parts.iter_mut().filter(|part| part["text"].is_string()) {
                part["text"] = words.into();
            }
        }
        _ => {}
    }
    for field in REASONING {
        if message[field].is_string() {
            message[field] = words.into();
        }
    }
    let Some(fields) = message.as_object_mut() else { return message };
    fields.retain(|_, value| !value.is_null());
    for call in fields.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        let function = if call["function"].is_object() { &mut call["function"] } else { call };
        if let Some(function) = function.as_object_mut() {
            call_with_words(function, words);
        }
    }
    message
}

fn call_with_words(function: &mut Map<String, Value>, words: &str) {
    function.insert("name".into(), words.into());
    let arguments = match function.get("arguments") {
        Some(Value::String(_)) => Value::from(words),
        _ => Value::Object(Map::from_iter([(words.to_owned(), words.into())])),
    };
    function.insert("arguments".into(), arguments);
}

/// Length in bytes, at a border between characters of `a`.
fn common_prefix(a: &str, b: &str) -> usize {
    let same = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    (0..=same).rev().find(|at| a.is_char_boundary(*at)).unwrap_or(0)
}

fn common_suffix(a: &str, b: &str) -> usize {
    let same = a.bytes().rev().zip(b.bytes().rev()).take_while(|(x, y)| x == y).count();
    (0..=same).rev().find(|length| a.is_char_boundary(a.len() - length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}\
                          {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    fn spoken(contents: &[&str]) -> Vec<String> {
        let template = ChatTemplate::new(CHATML, Vec::new()).unwrap();
        let message =
            |(i, content): (usize, &&str)| json!({"role": (["user", "assistant"][i % 2]), "content": content});
        let messages = contents.iter().enumerate().map(message).collect();
        let conversation = Conversation { messages, ..Conversation::default() };
        let text = template.render(&conversation, false).unwrap();
        let find = |index| find_turn(&template, &conversation, index, &text).unwrap();
        assistant_messages(&conversation, 0).into_iter().map(find).map(|turn| text[turn.span].to_owned()).collect()
    }

    #[test]
    fn turns_are_found_whatever_they_begin_and_end_with() {
        assert_eq!(spoken(&["hi", "Quite", "ho", " Wider "]), ["Quite", "Wider"]);
        assert_eq!(spoken(&["same", "same", "same", "same"]), ["same", "same"]);
        assert_eq!(spoken(&["é", "èé", "x", ""]), ["èé", ""]);
        assert_eq!(spoken(&["x", "<|im_end|>\n<|im_start|>user\nx"]), ["<|im_end|>\n<|im_start|>user\nx"]);
    }
}
