//! Where this program's files belong, and what a plugin's file is called.

use std::env::{self, consts};
use std::path::{Path, PathBuf};

const PROGRAM: &str = "host";

/// The user's cache: `HOST_CACHE_DIR`, else the system's place for caches; `None` without a home.
pub fn cache_dir() -> Option<PathBuf> {
    if let Some(chosen) = env::var_os("HOST_CACHE_DIR").filter(|v| !v.is_empty()) {
        return Some(chosen.into());
    }
    let fallback = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    Some(base("XDG_CACHE_HOME", fallback)?.join(PROGRAM))
}

/// The user's data, where plugins can be installed; `None` without a home.
pub fn data_dir() -> Option<PathBuf> {
    let fallback = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/share" };
    Some(base("XDG_DATA_HOME", fallback)?.join(PROGRAM))
}

/// Where an administrator installs plugins for everybody.
pub fn system_plugin_dir() -> PathBuf {
    Path::new("/usr/local/lib").join(PROGRAM).join("plugins")
}

/// Relative values of XDG variables must be ignored.
fn base(variable: &str, fallback: &str) -> Option<PathBuf> {
    let given = env::var_os(variable).map(PathBuf::from).filter(|p| p.is_absolute());
    given.or_else(|| Some(env::home_dir()?.join(fallback)))
}

/// Whether a file's name is that of a dynamic library: `lib*.so`, `lib*.dylib`, `*.dll`.
pub fn is_library(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return false };
    name.strip_prefix(consts::DLL_PREFIX).is_some_and(|rest| rest.ends_with(consts::DLL_SUFFIX))
}
