//! What can be wrong with a data set.

use std::path::{Path, PathBuf};

use stage_model::JsonLineError;
use tokenizer::conversation::{RecordError, SampleError};

/// Why a file is no data set, with every bad line up to a limit.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The system refused.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file without a line that says something.
    #[error("`{}` holds no record", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Lines that give no sample.
    #[error("`{}`: {}", path.display(), listed(lines, *more))]
    Lines {
        /// The file.
        path: PathBuf,
        /// The first of them.
        lines: Vec<BadLine>,
        /// How many there are beyond.
        more: usize,
    },
}

/// A line that gives no sample.
#[derive(Debug)]
pub struct BadLine {
    /// Counted from 1.
    pub number: usize,
    /// Why.
    pub problem: LineProblem,
}

/// Why a line gives no sample.
#[derive(Debug, thiserror::Error)]
pub enum LineProblem {
    /// Not JSON.
    #[error("not JSON, expected one object a line: {0}")]
    Json(JsonLineError),
    /// JSON of no known form.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record that the tokenizer makes no sample of.
    #[error(transparent)]
    Sample(SampleError),
    /// The limit cuts off everything that is learned.
    #[error(
        "the first learned token is number {first}, but `max_length` cuts at {max_length}; raise it or drop the line"
    )]
    Cut {
        /// Position of the first learned token.
        first: usize,
        /// The limit.
        max_length: usize,
    },
    /// The template takes no system message.
    #[error("{refusal}; or set `system = \"merge\"`, which does that")]
    SystemRefused {
        /// What the tokenizer says.
        refusal: SampleError,
    },
}

impl LineProblem {
    /// The tokenizer's words where they say all, else in terms of this stage's parameters.
    pub fn of_sample(error: SampleError) -> Self {
        match error {
            SampleError::NothingLeft { first, max_tokens } => Self::Cut { first, max_length: max_tokens },
            SampleError::SystemRefused { .. } => Self::SystemRefused { refusal: error },
            other => Self::Sample(other),
        }
    }
}

impl DataError {
    /// The error that `source` is at `path`.
    pub fn read(path: &Path) -> impl Fn(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path: path.clone(), source }
    }
}

impl From<DataError> for stage_api::Error {
    fn from(error: DataError) -> Self {
        Self::from_source("bad_data", &error)
    }
}

fn listed(lines: &[BadLine], more: usize) -> String {
    let mut text: Vec<String> = lines.iter().map(|line| format!("line {}: {}", line.number, line.problem)).collect();
    if more > 0 {
        text.push(format!("and {more} lines more"));
    }
    text.join("; ")
}
