//! What can go wrong between us and the hub, and what the user can do about it.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a model could not be brought.
#[derive(Debug, Error)]
pub enum HubError {
    #[error("there is no home directory to keep the hub's files in")]
    NoHome,
    #[error("`{repository}` is gated: the hub gives its files only to those who accepted its licence{said}")]
    Gated { repository: String, page: String, token: Token, said: Said },
    #[error("the hub does not show `{repository}`: there is no such repository, or it is private{said}")]
    NoRepository { repository: String, page: String, token: Token, said: Said },
    #[error("`{repository}` has no revision `{revision}`{said}")]
    NoRevision { repository: String, revision: String, said: Said },
    #[error("`{repository}` has no file `{file}`")]
    NoFile { repository: String, file: String },
    #[error("`{url}` answered with status {status}{said}")]
    Status { url: String, status: u16, said: Said },
    #[error("`{url}` cannot be reached")]
    Network { url: String, source: Box<ureq::Error> },
    #[error("`{url}` stopped sending")]
    Interrupted { url: String, source: io::Error },
    #[error("`{url}` gives only whole files, and planning needs parts")]
    NoRanges { url: String },
    #[error("`{url}` answered with what no hub says: {reason}")]
    Answer { url: String, reason: String },
    #[error("{file} of `{repository}` has the {kind} {got}, and the hub promises {expected}; what came was deleted")]
    Checksum { repository: String, file: String, kind: &'static str, got: String, expected: String },
    #[error("the disk is full: `{file}` needs {missing} more bytes in `{}`", directory.display())]
    DiskFull { file: String, missing: u64, directory: PathBuf, source: io::Error },
    #[error("`{}` cannot be used", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("`{repository}` holds no model: neither `config.json` with safetensors nor a GGUF{}", others(found))]
    NoModel { repository: String, found: Vec<String> },
    #[error("`{repository}` has no quantization `{wanted}`; there are {}", listed(known))]
    NoQuantization { repository: String, wanted: String, known: Vec<String> },
    #[error("`{first}` is one of {count} parts, and `{repository}` has {got} of them")]
    Parts { repository: String, first: String, count: u64, got: usize },
    #[error("offline, and the cache `{}` has no {what} of `{repository}`", cache.display())]
    NotCached { repository: String, what: String, cache: PathBuf },
    #[error("`{file}` is not valid JSON: {source}")]
    Json { file: String, source: serde_json::Error },
    #[error("`model.safetensors.index.json`: {problem}")]
    Index { problem: checkpoint::safetensors::Problem },
}

/// Whether a token was sent, and where one is looked for.
#[derive(Debug, Clone)]
pub struct Token {
    pub sent: bool,
    pub file: PathBuf,
}

/// The hub's own words.
#[derive(Debug, Clone, Default)]
pub struct Said(pub Option<String>);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |said| write!(f, " (the hub says: {said})"))
    }
}

impl HubError {
    /// Why the system takes no more bytes of `file` in `part`.
    pub fn of_disk(file: &str, missing: u64, part: &Path, source: io::Error) -> Self {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        if full.contains(&source.kind()) {
            let directory = part.parent().unwrap_or(part).to_owned();
            HubError::DiskFull { file: file.into(), missing, directory, source }
        } else {
            HubError::File { path: part.to_owned(), source }
        }
    }

    /// A stable identifier for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            HubError::Gated { .. } => "gated_repository",
            HubError::NoRepository { .. } => "no_repository",
            HubError::NoRevision { .. } => "no_revision",
            HubError::NoFile { .. } => "no_file",
            HubError::Status { .. } | HubError::NoRanges { .. } | HubError::Answer { .. } => "hub_answer",
            HubError::Network { .. } | HubError::Interrupted { .. } => "network",
            HubError::Checksum { .. } => "checksum_mismatch",
            HubError::DiskFull { .. } => "disk_full",
            HubError::NoHome | HubError::File { .. } => "io",
            HubError::NoModel { .. } | HubError::Parts { .. } => "no_model",
            HubError::Json { .. } | HubError::Index { .. } => "unreadable_model",
            HubError::NoQuantization { .. } => "no_quantization",
            HubError::NotCached { .. } => "offline",
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            HubError::NoHome => "set `HF_HOME`".into(),
            HubError::Gated { page, token, .. } => format!("accept the licence at {page}, then {}", token.advice()),
            HubError::NoRepository { page, token, .. } => {
                format!("check the spelling at {page}; for a private or gated one {}", token.advice())
            }
            HubError::NoRevision { .. } => {
                "a revision is a branch, a tag or a commit; `main` where none is given".into()
            }
            HubError::Status { status: 429, .. } => "the hub wants fewer requests; wait some minutes".into(),
            HubError::Status { status: 500.., .. } => {
                "the hub has trouble; the next run goes on where it stopped".into()
            }
            HubError::Network { .. } => {
                "check the network and `HF_ENDPOINT`; `--offline` uses what was fetched before".into()
            }
            HubError::Interrupted { .. } => "what came is kept: the next run goes on from there".into(),
            HubError::NoRanges { .. } => "the hub or mirror at `HF_ENDPOINT` must answer range requests".into(),
            HubError::Checksum { .. } => {
                "run again; if it stays, the hub or a proxy on the way changes the file".into()
            }
            HubError::DiskFull { directory, .. } => format!(
                "make room, or move the hub's cache with `HF_HOME`; what came lies in `{}`, and the next run goes on",
                directory.display()
            ),
            HubError::NoQuantization { .. } => "write one of them behind the colon".into(),
            HubError::NotCached { .. } => "run once without `--offline` and `HF_HUB_OFFLINE`".into(),
            HubError::NoModel { .. } | HubError::Parts { .. } => "take another repository of the same model".into(),
            HubError::NoFile { .. }
            | HubError::Status { .. }
            | HubError::Answer { .. }
            | HubError::File { .. }
            | HubError::Json { .. }
            | HubError::Index { .. } => return None,
        })
    }

    /// Whether the same request may well succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            HubError::Network { source, .. } => !is_unreachable(source),
            HubError::Interrupted { .. } => true,
            HubError::Status { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}

/// Whether nobody is there, which a second of waiting does not change.
fn is_unreachable(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Io(e) => e.kind() == io::ErrorKind::ConnectionRefused,
        _ => false,
    }
}

impl Token {
    fn advice(&self) -> String {
        let file = self.file.display();
        if self.sent {
            format!("use a token with access: the one in `HF_TOKEN`, else in `{file}`, was refused")
        } else {
            format!("set `HF_TOKEN` to a read token of your account, or leave it in `{file}` (`hf auth login`)")
        }
    }
}

impl From<HubError> for stage_api::Error {
    fn from(e: HubError) -> Self {
        let error = stage_api::Error::from_source(e.code(), &e);
        match e.help() {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

fn others(found: &[String]) -> String {
    match found {
        [] => String::new(),
        found => format!("; it holds {}, which are not read", listed(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_what_it_lacks_and_where() {
        let refused = |kind: io::ErrorKind| HubError::of_disk("m.gguf", 7, Path::new("/hf/blobs/ab.part"), kind.into());
        let error = stage_api::Error::from(refused(io::ErrorKind::StorageFull));
        assert_eq!(error.code, "disk_full");
        assert!(error.message.contains("`m.gguf` needs 7 more bytes in `/hf/blobs`"), "{error}");
        assert!(error.help.is_some_and(|help| help.contains("the next run goes on")));
        assert_eq!(refused(io::ErrorKind::PermissionDenied).code(), "io");
    }
}
