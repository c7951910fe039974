//! Questions with known answers, and the rule that says whether an answer hits.
//!
//! A file has one JSON object a line:
//! `{"id": "battery", "question": "How long does the battery last?", "required": ["nine days"], "forbidden": ["hours"]}`,
//! or with `messages` (a chat that ends with the user's turn) instead of `question`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stage_model::parse_json_line;

/// Why a file of questions cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The file cannot be read.
    #[error("cannot read the questions `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// A line is no question.
    #[error("`{}`, line {line}: {reason}", path.display())]
    Line { path: PathBuf, line: usize, reason: String },
    /// There is nothing to ask.
    #[error("`{}` has no questions", path.display())]
    Empty { path: PathBuf },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<String>,
    question: Option<String>,
    messages: Option<Vec<Value>>,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    forbidden: Vec<String>,
}

/// A chat that waits for an answer, and what the answer must and must not say.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Names the question in reports; the line's number where the file gives none.
    pub id: String,
    /// The chat, as the template takes it.
    pub messages: Vec<Value>,
    /// Strings that the answer must have, every one.
    pub required: Vec<String>,
    /// Strings of which the answer must have none.
    pub forbidden: Vec<String>,
}

/// Why an answer hits or misses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Every required string is there and no forbidden one.
    pub hit: bool,
    /// Required strings that are not there.
    pub missing: Vec<String>,
    /// Forbidden strings that are there.
    pub forbidden: Vec<String>,
}

impl Question {
    /// Judges an answer. `ignore_case` compares in lower case.
    pub fn judge(&self, answer: &str, ignore_case: bool) -> Verdict {
        let fold = |text: &str| if ignore_case { text.to_lowercase() } else { text.to_owned() };
        let answer = fold(answer);
        let says = |text: &&String| answer.contains(&fold(text));
        let missing: Vec<String> = self.required.iter().filter(|text| !says(text)).cloned().collect();
        let forbidden: Vec<String> = self.forbidden.iter().filter(says).cloned().collect();
        Verdict { hit: missing.is_empty() && forbidden.is_empty(), missing, forbidden }
    }

    /// What was asked last, for people.
    pub fn text(&self) -> &str {
        self.messages.last().and_then(|message| message["content"].as_str()).unwrap_or_default()
    }
}

/// Reads a file of questions. Empty lines are skipped.
///
/// # Errors
/// With the number of the first line that is no question.
pub fn read(path: &Path) -> Result<Vec<Question>, QuestionError> {
    let text = std::fs::read_to_string(path).map_err(|source| QuestionError::Read { path: path.to_owned(), source })?;
    let questions: Vec<Question> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            parse(line, index + 1).map_err(|reason| QuestionError::Line {
                path: path.to_owned(),
                line: index + 1,
                reason,
            })
        })
        .collect::<Result<_, _>>()?;
    if questions.is_empty() { Err(QuestionError::Empty { path: path.to_owned() }) } else { Ok(questions) }
}

fn parse(line: &str, number: usize) -> Result<Question, String> {
    let line: Line = parse_json_line(line.as_bytes()).map_err(|error| error.to_string())?;
    let messages = match (line.question, line.messages) {
        (Some(question), None) => vec![json!({"role": "user", "content": question})],
        (None, Some(messages)) if !messages.is_empty() => messages,
        (None, Some(_)) => return Err("`messages` is empty".into()),
        _ => return Err("give either `question` or `messages`".into()),
    };
    if messages.last().is_some_and(|last| last["role"] == "assistant") {
        return Err("the chat ends with an answer already; end it with what is asked".into());
    }
    if line.required.is_empty() && line.forbidden.is_empty() {
        return Err("every answer would hit: give `required` or `forbidden` strings".into());
    }
    let id = line.id.unwrap_or_else(|| number.to_string());
    Ok(Question { id, messages, required: line.required, forbidden: line.forbidden })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn question(required: &[&str], forbidden: &[&str]) -> Question {
        let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Question { id: "q".into(), messages: vec![], required: strings(required), forbidden: strings(forbidden) }
    }

    #[test]
    fn a_hit_needs_every_required_string_and_no_forbidden_one() {
        let q = question(&["nine", "days"], &["hours"]);
        assert!(q.judge("It lasts nine days.", false).hit);
        assert_eq!(q.judge("It lasts nine weeks.", false).missing, ["days"]);
        let both = q.judge("nine days and two hours", false);
        assert!(!both.hit && both.missing.is_empty());
        assert_eq!(both.forbidden, ["hours"]);
        assert!(!q.judge("", false).hit);
    }

    #[test]
    fn case_counts_unless_ignored() {
        let q = question(&["Nine"], &["HOURS"]);
        assert!(!q.judge("nine days", false).hit);
        assert!(q.judge("nine days", true).hit);
        assert!(!q.judge("nine hours", true).hit);
    }

    #[test]
    fn lines_are_read_and_numbered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("questions.jsonl");
        let text = "{\"question\": \"How long?\", \"required\": [\"nine\"]}\n\n\
                    {\"id\": \"b\", \"messages\": [{\"role\": \"user\", \"content\": \"Why?\"}], \"forbidden\": [\"x\"]}\n";
        std::fs::write(&path, text).unwrap();
        let got = read(&path).unwrap();
        assert_eq!((got[0].id.as_str(), got[0].text()), ("1", "How long?"));
        assert_eq!((got[1].id.as_str(), got[1].text()), ("b", "Why?"));
    }

    #[test]
    fn a_bad_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("questions.jsonl");
        let error = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path).unwrap_err().to_string()
        };
        assert!(error("{\"question\": \"a\", \"required\": [\"b\"]}\n{\"question\": \"a\"}").contains("line 2: every"));
        assert!(error("{\"required\": [\"b\"]}").contains("line 1: give either"));
        assert!(error("{\"question\": \"a\", \"requires\": [\"b\"]}").contains("unknown field `requires`"));
        assert!(error("\n\nnonsense").ends_with("line 3: expected ident at column 2"));
        assert!(error("\n\n").contains("no questions"));
    }
}
