//! The checkpoint store as a SQLite database, in a directory that one process owns.

mod advance;

mod backup;

mod batches;

mod backlog;

mod events;

mod files;

mod fingerprints;

mod fence;

mod freshness;

mod further;

mod inspect;

mod lock;

mod places;

mod presence;

mod prune;

mod quarantine;

mod refusals;

mod refused;

mod requeue;

mod retry;

mod rows;

mod schema;

mod scratch;

mod position;

mod unread;

mod unrouted;

mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::Semaphore;

use crate::checkpoint::{Answer, QuarantineLimits, StoreError};

pub(crate) use backup::BackupError;
pub use backup::back_up;
pub(crate) use inspect::{Entry, Kind};
pub use inspect::{Inspection, Selection};
pub use scratch::DiskScratch;
pub(crate) use unrouted::UnroutedSelection;
pub use writer::Writing;

/// The database's name in the state directory.
const DATABASE: &str = "checkpoints.sqlite";

/// The most reads at once. Each has its own connection.
const READERS_MAX: usize = 8;

/// The page caches of the writer and of each reader.
const WRITER_CACHE_BYTES: usize = 2 << 20;
const READER_CACHE_BYTES: usize = 256 << 10;

/// The memory of all page caches together.
pub(crate) const CACHE_BYTES: usize = WRITER_CACHE_BYTES + READERS_MAX * READER_CACHE_BYTES;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the store open.
    #[error("{path} is in use by process {pid}; one state directory belongs to one process")]
    Locked { path: PathBuf, pid: String },
    /// A newer program wrote the store.
    #[error("the checkpoint store is of version {found}, this program knows up to {known}; run the newer program")]
    Newer { found: u32, known: u32 },
    /// An older program wrote the store, and only the daemon migrates it.
    #[error(
        "the checkpoint store is of version {found}, this program works on {known}; start the daemon once, which brings it up to date"
    )]
    Older { found: u32, known: u32 },
    /// The store's content is damaged.
    #[error(
        "{path} is damaged ({reason}); restore a backup of the state directory, or move that away to begin anew, which delivers everything again"
    )]
    Corrupt { path: PathBuf, reason: String },
    /// The disk is full.
    #[error("no space is left on the disk of {path}; nothing is lost: make room there and start again")]
    Full { path: PathBuf },
    #[error("cannot use {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("cannot open the checkpoint store: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl OpenError {
    /// Turns the error into `Corrupt` or `Full` if that is its cause; else returns it as it is.
    fn of_database(self, path: &Path) -> Self {
        let corrupt = |reason| Self::Corrupt { path: path.to_owned(), reason };
        let is_full = match &self {
            Self::Sqlite(error) if is_full(error) => true,
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => return corrupt(error.to_string()),
                // This program's statements are valid for its own tables, so the tables must be another program's.
                Some(ErrorCode::Unknown) => return corrupt(format!("it holds other tables: {error}")),
                Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => files::is_disk_full(path),
                _ => false,
            },
            Self::Io { source, .. } => {
                matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        };
        if is_full { Self::Full { path: path.to_owned() } } else { self }
    }
}

/// Whether SQLite ran out of space. It reports that in two ways: for its files, and for its shared memory, which is a
/// file too.
fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        || error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            _ if is_full(&error) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { row: error.to_string() },
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// What a commit survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// A crash of the machine.
    Disk,
    /// A crash of the process, but not of the machine.
    Process,
}

/// The store of a state directory. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct SqliteStore {
    writer: writer::Writer,
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    /// One permit for each read that may run at once on the runtime's threads for blocking work. `None` if reads run on
    /// the calling thread.
    turns: Option<Arc<Semaphore>>,
    /// The store's unique name, which never changes. It is part of each batch id.
    instance: String,
    fence: fence::Fence,
    quarantine: QuarantineLimits,
    presence: Arc<presence::Presence>,
    exposed: Vec<PathBuf>,
    /// Held as long as the store is open.
    _lock: lock::Lock,
}

impl SqliteStore {
    /// Opens the store of a state directory, and checks all of it. Creates the directory and the store if they do not
    /// exist. Only the owner may read the files afterwards. No call blocks the runtime's own threads: reads run on its
    /// threads for blocking work, writes on a thread of the store.
    ///
    /// `quarantine` limits what is kept of refused records.
    ///
    /// # Errors
    /// Another process has the store open, it is damaged, its disk is full, or a newer program wrote it.
    pub fn open(state_dir: &Path, quarantine: impl Into<QuarantineLimits>) -> Result<Self, OpenError> {
        let turns = Some(Arc::new(Semaphore::new(READERS_MAX)));
        let (store, writing) = Self::open_at(state_dir, quarantine.into(), Durability::Disk, turns)?;
        writing.start().map_err(|source| OpenError::Io { path: state_dir.to_owned(), source })?;
        Ok(store)
    }

