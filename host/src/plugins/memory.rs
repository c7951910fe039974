//! Remembers what plugins answered, one file a plugin, written whole and renamed: hosts that run side by side need no
//! lock, and a record that cannot be read is as good as none.
//!
//! ```text
//! <cache>/plugins-v1/<digest of the path>.json
//! ```

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stage_api::hosting::ABI_VERSION;

use super::probe::Probed;
use crate::platform::FileIdentity;

/// What plugins answered, remembered in a directory.
#[derive(Debug, Clone)]
pub struct ProbeMemory {
    dir: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Record {
    /// Another ABI version may accept what this one refuses.
    abi: String,
    file: FileIdentity,
    probed: Probed,
}

impl ProbeMemory {
    /// Remembers in the cache directory `cache`.
    pub fn new(cache: &std::path::Path) -> Self {
        Self { dir: cache.join("plugins-v1") }
    }

    pub(super) fn recall(&self, file: &FileIdentity) -> Option<Probed> {
        let record: Record = serde_json::from_slice(&fs::read(self.path(file)).ok()?).ok()?;
        (record.abi == ABI_VERSION && record.file == *file).then_some(record.probed)
    }

    /// Forgetting costs a moment, not truth, so a cache that cannot be written is no error.
    pub(super) fn remember(&self, file: FileIdentity, probed: &Probed) {
        let path = self.path(&file);
        let record = Record { abi: ABI_VERSION.into(), file, probed: probed.clone() };
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(&self.dir)?;
            let mut temporary = tempfile::NamedTempFile::new_in(&self.dir)?;
            temporary.write_all(&serde_json::to_vec(&record)?)?;
            temporary.persist(path)?;
            Ok(())
        };
        let _ = write();
    }

    fn path(&self, file: &FileIdentity) -> PathBuf {
        let name = Sha256::digest(file.path.as_os_str().as_encoded_bytes());
        self.dir.join(format!("{name:x}.json"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_holds_until_the_file_changes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("libx.so");
        fs::write(&file, "one").unwrap();
        let memory = ProbeMemory::new(dir.path());
        let identity = FileIdentity::of(&file).unwrap();
        memory.remember(identity.clone(), &Probed::NoPlugin);
        assert_eq!(memory.recall(&identity), Some(Probed::NoPlugin));
        fs::write(&file, "other").unwrap();
        assert_eq!(memory.recall(&FileIdentity::of(&file).unwrap()), None);
    }
}
