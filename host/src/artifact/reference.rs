//! Artifacts that point at files which are not ours: true only while those files are what they were.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::digest::DigestMemory;
use crate::worker::SealedOutput;

/// The first file of a reference that is gone or holds something else. Costs a look at each file, unless one changed.
pub fn changed_file(output: &SealedOutput, memory: &DigestMemory) -> Option<PathBuf> {
    let root = output.reference.as_deref()?;
    let stale = |path: &PathBuf, digest: &str| memory.file(path).map_or(true, |now| now != digest);
    output.files.iter().map(|f| (file_path(root, &f.path), &f.digest)).find(|(p, d)| stale(p, d)).map(|(p, _)| p)
}

/// Remembers what sealing found out, within the last `took`, about files that are not ours.
pub fn learn(output: &SealedOutput, took: Duration, memory: &DigestMemory) {
    for (root, file) in output.reference.iter().flat_map(|r| output.files.iter().map(move |f| (r, f))) {
        memory.learn(&file_path(root, &file.path), &file.digest, took);
    }
}

/// An output's file; an empty name is the output itself.
fn file_path(root: &Path, name: &str) -> PathBuf {
    if name.is_empty() { root.into() } else { root.join(name) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::worker::{SealedFile, hash_file};

    #[test]
    fn a_changed_file_beside_the_entry_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            std::fs::write(dir.path().join(name), name).unwrap();
            let (digest, bytes) = hash_file(&dir.path().join(name)).unwrap();
            SealedFile { path: name.into(), bytes, digest }
        };
        let output = SealedOutput {
            digest: String::new(),
            bytes: 6,
            reference: Some(dir.path().into()),
            entry: Some("a-1".into()),
            files: vec![file("a-1"), file("a-2")],
        };
        let memory = DigestMemory::in_cache(&dir.path().join("cache"));
        assert_eq!(changed_file(&output, &memory), None);
        std::fs::write(dir.path().join("a-2"), "A-2").unwrap();
        assert_eq!(changed_file(&output, &memory), Some(dir.path().join("a-2")));
    }
}
