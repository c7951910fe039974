//! Where plugins are looked for, first place first.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::platform;

/// Why a place is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The pipeline's `plugins`, or the command line.
    Pipeline,
    /// `HOST_PLUGIN_PATH`.
    Environment,
    /// Beside the program, where `cargo build` puts both.
    BesideProgram,
    /// `../lib/host/plugins` from the program.
    Installed,
    /// The user's data directory.
    User,
    /// For everybody on this machine.
    System,
}

impl Origin {
    /// Whether somebody named the place, so that it is an error if there is nothing.
    pub fn is_named(self) -> bool {
        matches!(self, Self::Pipeline | Self::Environment)
    }
}

/// One place: a directory, looked at without its subdirectories, or a plugin's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchDir {
    /// The place.
    pub path: PathBuf,
    /// Why.
    pub origin: Origin,
}

/// Every place, first place first; `named` are the pipeline's and the command line's, absolute.
pub fn search_dirs(named: &[PathBuf]) -> Vec<SearchDir> {
    let mut places: Vec<_> = named.iter().map(|p| (p.clone(), Origin::Pipeline)).collect();
    if let Some(list) = std::env::var_os("HOST_PLUGIN_PATH") {
        let set = std::env::split_paths(&list).filter(|p| !p.as_os_str().is_empty());
        places.extend(set.map(|p| (p, Origin::Environment)));
    }
    if let Some(bin) = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned())) {
        places.push((bin.clone(), Origin::BesideProgram));
        places.push((bin.join("../lib/host/plugins"), Origin::Installed));
    }
    places.extend(platform::data_dir().map(|data| (data.join("plugins"), Origin::User)));
    places.push((platform::system_plugin_dir(), Origin::System));
    places.into_iter().map(|(path, origin)| SearchDir { path, origin }).collect()
}

/// The libraries at one place, by name, with links resolved.
pub(super) fn libraries(place: &SearchDir) -> io::Result<Vec<PathBuf>> {
    let path = match place.path.canonicalize() {
        Ok(path) => path,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !place.origin.is_named() => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    if path.is_file() {
        return Ok(vec![path]);
    }
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(&path)? {
        let entry = entry?.path();
        if platform::is_library(&entry) && entry.is_file() {
            found.insert(entry.canonicalize()?);
        }
    }
    Ok(found.into_iter().collect())
}

/// Whether somebody asked for this very file.
pub(super) fn is_named_file(place: &SearchDir, library: &Path) -> bool {
    place.origin.is_named() && place.path.canonicalize().is_ok_and(|p| p == library)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_libraries_directly_inside_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let name = |stem: &str| format!("{}{stem}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        std::fs::create_dir(root.join("deps")).unwrap();
        for file in [name("b"), name("a"), "liba.rlib".into(), "notes.txt".into(), format!("deps/{}", name("c"))] {
            std::fs::write(root.join(file), "").unwrap();
        }
        let place = |path: PathBuf, origin| SearchDir { path, origin };
        let found = libraries(&place(root.clone(), Origin::User)).unwrap();
        assert_eq!(found, [root.join(name("a")), root.join(name("b"))]);
        let one = libraries(&place(root.join(name("b")), Origin::Pipeline)).unwrap();
        assert_eq!(one, [root.join(name("b"))]);
        assert!(libraries(&place(root.join("gone"), Origin::User)).unwrap().is_empty());
        assert!(libraries(&place(root.join("gone"), Origin::Pipeline)).is_err());
    }

    #[test]
    fn what_the_pipeline_names_comes_first() {
        let places = search_dirs(&["/mine".into()]);
        assert_eq!(places[0], SearchDir { path: "/mine".into(), origin: Origin::Pipeline });
        assert_eq!(places.last().unwrap().origin, Origin::System);
    }
}
