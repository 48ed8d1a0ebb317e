//! Checks that the store's files are still the ones that were opened.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::files;
use super::lock::Lock;
use crate::checkpoint::StoreError;

/// The store's files as they were when the store was opened. The open store itself never replaces a file.
#[derive(Debug)]
pub(super) struct Presence {
    state_dir: PathBuf,
    /// Each path with the file's device and inode.
    files: Vec<(PathBuf, (u64, u64))>,
}

impl Presence {
    /// `lock` is the open lock file; its path may lead to another file by now.
    pub(super) fn of(state_dir: &Path, lock: &Lock) -> io::Result<Self> {
        let [locked, others @ ..] = files::all(state_dir);
        let mut files = vec![(locked, identity(&lock.metadata()?))];
        for path in others {
            match fs::metadata(&path) {
                Ok(file) => files.push((path, identity(&file))),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { state_dir: state_dir.to_owned(), files })
    }

    /// # Errors
    /// [`StoreError::Gone`] if a file is not at its path any more. Other errors of this check are ignored: they keep
    /// SQLite from working too, and are reported there.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        for (path, opened) in &self.files {
            let what = match fs::metadata(path) {
                Ok(file) if identity(&file) != *opened => "is another file now",
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => "is gone",
                _ => continue,
            };
            return Err(StoreError::Gone(format!(
                "the state directory {} was removed or replaced while the daemon ran ({} {what}); put it back, or restore a backup of it, and start again; without it everything is delivered again",
                self.state_dir.display(),
                path.display()
            )));
        }
        Ok(())
    }
}

fn identity(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}
