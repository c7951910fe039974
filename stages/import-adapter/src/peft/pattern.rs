//! Patterns in Python's dialect.

use fancy_regex::{Captures, Regex};

use crate::error::ImportError;

/// A pattern, and where it was given.
#[derive(Debug)]
pub struct Pattern {
    key: &'static str,
    given: String,
    regex: Regex,
}

impl Pattern {
    /// One that a whole name must be, as `re.fullmatch` has it.
    pub fn whole(key: &'static str, given: &str) -> Result<Self, ImportError> {
        Self::new(key, given, &format!("^(?:{given})$"))
    }

    /// One that a name must begin with, as `re.match` has it: `expression` is made of what was given.
    pub fn at_start(key: &'static str, given: &str, expression: &str) -> Result<Self, ImportError> {
        Self::new(key, given, &format!("^(?:{expression})"))
    }

    fn new(key: &'static str, given: &str, expression: &str) -> Result<Self, ImportError> {
        let regex = Regex::new(expression).map_err(|source| unusable(key, given, source))?;
        Ok(Self { key, given: given.to_owned(), regex })
    }

    /// Whether it fits; an error where that takes too long to tell.
    pub fn fits(&self, name: &str) -> Result<bool, ImportError> {
        self.regex.is_match(name).map_err(|source| unusable(self.key, &self.given, source))
    }

    /// Its groups in a name that it fits.
    pub fn groups<'n>(&self, name: &'n str) -> Result<Option<Captures<'n>>, ImportError> {
        self.regex.captures(name).map_err(|source| unusable(self.key, &self.given, source))
    }
}

fn unusable(key: &'static str, given: &str, source: fancy_regex::Error) -> ImportError {
    ImportError::Pattern { key, pattern: given.to_owned(), source: Box::new(source) }
}
