//! Patterns in Python's dialect.

use fancy_regex::{Captures, Regex};

use super::Problem;

/// A pattern, and where it was given.
#[derive(Debug)]
pub(super) struct Pattern {
    key: &'static str,
    given: String,
    regex: Regex,
}

impl Pattern {
    /// One that a whole name must be, as `re.fullmatch` has it.
    pub(super) fn whole(key: &'static str, given: &str) -> Result<Self, Problem> {
        Self::new(key, given, &format!("^(?:{given})$"))
    }

    /// One that a name must begin with, as `re.match` has it: `expression` is made of what was given.
    pub(super) fn at_start(key: &'static str, given: &str, expression: &str) -> Result<Self, Problem> {
        Self::new(key, given, &format!("^(?:{expression})"))
    }

    fn new(key: &'static str, given: &str, expression: &str) -> Result<Self, Problem> {
        let regex = Regex::new(expression).map_err(|source| unusable(key, given, source))?;
        Ok(Self { key, given: given.to_owned(), regex })
    }

    /// PEFT's rule for ranks and alphas: the whole name, or the end of it behind a dot.
    pub(super) fn ending(key: &'static str, given: &str) -> Result<Self, Problem> {
        Self::new(key, given, &format!(r"^(.*\.)?({given})$"))
    }

    /// Whether it fits; an error where that takes too long to tell.
    pub(super) fn fits(&self, name: &str) -> Result<bool, Problem> {
        self.regex.is_match(name).map_err(|source| unusable(self.key, &self.given, source))
    }

    /// Its groups in a name that it fits.
    pub(super) fn groups<'n>(&self, name: &'n str) -> Result<Option<Captures<'n>>, Problem> {
        self.regex.captures(name).map_err(|source| unusable(self.key, &self.given, source))
    }
}

/// A pattern that is none, or takes too long.
fn unusable(key: &'static str, given: &str, source: fancy_regex::Error) -> Problem {
    Problem::Pattern { key, pattern: given.to_owned(), reason: source.to_string() }
}
