//! What a hub promises about a file's content: SHA-256 of large files, git's own id of small ones.

use std::fmt;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A file's promised digest; also the name of its content in the hub's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    /// Of the bytes.
    Sha256(String),
    /// `git hash-object`: SHA-1 of `blob LENGTH`, a zero byte, and the bytes.
    GitBlob(String),
}

impl Checksum {
    /// Takes a digest as the hub spells it, if it can be one: it becomes a file name.
    pub fn sha256(hex: &str) -> Option<Self> {
        is_hex(hex, 64).then(|| Self::Sha256(hex.to_ascii_lowercase()))
    }

    /// As [`Checksum::sha256`], of git's ids.
    pub fn git_blob(hex: &str) -> Option<Self> {
        is_hex(hex, 40).then(|| Self::GitBlob(hex.to_ascii_lowercase()))
    }

    /// Lowercase hexadecimal.
    pub fn hex(&self) -> &str {
        match self {
            Checksum::Sha256(hex) | Checksum::GitBlob(hex) => hex,
        }
    }

    /// What kind of digest it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Checksum::Sha256(_) => "SHA-256",
            Checksum::GitBlob(_) => "git id",
        }
    }

    /// Starts to digest a file of `bytes` in the same way.
    pub fn hasher(&self, bytes: u64) -> Hasher {
        match self {
            Checksum::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Checksum::GitBlob(_) => Hasher::GitBlob(Sha1::new_with_prefix(format!("blob {bytes}\0"))),
        }
    }
}

/// A digest under way.
pub enum Hasher {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::GitBlob(hasher) => hasher.update(bytes),
        }
    }

    /// Lowercase hexadecimal.
    pub fn finish(self) -> String {
        match self {
            Hasher::Sha256(hasher) => hex(&hasher.finalize()),
            Hasher::GitBlob(hasher) => hex(&hasher.finalize()),
        }
    }
}

fn hex(bytes: &(impl fmt::LowerHex + ?Sized)) -> String {
    format!("{bytes:x}")
}

/// Whether `text` is so many hexadecimal digits.
pub fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum_and_git() {
        let digest = |checksum: Checksum| {
            let mut hasher = checksum.hasher(6);
            hasher.update(b"hel");
            hasher.update(b"lo\n");
            assert_eq!(hasher.finish(), checksum.hex());
        };
        let sha256 = "5891B5B522D5DF086D0FF0B110FBD9D21BB4FC7163AF34D08286A2E846F6BE03";
        digest(Checksum::sha256(sha256).unwrap());
        digest(Checksum::git_blob("ce013625030ba8dba906f756967f9e9ca394464a").unwrap());
    }

    #[test]
    fn what_is_no_digest_becomes_no_file_name() {
        assert_eq!(Checksum::sha256("../../etc/passwd"), None);
        assert_eq!(Checksum::git_blob(&"g".repeat(40)), None);
    }
}
