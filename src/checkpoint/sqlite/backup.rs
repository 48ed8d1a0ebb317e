//! Copies the whole store, even while a daemon uses it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::lock::Lock;
use super::{DATABASE, Inspection, OpenError, check, files};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Source(#[from] OpenError),
    /// The directory may hold an earlier copy.
    #[error("{0} is not empty; name a directory that is empty or not there yet")]
    Occupied(PathBuf),
    #[error("cannot write {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot copy the checkpoint store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("another process kept the checkpoint store busy; try again")]
    Busy,
}

/// Copies the store in `state_dir`, as it is at one moment, into `directory`, which must be empty or not exist. The
/// copy is checked before it gets its final name. Returns its path.
///
/// # Errors
/// The store cannot be read or is damaged, or the copy cannot be written. No copy is left behind then.
pub fn back_up(state_dir: &Path, directory: &Path) -> Result<PathBuf, BackupError> {
    // Without a log no daemon runs, and the store is read as a plain file. So no daemon may start meanwhile.
    let log = state_dir.join(DATABASE).with_extension("sqlite-wal");
    let is_at_work = fs::metadata(log).is_ok_and(|file| file.len() > 0);
    let source = Inspection::look(state_dir)?;
    let _lock = if is_at_work { None } else { Some(Lock::take(state_dir)?) };
    let io = |path: &Path| {
        let path = path.to_owned();
        |source| BackupError::Io { path, source }
    };
    make_empty(directory)?;
    let unnamed = directory.join(DATABASE).with_extension("part");
    let path = directory.join(DATABASE);
    let named = copy(source.connection(), &unnamed).and_then(|()| {
        File::open(&unnamed).and_then(|file| file.sync_all()).map_err(io(&unnamed))?;
        fs::rename(&unnamed, &path).map_err(io(&path))
    });
    if named.is_err() {
        let _ = fs::remove_file(&unnamed);
    }
    named?;
    File::open(directory).and_then(|file| file.sync_all()).map_err(io(directory))?;
    Ok(path)
}

/// Makes the directory readable by its owner alone, since the quarantine holds records.
fn make_empty(directory: &Path) -> Result<(), BackupError> {
    let io = |source| BackupError::Io { path: directory.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
    match fs::read_dir(directory).map_err(io)?.next() {
        None => Ok(()),
        Some(_) => Err(BackupError::Occupied(directory.to_owned())),
    }
}

fn copy(source: &Connection, to: &Path) -> Result<(), BackupError> {
    files::make_private(to).map_err(|source| BackupError::Io { path: to.to_owned(), source })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(to, flags)?;
    // Copy all pages in one step: a commit of the daemon between two steps would restart the copy.
    match Backup::new(source, &mut target)?.step(-1)? {
        StepResult::Done => {}
        _ => return Err(BackupError::Busy),
    }
    Ok(check(&target, to)?)
}
