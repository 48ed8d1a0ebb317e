//! Whether the store's files are still where they were opened.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::files;
use super::lock::Lock;
use crate::checkpoint::StoreError;

/// The store's files, as they were when the store was opened. While it is open none of them is replaced.
#[derive(Debug)]
pub(super) struct Presence {
    state_dir: PathBuf,
    /// Each with its device and inode.
    files: Vec<(PathBuf, (u64, u64))>,
}

impl Presence {
    /// `lock` is the lock that we have, whatever file has its name now.
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
    /// [`StoreError::Gone`] when one of them is not at its path. Any other fault that keeps a file from being checked keeps
    /// SQLite from working too, and is reported there.
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
