//! The frame that every reader's and writer's error comes in: which file, then what is wrong with it.

use std::path::Path;

/// A problem and the file that has it.
#[derive(Debug, thiserror::Error)]
#[error("`{file}`: {problem}")]
pub struct FileError<P: std::error::Error + 'static> {
    /// The file's path, or the name under which its source was handed over.
    pub file: String,
    /// What is wrong, as data.
    pub problem: P,
}

impl<P: std::error::Error + 'static> FileError<P> {
    /// `problem` of the file called `file`.
    pub fn new(file: impl Into<String>, problem: impl Into<P>) -> Self {
        Self { file: file.into(), problem: problem.into() }
    }

    /// `problem` of the file at `path`.
    pub fn at(path: &Path, problem: impl Into<P>) -> Self {
        Self::new(path.display().to_string(), problem)
    }
}
