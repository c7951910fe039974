//! Everything that can be wrong with a pipeline, as data, and how it is shown.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use thiserror::Error;

use super::names::{listed, nearest};
use super::source::{Located, Sources};

/// One mistake in a pipeline file or a `--set` flag.
#[derive(Debug, Clone, PartialEq, Error)]
#[allow(missing_docs)]
pub enum Problem {
    #[error("{message}")]
    Syntax { message: String },
    #[error("`schema = {got}` is not a version that this host reads")]
    SchemaVersion { got: String },
    #[error("{table} has no key `{key}`")]
    UnknownKey { key: String, table: String, known: Vec<String> },
    #[error("{table} needs `{key}`")]
    MissingKey { key: String, table: String, example: String },
    #[error("`{key}` is {got}, expected {expected}")]
    WrongType { key: String, got: &'static str, expected: &'static str },
    #[error("{what} is not there yet")]
    NotYet { what: String, help: String },
    #[error("`{name}` is no name for a stage")]
    BadStageName { name: String },
    #[error("a flag is written `key=value`, got `{text}`")]
    FlagWithoutValue { text: String },
    #[error("`${{{name}}}` names no variable")]
    UnknownVariable { name: String, known: Vec<String> },
    #[error("a `${{` without its `}}`")]
    OpenVariable,
    #[error("variable `{name}` is {got}, which is not a piece of text")]
    VariableInText { name: String, got: &'static str },
    #[error("a variable's value refers to another variable")]
    VariableInVariable,
    #[error("`{key}` stands under `with`, but belongs to the stage itself")]
    StageKeyUnderWith { stage: String, key: String },
    #[error("no plugin offers a stage `{uses}`")]
    UnknownUses { uses: String, known: Vec<String> },
    #[error("several plugins offer the stage `{uses}`")]
    AmbiguousUses { uses: String, choices: Vec<String> },
    #[error("there is no stage `{name}` in this pipeline")]
    UnknownStage { name: String, known: Vec<String> },
    #[error("stage `{stage}` has no output `{output}`")]
    UnknownOutput { stage: String, output: String, known: Vec<String> },
    #[error("stage `{stage}` gives no output, so it can't be an input")]
    NoOutput { stage: String },
    #[error("`{uses}` has no input `{port}`")]
    UnknownInput { uses: String, port: String, known: Vec<String> },
    #[error("stage `{stage}` misses the input `{port}`")]
    MissingInput { stage: String, port: String, kind: String, summary: String },
    #[error("input `{port}` takes {expected}, but `{from}` is {got}")]
    WrongKind { port: String, from: String, got: String, expected: String },
    #[error("the stages depend on each other in a circle: {}", .path.join(" → "))]
    Cycle { path: Vec<String> },
    #[error("`{uses}` has no parameter `{name}`")]
    UnknownParameter { uses: String, name: String, known: Vec<String> },
    #[error("`{uses}` needs the parameter `{name}`")]
    MissingParameter { uses: String, name: String, summary: String },
    #[error("`{name}` is {got}, expected {expected}")]
    BadParameter { name: String, got: String, expected: String },
    #[error("the parameter schema of `{uses}` is broken: {message}")]
    BadSchema { uses: String, message: String },
    #[error("there is no file or directory `{}`", .path.display())]
    MissingPath { path: std::path::PathBuf },
    #[error("`{}` is neither a file nor a directory", .path.display())]
    NoFile { path: std::path::PathBuf },
}

impl Problem {
    /// What to do about it, where there is something to say.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::SchemaVersion { .. } => Some("write `schema = 1`".into()),
            Self::UnknownKey { key, known, .. } => Some(among(key, known, "keys")),
            Self::MissingKey { example, .. } => Some(format!("write `{example}`")),
            Self::NotYet { help, .. } => Some(help.clone()),
            Self::BadStageName { .. } => Some("use letters, digits, `-` and `_`".into()),
            Self::FlagWithoutValue { .. } => Some("for example `--set stages.train.with.rank=8`".into()),
            Self::UnknownVariable { name, known } => Some(match known.as_slice() {
                [] => format!("there is no `[vars]` table; write `$${{{name}}}` for the text itself"),
                _ => among(name, known, "variables"),
            }),
            Self::OpenVariable => Some("write `$${` for the text itself".into()),
            Self::VariableInText { .. } => Some("such a variable can only stand alone, as `\"${…}\"`".into()),
            Self::VariableInVariable => Some("write the value out; `$${` stands for the text itself".into()),
            Self::StageKeyUnderWith { stage, key } => Some(format!(
                "move it up to `[stages.{stage}]`: keys after `[stages.{stage}.with]` belong to that table, so `{key}` must stand before it"
            )),
            Self::UnknownUses { uses, known } => Some(match known.as_slice() {
                [] => "no plugin was found at all; see `host plugins list` and `--plugins DIR`".into(),
                _ => among(uses, known, "stages"),
            }),
            Self::AmbiguousUses { choices, .. } => Some(format!("choose one of {}", listed(choices))),
            Self::UnknownStage { name, known } => Some(among(name, known, "stages")),
            Self::UnknownOutput { output, known, .. } => Some(among(output, known, "outputs")),
            Self::UnknownInput { port, known, .. } => Some(match known.as_slice() {
                [] => "it takes no inputs".into(),
                _ => among(port, known, "inputs"),
            }),
            Self::MissingInput { port, kind, summary, .. } => {
                Some(format!("add `inputs = {{ {port} = \"…\" }}`, {}{}", article(kind), after_colon(summary)))
            }
            Self::UnknownParameter { name, known, .. } => Some(match known.as_slice() {
                [] => "it takes no parameters".into(),
                _ => among(name, known, "parameters"),
            }),
            Self::MissingParameter { name, summary, .. } => {
                Some(format!("add `{name} = …` under `with`{}", after_colon(summary)))
            }
            Self::MissingPath { .. } => Some("paths are relative to the pipeline file".into()),
            Self::BadSchema { .. } => Some("this is a fault of the plugin, not of the pipeline".into()),
            Self::Syntax { .. }
            | Self::WrongType { .. }
            | Self::NoOutput { .. }
            | Self::WrongKind { .. }
            | Self::Cycle { .. }
            | Self::BadParameter { .. }
            | Self::NoFile { .. } => None,
        }
    }
}

