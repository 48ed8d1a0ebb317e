//! One process per state directory: an advisory lock on a file beside the database, which holds the process id of its
//! owner.

use std::fs::{File, Metadata, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::OpenError;

/// The name of the lock file in the state directory.
pub(super) const LOCK: &str = "lock";

/// The lock. It is held until this is dropped, or until the process ends in any way.
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// # Errors
    /// Another process holds the lock. The error names that process.
    pub(super) fn take(state_dir: &Path) -> Result<Self, OpenError> {
        let path = state_dir.join(LOCK);
        let io = |source| OpenError::Io { path: path.clone(), source };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = (&file).take(20).read_to_string(&mut pid);
                return Err(OpenError::Locked { path: state_dir.to_owned(), pid: pid.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(io)?;
        Ok(Self { file })
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }
}