    /// Like [`open`](Self::open), without threads: writes wait until the caller makes the [`Writing`] commit them, and
    /// reads run on the calling thread. So the results do not depend on the timing of threads.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_apart(
        state_dir: &Path,
        quarantine: impl Into<QuarantineLimits>,
        durability: Durability,
    ) -> Result<(Self, Writing), OpenError> {
        Self::open_at(state_dir, quarantine.into(), durability, None)
    }

    fn open_at(
        state_dir: &Path,
        quarantine: QuarantineLimits,
        durability: Durability,
        turns: Option<Arc<Semaphore>>,
    ) -> Result<(Self, Writing), OpenError> {
        let path = state_dir.join(DATABASE);
        let io = |source| OpenError::Io { path: state_dir.to_owned(), source };
        let opened = || {
            files::make_directory(state_dir).map_err(io)?;
            let lock = lock::Lock::take(state_dir)?;
            files::make_database(&path)?;
            let exposed = files::narrow(state_dir).map_err(io)?;
            let (connection, fence, instance) = begin(&path, durability)?;
            let presence = Arc::new(presence::Presence::of(state_dir, &lock).map_err(io)?);
            // The directory may have been replaced after it was locked.
            presence.check().map_err(|error| io(std::io::Error::other(error)))?;
            let (writer, writing) = writer::Writer::new(connection, fence, Arc::clone(&presence));
            let (path, readers) = (path.clone(), Mutex::default());
            let shared = Shared { path, readers, turns, instance, fence, quarantine, presence, exposed, _lock: lock };
            Ok((Self { writer, shared: Arc::new(shared) }, writing))
        };
        opened().map_err(|error: OpenError| error.of_database(&path))
    }

    /// Files of the store that others may read, since another user owns them.
    pub fn exposed(&self) -> &[PathBuf] {
        &self.shared.exposed
    }

    /// Applies `write`, and answers once it is on disk. It sees all earlier writes. If it fails, nothing of it remains.
    fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(self.writer.write(write))
    }

    /// Runs `read` over a connection that sees everything committed so far.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'_, T> {
        let shared = Arc::clone(&self.shared);
        self.run(move || shared.read(read))
    }

    /// Runs blocking work on a thread for it, or without threads on the calling one.
    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Answer<'_, T> {
        Box::pin(async move {
            let Some(turns) = &self.shared.turns else { return work() };
            let turn = Arc::clone(turns).acquire_owned().await.map_err(|_closed| StoreError::Closed)?;
            let work = move || {
                let _turn = turn;
                work()
            };
            match tokio::task::spawn_blocking(work).await {
                Ok(result) => result,
                // A panic of the work continues in the caller.
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_the_runtime_ends) => Err(StoreError::Closed),
            }
        })
    }
}

impl Shared {
    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let opened = connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX);
                // The path may lead to another store by now, or to none.
                self.presence.check()?;
                opened?
            }
        };
        // One transaction gives all statements of the read the same snapshot, and needs one lock.
        let result = connection.unchecked_transaction().map_err(StoreError::from).and_then(|snapshot| read(&snapshot));
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_MAX {
            readers.push(connection);
        }
        result
    }
}