/// The known names, and the one that was probably meant.
fn among(name: &str, known: &[String], what: &str) -> String {
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`? known {what}: {}", listed(known)),
        None => format!("known {what}: {}", listed(known)),
    }
}

/// A kind as a noun: "an adapter", "a model".
pub fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}

fn after_colon(summary: &str) -> String {
    if summary.is_empty() { String::new() } else { format!(": {summary}") }
}

/// All mistakes of one pipeline, with the texts that they point into.
#[derive(Debug, Clone, PartialEq)]
pub struct Problems {
    /// The texts.
    pub sources: Sources,
    /// The mistakes, at least one.
    pub list: Vec<Located<Problem>>,
}

impl Problems {
    /// All messages with line and caret; `styled` is for a terminal.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for problem in &self.list {
            out += &renderer.render(&[self.group(problem)]);
            out += "\n\n";
        }
        out
    }

    /// All messages for scripts; lines and columns count from 1.
    pub fn to_json(&self) -> serde_json::Value {
        let entry = |problem: &Located<Problem>| {
            let source = self.sources.of(&problem.span);
            let before = &source.text[..problem.span.range.start.min(source.text.len())];
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            serde_json::json!({
                "message": problem.value.to_string(),
                "help": problem.value.help(),
                "source": source.name,
                "line": before.matches('\n').count() + 1,
                "column": before[line_start..].chars().count() + 1,
            })
        };
        self.list.iter().map(entry).collect()
    }

    fn group<'a>(&'a self, problem: &'a Located<Problem>) -> annotate_snippets::Group<'a> {
        let source = self.sources.of(&problem.span);
        let range = problem.span.range.start.min(source.text.len())..problem.span.range.end.min(source.text.len());
        let snippet = Snippet::source(source.text.as_str())
            .path(source.name.as_str())
            .annotation(AnnotationKind::Primary.span(range));
        let group = Level::ERROR.primary_title(problem.value.to_string()).element(snippet);
        match problem.value.help() {
            Some(help) => group.element(Level::HELP.message(help)),
            None => group,
        }
    }
}

impl std::fmt::Display for Problems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Problems {}
