//! One line of a data set.

use serde_json::{Map, Value};

use crate::chat_template::Conversation;

/// What a line holds.
#[derive(Debug, Clone)]
pub enum Record {
    /// `{"messages": […], "tools": […]?, "documents": […]?, "chat_template_kwargs": {…}?}`, or a prompt and a
    /// completion that are both lists of messages.
    Chat {
        /// Messages and what the template sees beside them.
        conversation: Conversation,
        /// Messages before this one are not learned, whoever says them.
        learn_from: usize,
    },
    /// `{"prompt": "…", "completion": "…"}`
    PromptCompletion {
        /// Not learned.
        prompt: String,
        /// Learned.
        completion: String,
    },
    /// `{"text": "…"}`
    Text {
        /// Learned.
        text: String,
    },
}

/// Why a line is no record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// None of the known forms.
    #[error("keys {found:?} are no training record (hint: known are `messages`, `prompt` with `completion`, `text`)")]
    UnknownForm {
        /// The line's keys.
        found: Vec<String>,
    },
    /// A field of another type than its form has.
    #[error("`{field}` is {got}, expected {expected}")]
    Field {
        /// Name, with the position in a list.
        field: String,
        /// Its JSON type.
        got: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl Record {
    /// Reads a parsed line.
    ///
    /// # Errors
    /// [`RecordError`], with the field's name.
    pub fn from_json(line: &Value) -> Result<Self, RecordError> {
        let Some(fields) = line.as_object() else { return Err(wrong("line", line, "an object")) };
        match (fields.get("messages"), fields.get("prompt"), fields.get("completion"), fields.get("text")) {
            (Some(messages), ..) => chat(fields, message_list("messages", messages)?, 0),
            (None, Some(Value::Array(_)), Some(completion @ Value::Array(_)), _) => {
                let mut messages = message_list("prompt", &fields["prompt"])?;
                let learn_from = messages.len();
                messages.extend(message_list("completion", completion)?);
                chat(fields, messages, learn_from)
            }
            (None, Some(prompt), Some(completion), _) => Ok(Self::PromptCompletion {
                prompt: text("prompt", prompt)?,
                completion: text("completion", completion)?,
            }),
            (None, None, None, Some(content)) => Ok(Self::Text { text: text("text", content)? }),
            _ => Err(RecordError::UnknownForm { found: fields.keys().cloned().collect() }),
        }
    }
}

fn chat(fields: &Map<String, Value>, messages: Vec<Value>, learn_from: usize) -> Result<Record, RecordError> {
    let variables = match fields.get("chat_template_kwargs") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(variables)) => variables.clone(),
        Some(other) => return Err(wrong("chat_template_kwargs", other, "an object")),
    };
    let conversation = Conversation {
        messages,
        tools: optional_objects(fields, "tools")?,
        documents: optional_objects(fields, "documents")?,
        variables,
    };
    Ok(Record::Chat { conversation, learn_from })
}

fn message_list(field: &str, value: &Value) -> Result<Vec<Value>, RecordError> {
    let messages = objects(field, value)?;
    for (index, message) in messages.iter().enumerate() {
        let role = &message["role"];
        if !role.is_string() {
            return Err(wrong(&format!("{field}[{index}].role"), role, "a text such as `user`"));
        }
    }
    Ok(messages)
}

fn optional_objects(fields: &Map<String, Value>, field: &str) -> Result<Option<Vec<Value>>, RecordError> {
    fields.get(field).filter(|value| !value.is_null()).map(|value| objects(field, value)).transpose()
}

fn objects(field: &str, value: &Value) -> Result<Vec<Value>, RecordError> {
    let list = value.as_array().ok_or_else(|| wrong(field, value, "a list of objects"))?;
    match list.iter().enumerate().find(|(_, entry)| !entry.is_object()) {
        Some((index, entry)) => Err(wrong(&format!("{field}[{index}]"), entry, "an object")),
        None => Ok(list.clone()),
    }
}

fn text(field: &str, value: &Value) -> Result<String, RecordError> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(field, value, "a text"))
}

fn wrong(field: &str, got: &Value, expected: &'static str) -> RecordError {
    let got = match got {
        Value::Null => "missing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    RecordError::Field { field: field.into(), got, expected }
}
