//! A file that appears under its final name only when it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::write_behind::WriteBehind;

/// Writes go to `<name>.part`; [`PartialFile::publish`] gives the file its name, dropping it before removes it.
#[derive(Debug)]
pub struct PartialFile {
    /// `None` once the bytes are on disk and the file is closed.
    file: Option<BufWriter<File>>,
    behind: WriteBehind,
    part: PathBuf,
    target: PathBuf,
    published: bool,
}

impl PartialFile {
    /// Starts the file that will be called `target`; what a killed process left in `<target>.part` is replaced.
    pub fn create(target: &Path) -> io::Result<Self> {
        let mut part = target.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = BufWriter::with_capacity(1 << 18, File::create(&part)?);
        Ok(Self { file: Some(file), behind: WriteBehind::default(), part, target: target.to_owned(), published: false })
    }

    /// The final name.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Puts everything on disk and closes the file, still under its `.part` name.
    pub fn seal(&mut self) -> io::Result<()> {
        match self.file.take() {
            Some(writer) => {
                let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.sync_all()
            }
            None => Ok(()),
        }
    }

    /// Puts everything on disk and gives the file its final name.
    pub fn publish(mut self) -> io::Result<()> {
        self.seal()?;
        fs::rename(&self.part, &self.target)?;
        self.published = true;
        sync_directory_of(&self.target)
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = self.file.as_mut().ok_or_else(|| io::Error::other("the file is sealed"))?;
        let written = file.write(bytes)?;
        self.behind.wrote(file.get_ref(), written, file.buffer().len());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        if !self.published {
            self.file = None;
            // Nobody is left to hear about it, and the next writer of this name replaces the file anyway.
            let _ = fs::remove_file(&self.part);
        }
    }
}

/// Makes the rename itself durable. Windows cannot open a directory as a file and needs no such step.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_published_file_is_whole_and_leaves_no_part() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.bin");
        let mut file = PartialFile::create(&target).unwrap();
        file.write_all(b"abc").unwrap();
        assert!(!target.exists());
        file.publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"abc");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_dropped_file_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = PartialFile::create(&dir.path().join("a.bin")).unwrap();
        file.write_all(b"abc").unwrap();
        file.seal().unwrap();
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
