//! The store's files. A new database is created completely or not at all, and only the owner may read the files.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::lock::LOCK;
use super::{DATABASE, OpenError, schema};

/// The extension of a new database until it is complete.
const UNNAMED: &str = "new";

/// The least free space in bytes that opening a store takes.
const ROOM_BYTES_MIN: u64 = 128 << 10;

/// The size of the smallest SQLite database, in bytes.
const DATABASE_BYTES_MIN: u64 = 512;

/// How many files a store creates besides the lock.
const FILES_MIN: u64 = 3;

/// The files of a store: the lock, the database, the write-ahead log, and the log's index.
pub(super) fn all(state_dir: &Path) -> [PathBuf; 4] {
    let database = state_dir.join(DATABASE);
    let [log, index] = logs(&database);
    [state_dir.join(LOCK), database, log, index]
}

fn logs(database: &Path) -> [PathBuf; 2] {
    ["sqlite-wal", "sqlite-shm"].map(|extension| database.with_extension(extension))
}

/// Creates the state directory if it does not exist, accessible to its owner alone.
pub(super) fn make_directory(state_dir: &Path) -> io::Result<()> {
    if state_dir.exists() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    // The umask limits the mode given to `create`, but not this one.
    fs::set_permissions(state_dir, Permissions::from_mode(0o700))
}

/// Creates a new file that only its owner may read and write.
pub(super) fn make_private(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Creates the database if there is none. It gets its name only once it is complete. So an empty file of that name is a
/// damaged store, not a new one.
///
/// # Errors
/// The database is damaged in a way that SQLite would take for a new one, or it cannot be created.
pub(super) fn make_database(database: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: database.to_owned(), source };
    match fs::metadata(database) {
        Ok(_) => return refuse_empty(database),
        // The path may be a link to a disk that is not mounted.
        Err(error) if error.kind() != ErrorKind::NotFound || database.is_symlink() => return Err(io(error)),
        Err(_absent) => {}
    }
    let [log, index] = logs(database);
    if fs::metadata(&log).is_ok_and(|file| file.len() > 0) {
        let reason = format!("it is gone, and its log {} is still there", log.display());
        return Err(OpenError::Corrupt { path: database.to_owned(), reason });
    }
    let unnamed = database.with_extension(UNNAMED);
    for leftover in [&log, &index, &unnamed] {
        remove(leftover).map_err(io)?;
    }
    let made = fill(&unnamed).and_then(|()| fs::rename(&unnamed, database).map_err(io));
    if made.is_err() {
        // A leftover file does no harm.
        let _ = remove(&unnamed);
    }
    made?;
    sync_directory(database).map_err(io)
}

/// # Errors
/// The database exists but is shorter than an empty database.
pub(super) fn refuse_empty(database: &Path) -> Result<(), OpenError> {
    match fs::metadata(database) {
        // SQLite takes a file that is shorter than its smallest page for a new database.
        Ok(file) if file.len() < DATABASE_BYTES_MIN => {
            let reason = match file.len() {
                0 => "it is empty: 0 bytes".to_owned(),
                bytes => format!("only {bytes} bytes of it are left"),
            };
            Err(OpenError::Corrupt { path: database.to_owned(), reason })
        }
        Ok(_) => Ok(()),
        Err(source) => Err(OpenError::Io { path: database.to_owned(), source }),
    }
}

