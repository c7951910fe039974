//! Seals an output: every file hashed and on disk. The digest is that of the list of files, so equal contents have
//! equal digests, whether they were written here or are referred to elsewhere.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use stage_api::{Error, REFERENCE_FILE};

use super::super::{SealedFile, SealedOutput};
use crate::platform::sync_directory;

/// Why an output cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealError {
    #[error("`{}` was not written", .0.display())]
    Missing(PathBuf),
    #[error("`{}` is neither a file nor a directory; links and devices are no data", .0.display())]
    NoData(PathBuf),
    #[error("`{}` has a name that is not UTF-8", .0.display())]
    Name(PathBuf),
    #[error("reference `{}` cannot be understood: {reason}", path.display())]
    Reference { path: PathBuf, reason: String },
    #[error("`{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl SealError {
    pub(super) fn into_stage_error(self, stage: &str, port: &str) -> Error {
        let code = match self {
            Self::Io { .. } => "io",
            _ => "bad_output",
        };
        Error::new(code, format!("output `{port}` of stage `{stage}` cannot be sealed")).with_cause(self.to_string())
    }
}

type Result<T> = std::result::Result<T, SealError>;

/// Where files lie, and whether they are ours to bring to disk.
struct Walk {
    ours: bool,
    files: Vec<SealedFile>,
}

/// Seals the output `port` of an attempt.
pub(super) fn seal(attempt: &Path, port: &str) -> Result<SealedOutput> {
    let root = attempt.join(port);
    let mut walk = Walk { ours: true, files: Vec::new() };
    let (mut reference, mut entry) = (None, None);
    match Reference::read(&root)? {
        None => walk.visit(&root, "")?,
        Some(found) => {
            sync(&root.join(REFERENCE_FILE))?;
            sync_directory(&root).map_err(at(&root))?;
            walk.ours = false;
            (reference, entry) = found.visit(&mut walk)?;
        }
    }
    sync_directory(attempt).map_err(at(attempt))?;
    walk.files.sort_by(|a, b| a.path.cmp(&b.path));
    let bytes = walk.files.iter().map(|f| f.bytes).sum();
    Ok(SealedOutput { digest: digest_of(&walk.files), bytes, reference, entry, files: walk.files })
}

fn digest_of(files: &[SealedFile]) -> String {
    let mut list = Sha256::new();
    for file in files {
        list.update(format!("{} {} {}\n", file.digest, file.bytes, file.path));
    }
    hex(&list.finalize())
}

/// Files that are not ours, as the stage named them.
#[derive(Deserialize)]
struct Reference {
    reference: PathBuf,
    #[serde(default)]
    beside: Vec<String>,
}

impl Reference {
    /// `None` where the output is ours.
    fn read(root: &Path) -> Result<Option<Self>> {
        let path = root.join(REFERENCE_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(_) if !path.exists() => return Ok(None),
            Err(source) => return Err(SealError::Io { path, source }),
        };
        let parsed: std::result::Result<Self, _> = serde_json::from_slice(&text);
        parsed.map(Some).map_err(|e| SealError::Reference { path, reason: e.to_string() })
    }

    /// Hashes the files; gives where their paths start, and the entry among them where they are some of a directory.
    fn visit(self, walk: &mut Walk) -> Result<(Option<PathBuf>, Option<String>)> {
        let Self { reference: target, beside } = self;
        if beside.is_empty() {
            // The user may well point at a link, e.g. into a hub's cache.
            walk.visit(&target.canonicalize().map_err(at(&target))?, "")?;
            return Ok((Some(target), None));
        }
        let entry = target.file_name().and_then(|name| name.to_str()).ok_or_else(|| SealError::Name(target.clone()))?;
        for name in beside.iter().map(String::as_str).chain([entry]) {
            if Path::new(name).file_name().is_none_or(|last| last != name) {
                let reason = format!("`{name}` is no name of a file beside it");
                return Err(SealError::Reference { path: target.clone(), reason });
            }
            walk.visit(&target.with_file_name(name), name)?;
        }
        Ok((target.parent().map(Path::to_owned), Some(entry.to_owned())))
    }
}

