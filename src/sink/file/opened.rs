//! The file that a sink has open: locks it, reads and writes it, and notices what other programs did to it.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::OFlags;
use tokio::fs::OpenOptions;

use super::access::Access;
use super::identity::FileId;
use super::numbered;
use crate::sink::DeliveryError;

/// An open file, and its state when it was last inspected.
pub(super) struct Opened {
    file: Arc<File>,
    /// The name under which it was opened.
    name: PathBuf,
    pub(super) id: FileId,
    pub(super) len: u64,
    /// Whether its path leads to another file or to none: another program renamed the file.
    pub(super) is_renamed: bool,
    /// Whether it has no name any more. It is gone once it is closed.
    pub(super) is_removed: bool,
}

/// What is done if the file does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Missing {
    Created,
    Refused,
}

impl Opened {
    /// Opens the file `name` and locks it until it is closed, so that no other daemon writes it. `path` is where it
    /// should be.
    pub(super) async fn open(
        name: &Path,
        path: &Path,
        missing: Missing,
        access: &Access,
    ) -> Result<Self, DeliveryError> {
        let (file, is_new) = open_file(name, missing).await.map_err(|error| {
            if name.is_symlink() {
                return refused(name, "is a symbolic link, which is not written through: let `path` name its target");
            }
            unavailable("open", name, &error)
        })?;
        if !file.metadata().map_err(|error| unavailable("inspect", name, &error))?.is_file() {
            return Err(refused(name, "is no regular file: move it away, or change `path`"));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let why = "is locked by another process that writes it; give each daemon files of its own";
                return Err(refused(name, why));
            }
            // The file system has no locks: other daemons cannot be kept out.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(unavailable("lock", name, &error)),
        }
        access.apply(&file, name, is_new).map_err(|why| refused(name, &why))?;
        sync_directory(name).await?;
        let (file, name) = (Arc::new(file), name.to_owned());
        let mut opened = Self { file, name, id: FileId::default(), len: 0, is_renamed: false, is_removed: false };
        // The process that held the lock before may have renamed the file meanwhile.
        opened.look(&opened.name.clone()).await?;
        if opened.is_renamed || opened.is_removed {
            return Err(DeliveryError::unavailable(format!(
                "{} was given another name while it was opened",
                opened.name.display()
            )));
        }
        opened.look(path).await?;
        Ok(opened)
    }

    /// Inspects the file again. `path` is where it should be.
    pub(super) async fn look(&mut self, path: &Path) -> Result<(), DeliveryError> {
        let held = self.on("inspect", File::metadata).await?;
        let there = numbered::look(path).await.map_err(|error| unavailable("inspect", path, &error))?;
        self.id = FileId::of(&held);
        self.len = held.len();
        self.is_renamed = there.is_none_or(|there| there.ino() != held.ino() || there.dev() != held.dev());
        self.is_removed = held.nlink() == 0;
        Ok(())
    }

    /// Reads at most `limit` bytes from `offset` on.
    pub(super) async fn read(&self, offset: u64, limit: u64) -> Result<Vec<u8>, DeliveryError> {
        let read = move |mut file: &File| {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(offset))?;
            file.take(limit).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        self.on("read", read).await
    }

    /// Appends the chunks, and returns once they are on disk.
    pub(super) async fn append(&mut self, chunks: Vec<Bytes>) -> Result<(), DeliveryError> {
        let write = move |mut file: &File| {
            file.seek(SeekFrom::End(0))?;
            chunks.iter().try_for_each(|chunk| file.write_all(chunk))?;
            file.sync_all()?;
            file.metadata()
        };
        let written = self.on("write", write).await?;
        self.len = written.len();
        self.is_removed = written.nlink() == 0;
        Ok(())
    }

    /// Truncates the file to `len` bytes, and returns once that is on disk.
    pub(super) async fn cut(&mut self, len: u64) -> Result<(), DeliveryError> {
        let cut = move |file: &File| {
            file.set_len(len)?;
            file.sync_all()
        };
        self.on("truncate", cut).await?;
        self.len = len;
        Ok(())
    }

    pub(super) async fn sync(&self) -> Result<(), DeliveryError> {
        self.on("sync", File::sync_all).await
    }

    /// Calls `call` with the file on a thread for blocking calls. `what` names the operation in errors.
    pub(super) async fn on<T: Send + 'static>(
        &self,
        what: &str,
        call: impl FnOnce(&File) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DeliveryError> {
        let file = Arc::clone(&self.file);
        let done = tokio::task::spawn_blocking(move || call(&file)).await;
        done.unwrap_or_else(|panic| Err(panic.into())).map_err(|error| unavailable(what, &self.name, &error))
    }
}

