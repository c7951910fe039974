//! Chats whose last answer is scored.
//!
//! A file has one JSON object with `messages` a line, as training data has; the last message is the answer, the rest
//! its prompt.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use stage_model::parse_json_line;

/// Why a file of chats cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The file cannot be read.
    #[error("cannot read the chats `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// A line is no chat.
    #[error("`{}`, line {line}: {reason}", path.display())]
    Line { path: PathBuf, line: usize, reason: String },
    /// There is nothing to score.
    #[error("`{}` has no chats", path.display())]
    Empty { path: PathBuf },
}

/// Training data may hold more keys, which say nothing here.
#[derive(Deserialize)]
struct Line {
    messages: Vec<Value>,
}

/// Reads a file of chats, each one's messages. Empty lines are skipped.
///
/// # Errors
/// With the number of the first line that is no chat or does not end with an answer.
pub fn read(path: &Path) -> Result<Vec<Vec<Value>>, ChatError> {
    let text = std::fs::read_to_string(path).map_err(|source| ChatError::Read { path: path.to_owned(), source })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let chats: Vec<Vec<Value>> = lines
        .map(|(index, line)| {
            parse(line).map_err(|reason| ChatError::Line { path: path.to_owned(), line: index + 1, reason })
        })
        .collect::<Result<_, _>>()?;
    if chats.is_empty() { Err(ChatError::Empty { path: path.to_owned() }) } else { Ok(chats) }
}

fn parse(line: &str) -> Result<Vec<Value>, String> {
    let line: Line = parse_json_line(line.as_bytes()).map_err(|error| error.to_string())?;
    match line.messages.as_slice() {
        [_, .., last] if last["role"] == "assistant" => Ok(line.messages),
        _ => Err("the chat does not end with an answer of `assistant` to something".into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_chat_ends_with_an_answer() {
        let good = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
        assert_eq!(parse(good).unwrap().len(), 2);
        let question_only = r#"{"messages": [{"role": "user", "content": "a"}]}"#;
        let answer_only = r#"{"messages": [{"role": "assistant", "content": "a"}]}"#;
        for bad in [question_only, answer_only, r#"{"messages": []}"#] {
            assert!(parse(bad).unwrap_err().contains("does not end with an answer"));
        }
    }

    #[test]
    fn a_bad_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("chats.jsonl");
        std::fs::write(&path, "\n{\"text\": \"a\"}\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 2: missing field `messages`"));
        std::fs::write(&path, "\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("has no chats"));
    }
}