impl Walk {
    fn visit(&mut self, path: &Path, name: &str) -> Result<()> {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(SealError::Missing(path.into())),
            Err(source) => return Err(SealError::Io { path: path.into(), source }),
        };
        // Files that are not ours may be links; ours may not, since their target would not be sealed.
        let kind = if self.ours { metadata } else { std::fs::metadata(path).map_err(at(path))? };
        if kind.is_dir() {
            self.visit_directory(path, name)
        } else if kind.is_file() {
            let (digest, bytes) = hash_file(path).map_err(at(path))?;
            if self.ours {
                sync(path)?;
            }
            self.files.push(SealedFile { path: name.into(), bytes, digest });
            Ok(())
        } else {
            Err(SealError::NoData(path.into()))
        }
    }

    fn visit_directory(&mut self, path: &Path, name: &str) -> Result<()> {
        for entry in std::fs::read_dir(path).map_err(at(path))? {
            let child = entry.map_err(at(path))?.path();
            let last = child.file_name().and_then(|n| n.to_str()).ok_or_else(|| SealError::Name(child.clone()))?;
            let name = if name.is_empty() { last.to_owned() } else { format!("{name}/{last}") };
            self.visit(&child, &name)?;
        }
        if self.ours { sync_directory(path).map_err(at(path)) } else { Ok(()) }
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> SealError {
    move |source| SealError::Io { path: path.into(), source }
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(at(path))
}

/// SHA-256 in hex, and the length, of a file.
pub(crate) fn hash_file(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((hex(&hash.finalize()), length));
        }
        hash.update(&buffer[..n]);
        length += n as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs::{create_dir_all, write};

    #[test]
    fn equal_contents_have_equal_digests_wherever_they_lie() {
        let dir = tempfile::tempdir().unwrap();
        for root in ["attempt/model", "elsewhere"] {
            create_dir_all(dir.path().join(root).join("sub")).unwrap();
            write(dir.path().join(root).join("b"), "two").unwrap();
            write(dir.path().join(root).join("sub/a"), "one").unwrap();
        }
        let attempt = dir.path().join("attempt");
        create_dir_all(attempt.join("link")).unwrap();
        let target = serde_json::json!({ "reference": dir.path().join("elsewhere") });
        write(attempt.join("link").join(REFERENCE_FILE), target.to_string()).unwrap();

        let written = seal(&attempt, "model").unwrap();
        let referred = seal(&attempt, "link").unwrap();
        assert_eq!(written.digest, referred.digest);
        assert_eq!(written.bytes, 6);
        assert_eq!(written.files.iter().map(|f| &*f.path).collect::<Vec<_>>(), ["b", "sub/a"]);
        assert_eq!(referred.reference, Some(dir.path().join("elsewhere")));
    }

    #[test]
    fn files_that_are_whole_only_together_are_sealed_together() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("a-1", "one"), ("a-2", "two"), ("other", "three")] {
            write(dir.path().join(name), text).unwrap();
        }
        let sealed = |beside: &[&str]| {
            create_dir_all(dir.path().join("attempt/out")).unwrap();
            let text = serde_json::json!({ "reference": dir.path().join("a-1"), "beside": beside });
            write(dir.path().join("attempt/out").join(REFERENCE_FILE), text.to_string()).unwrap();
            seal(&dir.path().join("attempt"), "out")
        };
        let before = sealed(&["a-2"]).unwrap();
        assert_eq!(before.files.iter().map(|f| (&*f.path, f.bytes)).collect::<Vec<_>>(), [("a-1", 3), ("a-2", 3)]);
        assert_eq!(before.path(dir.path(), "out"), dir.path().join("a-1"));
        write(dir.path().join("a-2"), "TWO").unwrap();
        assert_ne!(sealed(&["a-2"]).unwrap().digest, before.digest);
        for wrong in ["../a-2", "b/a-2", "..", ""] {
            assert!(matches!(sealed(&[wrong]), Err(SealError::Reference { .. })), "{wrong}");
        }
        assert!(matches!(sealed(&["a-3"]), Err(SealError::Missing(_))));
    }

    #[test]
    fn the_digest_is_the_one_of_sha256sum() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path().join("f"), "abc").unwrap();
        let sealed = seal(dir.path(), "f").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sealed.files, [SealedFile { path: String::new(), bytes: 3, digest: expected.into() }]);
    }

    #[test]
    fn what_is_missing_or_no_data_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(seal(dir.path(), "no"), Err(SealError::Missing(_))));
        create_dir_all(dir.path().join("out")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("out/link")).unwrap();
        assert!(matches!(seal(dir.path(), "out"), Err(SealError::NoData(_))));
    }
}
