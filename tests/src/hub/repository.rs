//! Repositories, commits and files, with the digests that a hub tells.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::Content;

/// Every repository by name.
#[derive(Default)]
pub struct Repositories {
    /// Repository, revision or commit → commit.
    commits: BTreeMap<(String, String), Commit>,
    gated: BTreeSet<String>,
}

/// The files of one commit.
#[derive(Debug, Clone)]
pub struct Commit {
    pub id: String,
    pub files: BTreeMap<String, Content>,
}

impl Repositories {
    pub fn publish(&mut self, repository: &str, commit: Commit) -> String {
        let id = commit.id.clone();
        for revision in ["main", &id] {
            self.commits.insert((repository.into(), revision.into()), commit.clone());
        }
        id
    }

    pub fn gate(&mut self, repository: &str) {
        self.gated.insert(repository.into());
    }

    pub fn is_gated(&self, repository: &str) -> bool {
        self.gated.contains(repository)
    }

    pub fn has(&self, repository: &str) -> bool {
        self.commits.keys().any(|(name, _)| name == repository)
    }

    pub fn commit(&self, repository: &str, revision: &str) -> Option<&Commit> {
        self.commits.get(&(repository.to_owned(), revision.to_owned()))
    }

    /// The content that a storage address names.
    pub fn by_sha256(&self, digest: &str) -> Option<(&str, &Content)> {
        let files = self.commits.values().flat_map(|commit| &commit.files);
        let mut large = files.filter(|(name, _)| is_large(name));
        large.find(|(_, content)| sha256(content) == digest).map(|(name, content)| (name.as_str(), content))
    }
}

impl Commit {
    pub fn new(files: BTreeMap<String, Content>) -> Self {
        let list: String = files.iter().map(|(name, content)| format!("{} {name}\n", sha256(content))).collect();
        Self { id: git_id(&list.as_bytes().into()), files }
    }

    /// The answer to `/api/models/…/revision/…?blobs=true`.
    pub fn listing(&self) -> Value {
        let sibling = |(name, content): (&String, &Content)| {
            let mut file = json!({ "rfilename": name, "size": content.len, "blobId": git_id(content) });
            if is_large(name) {
                file["lfs"] = json!({ "sha256": sha256(content), "size": content.len, "pointerSize": 134 });
            }
            file
        };
        json!({ "sha": self.id, "siblings": self.files.iter().map(sibling).collect::<Vec<_>>(), "tags": ["llama"] })
    }
}

/// Whether a file lies in the storage rather than in git.
pub fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".gguf")
}

/// True where the content is there; what only has a head is never brought.
pub fn sha256(content: &Content) -> String {
    format!("{:x}", Sha256::digest(&content.head))
}

pub fn git_id(content: &Content) -> String {
    format!("{:x}", Sha1::new_with_prefix(format!("blob {}\0", content.len)).chain_update(&content.head).finalize())
}
