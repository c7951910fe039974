//! Opens a plugin's file.
//!
//! abi_stable's `load_from_file` keeps one module a process and returns it for every later path, so the library is
//! opened here. Opening runs foreign code, and a truncated file kills the process: only worker processes do it.

use std::path::{Path, PathBuf};

use abi_stable::library::{AbiHeaderRef, ROOT_MODULE_LOADER_NAME_WITH_NUL};

use crate::PluginModuleRef;
use crate::policy::{self, Refusal};

/// Why a plugin could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be opened as a library.
    #[error("`{}` cannot be loaded: {reason}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the dynamic linker or the file system said.
        reason: String,
    },
    /// A library, but not one of ours.
    #[error("`{}` is no plugin: it has no plugin entry point", path.display())]
    NotAPlugin {
        /// The file.
        path: PathBuf,
    },
    /// A plugin that does not fit this program.
    #[error("plugin `{}` cannot be used: {refusal}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// The plugin's constructor failed.
    #[error("plugin `{}` did not start: {reason}", path.display())]
    Constructor {
        /// The file.
        path: PathBuf,
        /// What abi_stable reported.
        reason: String,
    },
}

impl LoadError {
    /// A stable identifier for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "plugin_open",
            Self::NotAPlugin { .. } => "not_a_plugin",
            Self::Refused { refusal: Refusal::Version { .. }, .. } => "plugin_version",
            Self::Refused { refusal: Refusal::Layout { .. }, .. } => "plugin_layout",
            Self::Refused { refusal: Refusal::EntryPoint(_), .. } => "plugin_entry_point",
            Self::Constructor { .. } => "plugin_start",
        }
    }
}

/// Loads the plugin at `path` for the rest of the process; objects, vtables and thread-local destructors live in it, so
/// it is never unloaded.
pub fn load(path: &Path) -> Result<PluginModuleRef, LoadError> {
    let open_error = |reason: String| LoadError::Open { path: path.into(), reason };
    let absolute = path.canonicalize().map_err(|e| open_error(e.to_string()))?;
    // SAFETY: opening runs the library's initializers. That is what loading a plugin means; the user chose the file,
    // and the worker process that does it has nothing to lose but itself.
    let library = unsafe { libloading::Library::new(&absolute) }.map_err(|e| open_error(e.to_string()))?;
    let library: &'static libloading::Library = Box::leak(Box::new(library));
    // SAFETY: a library that exports this mangled name was made by abi_stable and gives it this type.
    let raw = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) };
    let raw: AbiHeaderRef = *raw.map_err(|_| LoadError::NotAPlugin { path: path.into() })?;

    let refused = |refusal| LoadError::Refused { path: path.into(), refusal };
    let header = policy::upgrade(raw).map_err(refused)?;
    policy::check(header).map_err(refused)?;
    // SAFETY: `check` compared the layouts in the direction in which the older side is a prefix of the newer one, and
    // prefix types read no field that the other side lacks.
    unsafe { header.unchecked_layout::<PluginModuleRef>() }
        .map_err(|e| LoadError::Constructor { path: path.into(), reason: e.to_string() })
}
