//! What the environment says about the hub, in the variables that its own tools read.

use std::path::PathBuf;

use hf_hub::Cache;

use super::HubError;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Where the hub is, who we are to it, where its files are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `HF_ENDPOINT`, without a slash at the end.
    pub endpoint: String,
    /// `HF_TOKEN`, else the content of the token file.
    pub token: Option<String>,
    /// Where `hf auth login` leaves the token.
    pub token_file: PathBuf,
    /// `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else `~/.cache/huggingface/hub`.
    pub cache: Cache,
    /// Whether `HF_HUB_OFFLINE` forbids network use.
    pub offline: bool,
}

impl Settings {
    /// Reads the environment; an error where neither it nor the system says where files go.
    pub fn from_env() -> Result<Self, HubError> {
        if variable("HF_HOME").is_none() && std::env::home_dir().is_none() {
            return Err(HubError::NoHome);
        }
        let home = Cache::from_env();
        let token = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN"));
        let token_file = variable("HF_TOKEN_PATH").map_or_else(|| home.token_path(), PathBuf::from);
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.into());
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: token.or_else(|| token_in(&token_file)),
            token_file,
            cache: absolute(variable("HF_HUB_CACHE").map_or(home, |path| Cache::new(path.into()))),
            offline: variable("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value)),
        })
    }
}

/// References into the cache outlive this process and its directory.
fn absolute(cache: Cache) -> Cache {
    std::path::absolute(cache.path()).map_or(cache, Cache::new)
}

/// A variable that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn token_in(file: &std::path::Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    Some(text.trim().to_owned()).filter(|token| !token.is_empty())
}

/// As `huggingface_hub` reads its switches.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
}
