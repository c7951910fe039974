//! The texts that a message can point into: the pipeline file and each `--set` flag.

use std::ops::Range;

/// One text and the name it is shown under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// A path, or `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A range of bytes in one of the [`Sources`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Which text.
    pub source: usize,
    /// Which bytes of it.
    pub range: Range<usize>,
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

impl<T> Located<T> {
    /// Puts a value and its place together.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// All texts of one pipeline; the file comes first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Adds a text and returns its number.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> usize {
        self.0.push(Source { name: name.into(), text: text.into() });
        self.0.len() - 1
    }

    /// The text that `span` points into.
    pub fn of(&self, span: &Span) -> &Source {
        &self.0[span.source]
    }
}
