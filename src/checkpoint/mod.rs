//! Remembered: what was delivered, to whom, of what. SQLite below, and nothing of it in the interface.
//!
//! Every change is compare-and-apply: it names the place it starts from, and is refused when the store stands elsewhere.

mod advance;

mod batches;

mod debt;

mod lock;

mod overflow;

mod prune;

mod quarantine;

mod rows;

mod schema;

#[cfg(test)]
mod tests;

mod writer;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::OpenFlags;

use crate::delta::Fingerprint;
use crate::delta::Progress;
use crate::notification::ObjectId;
use crate::notification::Sequencer;

pub use advance::Committed;
pub use advance::Finish;
pub use advance::LaneState;
pub use advance::Passed;
pub use advance::Seal;
pub use advance::Sealed;
pub use advance::SealedBatch;
pub use advance::SealedPart;
pub use debt::Owed;
pub use overflow::StoreLedger;
pub use quarantine::Quarantined;
pub use quarantine::Refusal;

/// How many idle readers are kept.
const READERS_MAX: usize = 8;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{path} is in use by process {pid}; one state directory belongs to one process")]
    Locked { path: PathBuf, pid: String },
    /// A newer program wrote it.
    #[error("the checkpoint store is of version {found}, this program knows up to {known}; run the newer program")]
    Newer { found: u32, known: u32 },
    /// Its content is damaged.
    #[error("{path} is damaged ({reason}); restore a backup of the state directory")]
    Corrupt { path: PathBuf, reason: String },
    #[error("cannot use {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("cannot open the checkpoint store: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// Why a checkpoint could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Something does not stand where the change starts from: another change came first.
    #[error("{object} has moved on in the checkpoint store")]
    Overtaken { object: ObjectId },
    /// No space is left. Try again once there is.
    #[error("the checkpoint store's disk is full")]
    Full,
    /// A row is not what was written.
    #[error("{row} is damaged in the checkpoint store; restore a backup of the state directory")]
    Corrupt { row: String },
    /// The disk or the database failed. Nothing can be promised any more: stop.
    #[error("the checkpoint store failed: {0}")]
    Failed(String),
    /// The store was closed.
    #[error("the checkpoint store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Corrupt { row: error.to_string() }
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// What the store knows of an object, and how much of it some sinks have had.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Whether the object is known at all.
    pub known: bool,
    pub progress: Progress,
    /// The entity tag of the last version that was read to its end.
    pub etag: Option<Box<str>>,
    /// The highest sequencer whose content was read.
    pub sequencer: Option<Sequencer>,
    /// The version with `etag` is damaged, and quarantined.
    pub damaged: bool,
    /// How many accepted records each of the sinks asked for has had, in the order asked.
    pub cursors: Vec<u64>,
}

impl Standing {
    /// Whether every sink asked for has had all of the last version read.
    pub fn is_settled(&self) -> bool {
        self.etag.is_some() && self.cursors.iter().all(|&cursor| cursor == self.progress.accepted)
    }
}

/// The checkpoint store. Cheap to clone; closed when the last clone is gone.
#[derive(Clone)]
pub struct CheckpointStore {
    writer: writer::Writer,
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    instance: String,
    quarantine_bytes: AtomicU64,
    quarantine_bytes_max: u64,
    /// Held as long as the store is open.
    _lock: lock::Lock,
}