/// Opens the file, and says whether it is new. Only its owner may read a new file at first. Symbolic links are not
/// followed: otherwise anyone who may write to the directory could have another file of the daemon written to and its
/// mode changed. A pipe is opened without waiting for a reader.
async fn open_file(name: &Path, missing: Missing) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    if missing == Missing::Created {
        match options.clone().create_new(true).open(name).await {
            Ok(file) => return Ok((file.into_std().await, true)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                options.create(true).truncate(false);
            }
            Err(error) => return Err(error),
        }
    }
    Ok((options.open(name).await?.into_std().await, false))
}

/// Syncs the directory of the file, so that a name in it survives a crash.
pub(super) async fn sync_directory(name: &Path) -> Result<(), DeliveryError> {
    let directory = tokio::fs::File::open(numbered::directory(name)).await;
    let directory = directory.map_err(|error| unavailable("open the directory of", name, &error))?;
    directory.sync_all().await.map_err(|error| unavailable("sync the directory of", name, &error))
}

pub(super) fn unavailable(what: &str, name: &Path, error: &io::Error) -> DeliveryError {
    DeliveryError::unavailable(format!("cannot {what} {}: {error}", name.display()))
}

pub(super) fn refused(name: &Path, why: &str) -> DeliveryError {
    DeliveryError::Misconfigured(format!("{} {why}", name.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[tokio::test]
    async fn what_is_no_file_of_its_own_is_neither_written_to_nor_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let (path, target) = (directory.path().join("out"), directory.path().join("target"));
        let access = Access::new(None, None).unwrap();
        let refused = async || match Opened::open(&path, &path, Missing::Created, &access).await {
            Err(DeliveryError::Misconfigured(why)) => why,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was opened"),
        };
        // Opening a link to a missing file would create that file.
        symlink(&target, &path).unwrap();
        assert!(refused().await.contains("is a symbolic link"));
        assert!(!target.exists());
        std::fs::write(&target, "precious").unwrap();
        assert!(refused().await.contains("is a symbolic link"));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert!(refused().await.contains("is no regular file"));
    }

    #[tokio::test]
    async fn a_link_that_took_the_files_name_is_another_name_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (directory.path().join("out"), directory.path().join("elsewhere"));
        let access = Access::new(None, None).unwrap();
        let mut opened = Opened::open(&path, &path, Missing::Created, &access).await.unwrap();
        std::fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        opened.look(&path).await.unwrap();
        assert!(opened.is_renamed);
    }

    #[tokio::test]
    async fn what_others_do_to_an_open_file_is_seen_after_a_write_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let access = Access::new(None, None).unwrap();
        let mut opened = Opened::open(&path, &path, Missing::Created, &access).await.unwrap();
        opened.append(vec!["one\n".into(), "two\n".into()]).await.unwrap();
        assert_eq!((opened.len, opened.is_renamed, opened.is_removed), (8, false, false));
        std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        opened.append(vec!["three\n".into()]).await.unwrap();
        assert_eq!(opened.len, 6);
        std::fs::rename(&path, directory.path().join("renamed")).unwrap();
        std::fs::write(&path, "another").unwrap();
        opened.look(&path).await.unwrap();
        assert_eq!((opened.len, opened.is_renamed, opened.is_removed), (6, true, false));
        std::fs::remove_file(directory.path().join("renamed")).unwrap();
        opened.append(vec!["four\n".into()]).await.unwrap();
        assert!(opened.is_removed);
        let missing = Opened::open(&directory.path().join("none"), &path, Missing::Refused, &access).await;
        assert!(matches!(missing, Err(DeliveryError::Unavailable { .. })));
        assert!(!directory.path().join("none").exists());
    }
}
