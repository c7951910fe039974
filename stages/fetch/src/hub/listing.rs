//! What a repository holds at one commit, as the hub's API lists it.

use std::path::{Component, Path};

use serde::Deserialize;

use super::checksum::{Checksum, is_hex};

/// A repository at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The full commit id.
    pub commit: String,
    /// Files in the order of their names.
    pub files: Vec<HubFile>,
}

/// One file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// Path in the repository, with slashes.
    pub name: String,
    pub bytes: u64,
    pub checksum: Checksum,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Listing {
    /// Reads the answer to `/api/models/…/revision/…?blobs=true`; `Err` says what no hub says.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let answer: Answer = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if !is_commit(&answer.sha) {
            return Err(format!("commit `{}`", answer.sha));
        }
        let files: Result<Vec<HubFile>, String> = answer.siblings.into_iter().map(file).collect();
        let mut files = files?;
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { commit: answer.sha, files })
    }

    /// The file of that name.
    pub fn get(&self, name: &str) -> Option<&HubFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// Every name, in order.
    pub fn names(&self) -> Vec<&str> {
        self.files.iter().map(|file| file.name.as_str()).collect()
    }
}

/// Whether a revision is a whole commit id, which never means anything else.
pub fn is_commit(revision: &str) -> bool {
    is_hex(revision, 40)
}

fn file(sibling: Sibling) -> Result<HubFile, String> {
    let name = sibling.rfilename;
    let inside = Path::new(&name).components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || !inside || name.contains(['\\', ':', '\0']) {
        return Err(format!("file name `{}`", name.escape_debug()));
    }
    let known = match (&sibling.lfs, &sibling.blob_id) {
        (Some(lfs), _) => Checksum::sha256(&lfs.sha256).map(|checksum| (lfs.size, checksum)),
        (None, Some(id)) => sibling.size.zip(Checksum::git_blob(id)),
        (None, None) => None,
    };
    match known {
        Some((bytes, checksum)) => Ok(HubFile { name, bytes, checksum }),
        None => Err(format!("`{name}` without size and digest")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn parse(siblings: &str) -> Result<Listing, String> {
        Listing::parse(format!(r#"{{"sha":"{COMMIT}","siblings":[{siblings}],"tags":[]}}"#).as_bytes())
    }

    #[test]
    fn large_files_have_their_own_digest() {
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let lfs = format!(r#""lfs":{{"sha256":"{sha256}","size":6,"pointerSize":134}}"#);
        let large = format!(r#"{{"rfilename":"m.gguf","size":6,"blobId":"{COMMIT}",{lfs}}}"#);
        let small = format!(r#"{{"rfilename":"a/c.json","size":2,"blobId":"{COMMIT}"}}"#);
        let listing = parse(&format!("{large},{small}")).unwrap();
        assert_eq!(listing.names(), ["a/c.json", "m.gguf"]);
        assert_eq!(listing.get("a/c.json").unwrap().checksum, Checksum::git_blob(COMMIT).unwrap());
        assert_eq!(listing.get("m.gguf").unwrap().checksum, Checksum::sha256(sha256).unwrap());
    }

    #[test]
    fn a_hub_cannot_name_files_outside_the_cache() {
        for name in ["../x", "/etc/x", "a/../../x", "", "a\\\\..\\\\x", "C:x"] {
            let answer = parse(&format!(r#"{{"rfilename":"{name}","size":2,"blobId":"{COMMIT}"}}"#));
            assert!(answer.as_ref().unwrap_err().contains("file name"), "{name}: {answer:?}");
        }
        assert!(parse(r#"{"rfilename":"x","size":2}"#).unwrap_err().contains("without size"));
        assert!(Listing::parse(br#"{"sha":"../..","siblings":[]}"#).is_err());
    }
}