impl CheckpointStore {
    /// Opens the store of a state directory, making both if they are not there, and checks it whole.
    ///
    /// `quarantine_bytes_max` bounds the bodies kept of refused records.
    ///
    /// # Errors
    /// Another process has it, it is damaged, or a newer program wrote it.
    pub fn open(state_dir: &Path, quarantine_bytes_max: u64) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: state_dir.to_owned(), source };
        if !state_dir.exists() {
            std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
                .create(state_dir)
                .map_err(io)?;
        }
        let lock = lock::Lock::take(state_dir)?;
        let path = state_dir.join("checkpoints.sqlite");
        let mut connection = connect(&path, OpenFlags::default())?;
        check(&connection, &path)?;
        schema::migrate(&mut connection)?;
        connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'", [])?;
        let instance = connection.query_row("SELECT value FROM meta WHERE key = 'instance'", [], |row| row.get(0))?;
        let quarantine_bytes: i64 =
            connection.query_row("SELECT coalesce(sum(length(body_zstd)), 0) FROM quarantine", [], |row| row.get(0))?;
        let writer = writer::Writer::start(connection).map_err(io)?;
        let shared = Shared {
            path,
            readers: Mutex::default(),
            instance,
            quarantine_bytes: AtomicU64::new(rows::count(quarantine_bytes)),
            quarantine_bytes_max,
            _lock: lock,
        };
        Ok(Self { writer, shared: Arc::new(shared) })
    }

    /// What names this store among others, for ever: part of each batch's id.
    pub fn instance(&self) -> &str {
        &self.shared.instance
    }

    /// Bytes on disk, the log of what is not yet in the database file included.
    pub fn size_bytes(&self) -> u64 {
        let len = |path: &Path| std::fs::metadata(path).map(|file| file.len()).unwrap_or(0);
        len(&self.shared.path) + len(&self.shared.path.with_extension("sqlite-wal"))
    }

    /// What is known of an object, and how much of it each of `sinks` has had.
    pub fn standing(&self, object: &ObjectId, sinks: &[Arc<str>]) -> Result<Standing, StoreError> {
        self.read(|connection| {
            let Some(row) = rows::ObjectRow::find(connection, object)? else {
                return Ok(Standing {
                    known: false,
                    progress: Progress::default(),
                    etag: None,
                    sequencer: None,
                    damaged: false,
                    cursors: vec![0; sinks.len()],
                });
            };
            let cursors = sinks.iter().map(|sink| rows::cursor(connection, row.id, sink)).collect::<Result<_, _>>()?;
            Ok(Standing {
                known: true,
                progress: row.progress,
                etag: row.etag.filter(|_| row.state != "reading").map(Into::into),
                sequencer: row.sequencer.map(|text| Sequencer(text.into())),
                damaged: row.state == "damaged",
                cursors,
            })
        })
    }

    /// Appends to `into` the object's accepted fingerprints from number `from` on, in order; some of them, and none only
    /// when there are no more.
    pub fn fingerprints(&self, object: &ObjectId, from: u64, into: &mut Vec<Fingerprint>) -> Result<(), StoreError> {
        self.read(|connection| match rows::ObjectRow::find(connection, object)? {
            Some(row) => rows::fingerprints(connection, row.id, from, into),
            None => Ok(()),
        })
    }

    /// Where the store lies, and temporary files may.
    pub fn state_dir(&self) -> &Path {
        self.shared.path.parent().unwrap_or(Path::new("."))
    }

    /// The last thing before the end: leaves one file that holds everything.
    pub async fn tidy(&self) {
        self.writer.tidy().await;
    }

    /// Copies the whole store, as it stands, to `path` while it is in use.
    pub fn back_up(&self, path: &Path) -> Result<(), StoreError> {
        self.read(|connection| Ok(connection.backup("main", path, None::<fn(rusqlite::backup::Progress)>)?))
    }

    /// Runs `read` over a reader of its own, which sees all that was committed.
    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.shared.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.shared.path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?,
        };
        let result = read(&connection);
        let mut readers = self.shared.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_MAX {
            readers.push(connection);
        }
        result
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    if !flags.contains(OpenFlags::SQLITE_OPEN_READ_ONLY) {
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
    }
    Ok(connection)
}

fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let result = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
    let reason = match result {
        Ok(word) if word == "ok" => return Ok(()),
        Ok(reason) => reason,
        Err(error) => error.to_string(),
    };
    Err(OpenError::Corrupt { path: path.to_owned(), reason })
}