/// Opens the database, checks and migrates it, and takes an epoch. Returns the store's instance name too.
fn begin(path: &Path, durability: Durability) -> Result<(Connection, fence::Fence, String), OpenError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    if durability == Durability::Process {
        connection.pragma_update(None, "synchronous", "OFF")?;
    }
    check(&connection, path)?;
    schema::migrate(&mut connection)?;
    let fence = fence::Fence::take(&connection)?;
    let instance = connection.query_row("SELECT value FROM meta WHERE key = 'instance'", [], |row| row.get(0))?;
    Ok((connection, fence, instance))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    // Without this, SQLite plans a statement again for each value that is bound to it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let is_reader = flags.contains(OpenFlags::SQLITE_OPEN_READ_ONLY);
    let cache_bytes = if is_reader { READER_CACHE_BYTES } else { WRITER_CACHE_BYTES };
    // A negative cache size is in KiB; a positive one would be in pages.
    connection.pragma_update(None, "cache_size", -i64::try_from(cache_bytes >> 10).unwrap_or(1024))?;
    if !is_reader {
        // What a savepoint needs for its rollback stays in memory. A file for it would be written each time.
        connection.pragma_update(None, "temp_store", "MEMORY")?;
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
        // The first line of the report only names the database.
        Ok(reason) => reason.lines().filter(|line| !line.starts_with("***")).collect::<Vec<_>>().join("; "),
        Err(error) => return Err(OpenError::Sqlite(error).of_database(path)),
    };
    Err(OpenError::Corrupt { path: path.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Form;
    use crate::checkpoint::Store;
    use crate::checkpoint::conformance::{cursors, deliver, lane, object, part, receipt, seal};
    use crate::sink::{LaneState, State, file_state};

    pub(in crate::checkpoint) struct World {
        pub(in crate::checkpoint) directory: tempfile::TempDir,
        sqlite: SqliteStore,
        pub(in crate::checkpoint) store: Store,
    }

    pub(in crate::checkpoint) fn world() -> World {
        let directory = tempfile::tempdir().unwrap();
        let sqlite = SqliteStore::open(directory.path(), 1 << 20).unwrap();
        World { directory, store: Store::new(sqlite.clone()), sqlite }
    }

    impl SqliteStore {
        /// The number of durable transactions: the frames in the log that end one.
        pub(crate) fn durable_writes(&self) -> usize {
            let log = std::fs::read(self.shared.path.with_extension("sqlite-wal")).unwrap();
            let page_bytes = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
            log[32..].chunks(24 + page_bytes).filter(|frame| frame[4..8] != [0; 4]).count()
        }

        /// Limits the database to this many pages, like a full disk.
        pub(crate) async fn limit_pages(&self, most: u32) {
            let limit = move |connection: &Connection| {
                Ok(connection.query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(()))?)
            };
            self.writer.write(limit).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_batch_is_committed_and_the_next_sealed_in_one_durable_write() {
        let World { directory: _directory, sqlite, store } = world();
        let before = sqlite.durable_writes();
        let mut sealed = store.positions.seal(seal("a", vec![part(0, 1, true)])).await.unwrap();
        for n in 1..4 {
            let next = seal("a", vec![part(n, n + 1, true)]);
            sealed = store.positions.commit_and_seal(&sealed, &receipt(&sealed), next).await.unwrap().1.unwrap();
            assert_eq!(cursors(&store).await, (n + 1, vec![n, 0]));
        }
        store.positions.commit(&sealed, &receipt(&sealed), 1).await.unwrap();
        assert_eq!(sqlite.durable_writes() - before, 5, "of four batches, each sealed and committed");
        let sealed = store.positions.seal(seal("a", vec![part(4, 5, true)])).await.unwrap();
        let before = sqlite.durable_writes();
        let next = seal("a", vec![part(5, 6, true), part(9, 10, true)]);
        assert!(store.positions.commit_and_seal(&sealed, &receipt(&sealed), next).await.unwrap().1.is_err());
        assert_eq!(sqlite.durable_writes() - before, 1, "of a commit whose next batch was overtaken");
    }

    #[tokio::test]
    async fn nothing_is_promised_once_the_state_directory_is_gone() {
        let gone = |name: &'static str| {
            move |directory: &Path| {
                let aside = directory.with_extension("aside");
                match name {
                    "" => std::fs::rename(directory, aside).unwrap(),
                    "replaced" => {
                        std::fs::rename(directory, aside).unwrap();
                        drop(SqliteStore::open(directory, 0).unwrap());
                    }
                    file => std::fs::remove_file(directory.join(file)).unwrap(),
                }
            }
        };
        for name in ["", "replaced", "lock", DATABASE, "checkpoints.sqlite-wal", "checkpoints.sqlite-shm"] {
            let root = tempfile::tempdir().unwrap();
            let state_dir = root.path().join("state");
            let store = Store::new(SqliteStore::open(&state_dir, 0).unwrap());
            deliver(&store, "a", vec![part(0, 1, true)]).await;
            store.upkeep.in_place().await.unwrap();
            gone(name)(&state_dir);
            let refused = [
                store.upkeep.in_place().await.err(),
                store.positions.seal(seal("a", vec![part(1, 2, true)])).await.err(),
            ];
            for refused in refused {
                let Some(StoreError::Gone(told)) = refused else { panic!("{name:?}: {refused:?}") };
                assert!(told.contains(&format!("the state directory {} was removed", state_dir.display())), "{told}");
            }
        }
    }

    #[test]
    fn a_disk_without_space_is_told_from_damage() {
        let path = Path::new("/var/lib/auditferry/checkpoints.sqlite");
        let sqlite = |code| OpenError::Sqlite(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None));
        let io = |kind: std::io::ErrorKind| OpenError::Io { path: path.to_owned(), source: kind.into() };
        for error in [
            sqlite(rusqlite::ffi::SQLITE_FULL),
            sqlite(rusqlite::ffi::SQLITE_IOERR_SHMSIZE),
            io(std::io::ErrorKind::StorageFull),
            io(std::io::ErrorKind::QuotaExceeded),
        ] {
            let told = error.of_database(path);
            assert!(matches!(told, OpenError::Full { .. }), "{told}");
            assert!(!told.to_string().contains("backup"), "{told}");
        }
        for code in [rusqlite::ffi::SQLITE_CORRUPT, rusqlite::ffi::SQLITE_NOTADB] {
            assert!(matches!(sqlite(code).of_database(path), OpenError::Corrupt { .. }));
        }
        assert!(matches!(sqlite(rusqlite::ffi::SQLITE_IOERR_READ).of_database(path), OpenError::Sqlite(_)));
        let full = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_SHMSIZE), None);
        assert!(matches!(StoreError::from(full), StoreError::Full));
    }

    #[test]
    fn a_second_opener_is_told_who_has_the_store() {
        let World { directory, .. } = &world();
        let refused = SqliteStore::open(directory.path(), 0);
        let Err(OpenError::Locked { pid, .. }) = refused else { panic!("opened twice") };
        assert_eq!(pid, std::process::id().to_string());
    }

    /// A store that an older program wrote, opened by this program. It has the migrations before the step that contains
    /// the text `before`, and these rows.
    fn upgraded(before: &str, rows: &str) -> (tempfile::TempDir, Result<Store, OpenError>) {
        let directory = tempfile::tempdir().unwrap();
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        let steps = schema::MIGRATIONS.iter().position(|step| step.contains(before)).unwrap();
        schema::MIGRATIONS[..steps].iter().for_each(|step| raw.execute_batch(step).unwrap());
        raw.pragma_update(None, "user_version", u32::try_from(steps).unwrap()).unwrap();
        raw.execute_batch(rows).unwrap();
        drop(raw);
        let store = SqliteStore::open(directory.path(), 0).map(Store::new);
        (directory, store)
    }

    #[tokio::test]
    async fn where_the_sinks_of_an_older_store_stand_is_taken_over() {
        // First a row as version 2 wrote it, with its checksum; then one as later versions did, with the path.
        let row = "INSERT INTO lane VALUES ('o', 2, 1, 4384, 1795333046644, 4124340512510405613)";
        let (_directory, store) = upgraded("file_path", row);
        let state = Some(file_state(1, 4384, 1_795_333_046_644, None));
        assert_eq!(
            store.unwrap().positions.lane(&lane("o")).await.unwrap(),
            LaneState { seq: 2, last_id: None, state }
        );
        let sum = rows::Sum::of("lane").text(Some("o")).int(9).int(3).int(5).int(7).bytes(b"/a").value();
        let row = format!("INSERT INTO lane VALUES ('o', 9, 3, 5, 7, {sum}, '/a')");
        let (_directory, store) = upgraded("lane_before", &row);
        let state = Some(file_state(3, 5, 7, Some(Path::new("/a"))));
        assert_eq!(
            store.unwrap().positions.lane(&lane("o")).await.unwrap(),
            LaneState { seq: 9, last_id: None, state }
        );
        let (_directory, store) = upgraded("lane_before", &row.replace("9, 3", "9, 4"));
        assert!(matches!(store, Err(OpenError::Corrupt { reason, .. }) if reason.contains("the state of sink o")));
    }

    #[tokio::test]
    async fn a_batch_that_an_older_program_sealed_is_taken_over_whole() {
        let (of_part, whole) = ([1_u8; 32], [2_u8; 32]);
        let part = |object: i64, from: i64| {
            let sum = rows::Sum::of("batch_part").text(Some("o")).int(object).text(Some("e")).int(i64::MIN);
            sum.int(from).int(from + 2).bytes(&of_part)
        };
        let gap: [u8; 16] = [5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0];
        let with_gap = part(2, 5).text(Some("gap")).bytes(&gap).value();
        let batch = rows::Sum::of("batch").text(Some("o")).int(4).text(Some("i-o-4")).text(Some("0.1.0/old"));
        let batch = batch.int(99).bytes(&whole).value();
        let object = |id: i64, key: &str| {
            format!(
            "INSERT INTO object (id, feed, bucket, key, accepted, content_records, content_bytes, digest, in_order, state,
                                 changed_at_ms, sum) VALUES ({id}, 'dbx', 'logs', '{key}', 0, 0, 0, x'', 1, 'reading', 1, 0);"
        )
        };
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        let rows = [
            object(1, "a"),
            object(2, "b"),
            format!("INSERT INTO batch VALUES ('o', 4, 'i-o-4', '0.1.0/old', 99, x'{two}', {batch});"),
            format!(
                "INSERT INTO batch_part VALUES ('o', 0, 1, 'e', NULL, 0, 2, x'{one}', {}, NULL, 0, NULL);",
                part(1, 0).value()
            ),
            format!(
                "INSERT INTO batch_part VALUES ('o', 1, 2, 'e', NULL, 5, 7, x'{one}', {with_gap}, NULL, 0,
                                            x'05000000000000000600000000000000');"
            ),
        ]
        .concat();
        let (_directory, store) = upgraded("lane_before", &rows);
        let found = store.unwrap().positions.sealed(&lane("o")).await.unwrap();
        let manifest = found[0].manifest();
        assert_eq!((&*manifest.id, manifest.seq, &*manifest.encoder), ("i-o-4", 4, "0.1.0/old"));
        let parts: Vec<_> =
            manifest.parts.iter().map(|part| (&*part.advance.object.key, part.advance.before)).collect();
        assert_eq!(parts, [("a", 0), ("b", 5)]);
        assert!(manifest.parts[0].advance.form.ranges().is_empty());
        assert_eq!(manifest.parts[1].advance.form, Form::Onward { gap: (5..6).into() });
        let pieces: Vec<_> = manifest.pieces().map(|piece| (piece.to, piece.bytes, piece.hash)).collect();
        assert_eq!(pieces, [(7, 99, whole)], "a sink that holds all of it finds it by the hash of the whole");
        let (_directory, store) = upgraded("lane_before", &rows.replace("'e', NULL, 5", "'e', NULL, 4"));
        assert!(matches!(store, Err(OpenError::Corrupt { .. })));
    }

    #[test]
    fn a_newer_store_is_refused() {
        let World { directory, sqlite, store } = world();
        drop((sqlite, store));
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        raw.pragma_update(None, "user_version", 99).unwrap();
        drop(raw);
        let refused = SqliteStore::open(directory.path(), 0);
        assert!(matches!(refused, Err(OpenError::Newer { found: 99, .. })));
    }

    #[tokio::test]
    async fn a_copy_made_while_the_store_is_in_use_holds_what_was_committed() {
        let World { directory, store, .. } = world();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        let copied = directory.path().join("copy");
        let path = back_up(directory.path(), &copied).unwrap();
        assert_eq!(path.parent(), Some(&*copied));
        deliver(&store, "a", vec![part(3, 4, true)]).await;
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "it holds what nobody else shall read");
        let copy = Store::new(SqliteStore::open(&copied, 0).unwrap());
        assert_eq!(cursors(&copy).await, (3, vec![3, 0]));
        assert_eq!(cursors(&store).await, (4, vec![4, 0]));
    }

    #[tokio::test]
    async fn no_copy_takes_the_place_of_something_else() {
        let World { directory, .. } = &world();
        let occupied = directory.path().join("copy");
        std::fs::create_dir(&occupied).unwrap();
        std::fs::write(occupied.join("checkpoints.sqlite"), "an older copy").unwrap();
        assert!(matches!(back_up(directory.path(), &occupied), Err(BackupError::Occupied(path)) if path == occupied));
        assert_eq!(std::fs::read(occupied.join("checkpoints.sqlite")).unwrap(), b"an older copy");
    }

    #[tokio::test]
    async fn a_row_that_is_not_what_was_written_is_refused() {
        let World { directory, store, .. } = world();
        store.positions.set_state(lane("a"), State(b"where it stands".as_slice().into())).await.unwrap();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        store.positions.seal(seal("a", vec![part(3, 4, true)])).await.unwrap();
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        let damage = |change| assert!(raw.execute(change, []).unwrap() > 0, "{change}");
        damage("UPDATE cursor SET accepted = 2");
        let refused = store.positions.position(&object(), &["a".into()]).await;
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })));
        damage("UPDATE fingerprints SET packed = zeroblob(48)");
        assert!(matches!(store.positions.fingerprints(&object(), 0).await, Err(StoreError::Corrupt { .. })));
        damage("UPDATE batch_part SET pieces = zeroblob(48)");
        assert!(matches!(store.positions.sealed(&lane("a")).await, Err(StoreError::Corrupt { .. })));
        raw.execute("UPDATE lane SET state = 'elsewhere'", []).unwrap_err();
        damage("UPDATE lane SET state = CAST('elsewhere' AS BLOB)");
        assert!(matches!(store.positions.lane(&lane("a")).await, Err(StoreError::Corrupt { .. })));
    }
}