/// Creates an empty store. Other processes do not use it before it has its name, and after a crash it is ignored.
fn fill(unnamed: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: unnamed.to_owned(), source };
    let file = make_private(unnamed).map_err(io)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(unnamed, flags)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "MEMORY")?;
    schema::migrate(&mut connection)?;
    connection.close().map_err(|(_, error)| error)?;
    file.sync_all().map_err(io)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_directory(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Makes the store's files readable by their owner alone, whatever the umask. Returns files that others may still read,
/// since another user owns them.
pub(super) fn narrow(state_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut exposed = Vec::new();
    for path in all(state_dir) {
        let mode = match fs::metadata(&path) {
            Ok(file) => file.permissions().mode(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if mode & 0o777 == 0o600 {
            continue;
        }
        match fs::set_permissions(&path, Permissions::from_mode(0o600)) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                exposed.extend((mode & 0o077 != 0).then_some(path));
            }
            narrowed => narrowed?,
        }
    }
    Ok(exposed)
}

/// Whether the disk of this path has hardly any space or files left.
pub(super) fn is_disk_full(path: &Path) -> bool {
    let Some(Ok(disk)) = path.parent().map(rustix::fs::statvfs) else { return false };
    disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM_BYTES_MIN || disk.f_files > 0 && disk.f_favail < FILES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::conformance::object;
    use crate::checkpoint::{Positions as _, SqliteStore};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_store_is_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let state_dir = root.path().join("a/state");
        let _store = SqliteStore::open(&state_dir, 0).unwrap();
        assert_eq!(mode(&state_dir), 0o700);
        for path in all(&state_dir) {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn files_that_others_may_read_are_narrowed() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let store = SqliteStore::open(directory.path(), 0).unwrap();
        // Make the files that a killed process leaves behind.
        let [_, _, log, index] = all(directory.path());
        let kept = [fs::read(&log).unwrap(), fs::read(&index).unwrap()];
        drop(store);
        while log.exists() {
            std::thread::yield_now();
        }
        fs::write(&log, &kept[0]).unwrap();
        fs::write(&index, &kept[1]).unwrap();
        for path in all(directory.path()) {
            fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        }
        let store = SqliteStore::open(directory.path(), 0).unwrap();
        for path in all(directory.path()) {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
        assert!(store.exposed().is_empty());
        assert_eq!(mode(directory.path()), 0o755, "who made the directory knows who may look into it");
    }

    #[test]
    fn a_database_that_lost_its_content_is_damage_and_no_new_store() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join(DATABASE);
        fs::write(&database, "").unwrap();
        let refused = SqliteStore::open(directory.path(), 0);
        assert!(matches!(refused, Err(OpenError::Corrupt { path, .. }) if path == database));
        assert_eq!(fs::metadata(&database).unwrap().len(), 0, "nothing was made of it");
        let looked = crate::checkpoint::Inspection::look(directory.path());
        assert!(matches!(looked, Err(OpenError::Corrupt { .. })));
        for rest in [&b"S"[..], b"SQLite format 3\0", &[0; 99]] {
            fs::write(&database, rest).unwrap();
            let refused = SqliteStore::open(directory.path(), 0);
            assert!(matches!(refused, Err(OpenError::Corrupt { .. })), "{} bytes were taken", rest.len());
            assert_eq!(fs::read(&database).unwrap(), rest);
        }
        fs::remove_file(&database).unwrap();
        fs::write(database.with_extension("sqlite-wal"), "what was committed").unwrap();
        let refused = SqliteStore::open(directory.path(), 0);
        let Err(OpenError::Corrupt { reason, .. }) = refused else { panic!("taken for a new store") };
        assert!(reason.contains("sqlite-wal"), "{reason}");
    }

    #[test]
    fn a_database_that_is_a_link_to_nothing_is_not_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join(DATABASE);
        std::os::unix::fs::symlink(directory.path().join("unmounted/db"), &database).unwrap();
        let refused = SqliteStore::open(directory.path(), 0);
        assert!(matches!(refused, Err(OpenError::Io { path, .. }) if path == database));
        assert!(database.is_symlink());
    }

    #[tokio::test]
    async fn a_first_start_that_was_cut_short_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join(DATABASE);
        fs::write(database.with_extension(UNNAMED), "half of a database").unwrap();
        for leftover in logs(&database) {
            fs::write(leftover, "").unwrap();
        }
        let store = SqliteStore::open(directory.path(), 0).unwrap();
        assert!(!store.position(&object(), &[]).await.unwrap().known);
        assert!(!database.with_extension(UNNAMED).exists());
    }

    #[test]
    fn a_database_of_another_program_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join(DATABASE);
        let other = Connection::open(&database).unwrap();
        other.execute_batch("CREATE TABLE theirs (n INTEGER)").unwrap();
        drop(other);
        for version in [0, schema::VERSION - 1, schema::VERSION] {
            let other = Connection::open(&database).unwrap();
            other.pragma_update(None, "user_version", version).unwrap();
            drop(other);
            let refused = SqliteStore::open(directory.path(), 0);
            let Err(OpenError::Corrupt { reason, .. }) = refused else { panic!("version {version} was taken") };
            assert!(reason.contains("other tables"), "{reason}");
        }
        let other = Connection::open(&database).unwrap();
        let tables: i64 = other.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 1);
    }
}
