//! A hub on this machine, for tests: repositories at commits, gates, damage, and a count of what it served.
//!
//! It answers as the real one does: a listing by revision, files by redirects to a storage that wants no token,
//! ranges, entity tags, and error codes in headers of their own.

mod content;
mod repository;
mod server;
mod weights;

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::{Dir, HostCommand};

pub use content::Content;
use repository::{Commit, Repositories};

/// The token that opens gates.
pub const TOKEN: &str = "hf_test_token";

/// A hub that lives as long as the test.
pub struct Hub {
    port: u16,
    state: Arc<Mutex<State>>,
}

/// What a request was about, and how many bytes its answer had.
#[derive(Debug, Clone)]
pub struct Served {
    pub path: String,
    pub range: Option<String>,
    pub bytes: u64,
}

/// How the hub behaves.
#[derive(Default)]
pub struct State {
    repositories: Repositories,
    /// Refuse whatever reaches into the data of tensors.
    pub refuse_weights: bool,
    /// Flip the last bit of every large file.
    pub corrupt: bool,
    /// Break the connection after so many bytes of a large file.
    pub break_after: Option<u64>,
    /// Serve no more large files once one connection broke.
    pub then_die: bool,
    /// Take a second for some kilobytes of a large file.
    pub slow: bool,
    dead: bool,
    served: Vec<Served>,
}

impl State {
    /// Breaks nothing any more.
    pub fn revive(&mut self) {
        (self.break_after, self.then_die, self.dead) = (None, false, false);
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// A hub without repositories.
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let state = Arc::new(Mutex::new(State::default()));
        server::start(listener, state.clone());
        Self { port, state }
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a commit of files by name and lets `main` mean it.
    pub fn publish(&self, repository: &str, files: impl IntoIterator<Item = (String, Content)>) -> String {
        self.state().repositories.publish(repository, Commit::new(files.into_iter().collect()))
    }

    /// Gives a repository's files only to who sends [`TOKEN`].
    pub fn gate(&self, repository: &str) {
        self.state().repositories.gate(repository);
    }

    /// How it behaves, and what it served.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What was served since this was last asked.
    pub fn served(&self) -> Vec<Served> {
        std::mem::take(&mut self.state().served)
    }

    /// A `host` command that knows this hub and no other, with the hub's cache in `hf` of the directory.
    pub fn host(&self, dir: &Dir) -> HostCommand {
        let mut host = dir.host().env("HF_ENDPOINT", self.endpoint()).env("HF_HOME", dir.path("hf"));
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE"] {
            host = host.env(name, "");
        }
        host.env("NO_PROXY", "127.0.0.1,localhost")
    }
}

/// Bytes of all answers.
pub fn bytes(served: &[Served]) -> u64 {
    served.iter().map(|s| s.bytes).sum()
}
