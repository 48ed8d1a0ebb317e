//! The checkpoint store: what was accepted of each object, and what each sink has had. It is SQLite below, and nothing of
//! that shows in the interface.
//!
//! Every change is compare-and-apply: it names where it starts, and is rejected when the store stands elsewhere.

mod advance;

mod backup;

mod batches;

mod backlog;

mod files;

mod fingerprints;

mod freshness;

mod further;

mod inspect;

mod lock;

mod overflow;

mod places;

mod presence;

mod prune;

mod quarantine;

mod refused;

mod requeue;

mod retry;

mod rows;

mod schema;

mod position;

mod unread;

mod unrouted;

mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::delta::Fingerprint;
use crate::notification::ObjectId;

pub use advance::{Committed, Finish, GapChange, Passed};
pub use backlog::{BacklogEntry, BacklogPlace};
pub use backup::{BackupError, back_up};
pub use batches::{Seal, Sealed};
pub use freshness::Freshness;
pub use inspect::{Entry, Inspection, Kind, Selection};
pub use position::{ObjectPosition, SinkPosition, UnreadableVersion};
pub use prune::Forgotten;
pub use quarantine::{QuarantineLimits, QuarantineSize, Quarantined, Refusal};
pub use refused::KeptRecord;
pub use requeue::{Asked, Request};
pub use retry::Retried;
pub use unread::{Addition, UnreadCount, UnreadObject};
pub use unrouted::{KeptObject, NoFeed, Remembered, Unrouted, UnroutedSelection};
pub use writer::{CommittedGroup, Writing};

/// The database's name in the state directory.
const DATABASE: &str = "checkpoints.sqlite";

/// How many idle readers are kept.
const READERS_MAX: usize = 8;

/// What the writer and each reader keep of the database in memory.
const WRITER_CACHE_BYTES: usize = 2 << 20;
const READER_CACHE_BYTES: usize = 256 << 10;

/// What the store's caches take together.
pub const CACHE_BYTES: usize = WRITER_CACHE_BYTES + READERS_MAX * READER_CACHE_BYTES;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{path} is in use by process {pid}; one state directory belongs to one process")]
    Locked { path: PathBuf, pid: String },
    /// A newer program wrote it.
    #[error("the checkpoint store is of version {found}, this program knows up to {known}; run the newer program")]
    Newer { found: u32, known: u32 },
    /// An older program wrote it, and only the daemon brings it up to date.
    #[error(
        "the checkpoint store is of version {found}, this program works on {known}; start the daemon once, which brings it up to date"
    )]
    Older { found: u32, known: u32 },
    /// Its content is damaged.
    #[error(
        "{path} is damaged ({reason}); restore a backup of the state directory, or move that away to begin anew, which delivers everything again"
    )]
    Corrupt { path: PathBuf, reason: String },
    /// No space is left.
    #[error("no space is left on the disk of {path}; nothing is lost: make room there and start again")]
    Full { path: PathBuf },
    #[error("cannot use {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("cannot open the checkpoint store: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl OpenError {
    /// The same, where the database at `path` is damaged or its disk full.
    fn of_database(self, path: &Path) -> Self {
        let corrupt = |reason| Self::Corrupt { path: path.to_owned(), reason };
        let is_full = match &self {
            Self::Sqlite(error) if is_full(error) => true,
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => return corrupt(error.to_string()),
                // This program's statements are valid for its own tables.
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

/// Whether SQLite had no space. It reports that in two ways: for its files, and for its shared memory, which is a file too.
fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        || error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

/// Why a checkpoint could not be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store does not stand where the change starts: another change came first.
    #[error("{object} has moved on in the checkpoint store")]
    Overtaken { object: ObjectId },
    /// No space is left. Try again once there is.
    #[error("the checkpoint store's disk is full")]
    Full,
    /// A row is not what was written.
    #[error("{row} is damaged in the checkpoint store; restore a backup of the state directory")]
    Corrupt { row: String },
    /// The store's files are not there any more, or others are in their place. Nothing that is committed would last: stop.
    #[error(
        "the state directory {state_dir} was removed or replaced while the daemon ran ({what}); put it back, or restore a backup of it, and start again; without it everything is delivered again"
    )]
    Gone { state_dir: PathBuf, what: String },
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
            _ if is_full(&error) => Self::Full,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { row: error.to_string() },
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// What a commit survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// The end of the machine.
    Disk,
    /// The end of the process alone.
    Process,
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
    quarantine: QuarantineLimits,
    presence: Arc<presence::Presence>,
    exposed: Vec<PathBuf>,
    /// Held as long as the store is open.
    _lock: lock::Lock,
}

impl CheckpointStore {
    /// Opens the store of a state directory, making both if they are not there, and checks it whole. Nobody but the
    /// owner may read its files then.
    ///
    /// `quarantine` bounds what is kept of refused records.
    ///
    /// # Errors
    /// Another process has it, it is damaged, its disk is full, or a newer program wrote it.
    pub fn open(state_dir: &Path, quarantine: impl Into<QuarantineLimits>) -> Result<Self, OpenError> {
        let (store, writing) = Self::open_apart(state_dir, quarantine, Durability::Disk)?;
        writing.start().map_err(|source| OpenError::Io { path: state_dir.to_owned(), source })?;
        Ok(store)
    }

    /// As [`open`](Self::open), and nothing is written before the caller has the [`Writing`] commit it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_apart(
        state_dir: &Path,
        quarantine: impl Into<QuarantineLimits>,
        durability: Durability,
    ) -> Result<(Self, Writing), OpenError> {
        let path = state_dir.join(DATABASE);
        let opened = Self::open_at(state_dir, path.clone(), quarantine.into(), durability);
        opened.map_err(|error| error.of_database(&path))
    }

    fn open_at(
        state_dir: &Path,
        path: PathBuf,
        quarantine: QuarantineLimits,
        durability: Durability,
    ) -> Result<(Self, Writing), OpenError> {
        let io = |source| OpenError::Io { path: state_dir.to_owned(), source };
        files::make_directory(state_dir).map_err(io)?;
        let lock = lock::Lock::take(state_dir)?;
        files::make_database(&path)?;
        let exposed = files::narrow(state_dir).map_err(io)?;
        let (connection, instance) = begin(&path, durability)?;
        let presence = Arc::new(presence::Presence::of(state_dir, &lock).map_err(io)?);
        // The directory may have been replaced since it was locked.
        presence.check().map_err(|error| io(std::io::Error::other(error)))?;
        let (writer, writing) = writer::Writer::new(connection, Arc::clone(&presence));
        let shared = Shared { path, readers: Mutex::default(), instance, quarantine, presence, exposed, _lock: lock };
        Ok((Self { writer, shared: Arc::new(shared) }, writing))
    }

    /// Whether the store's files are still those that were opened.
    ///
    /// # Errors
    /// [`StoreError::Gone`] says which is not.
    pub fn in_place(&self) -> Result<(), StoreError> {
        self.shared.presence.check()
    }

    /// The store's files that others may read, since their modes are not ours to change.
    pub fn exposed(&self) -> &[PathBuf] {
        &self.shared.exposed
    }

    /// This store's name among all stores, for ever: part of each batch's id.
    pub fn instance(&self) -> &str {
        &self.shared.instance
    }

    /// Bytes on disk, the log of what is not yet in the database file included.
    pub fn size_bytes(&self) -> u64 {
        let len = |path: &Path| std::fs::metadata(path).map(|file| file.len()).unwrap_or(0);
        len(&self.shared.path) + len(&self.shared.path.with_extension("sqlite-wal"))
    }

    /// Appends to `into` the object's accepted fingerprints from number `from` on, in order; some of them, and none only
    /// when there are no more.
    pub fn fingerprints(&self, object: &ObjectId, from: u64, into: &mut Vec<Fingerprint>) -> Result<(), StoreError> {
        self.read(|connection| match rows::ObjectRow::find(connection, object)? {
            Some(row) => fingerprints::read(connection, row.id, from, into),
            None => Ok(()),
        })
    }

    /// Where the store lies, and temporary files may.
    pub fn state_dir(&self) -> &Path {
        self.shared.path.parent().unwrap_or(Path::new("."))
    }

    /// Brings everything into one file. To be called last.
    pub async fn tidy(&self) {
        self.writer.tidy().await;
    }

    /// Runs `read` over a reader of its own, which sees all that was committed.
    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.shared.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let opened =
                    connect(&self.shared.path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX);
                // Another store may be at that path now, or none.
                self.in_place()?;
                opened?
            }
        };
        let result = read(&connection);
        let mut readers = self.shared.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_MAX {
            readers.push(connection);
        }
        result
    }
}

/// Opens the database checked and up to date, and says what the store is called.
fn begin(path: &Path, durability: Durability) -> Result<(Connection, String), OpenError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    if durability == Durability::Process {
        connection.pragma_update(None, "synchronous", "OFF")?;
    }
    check(&connection, path)?;
    schema::migrate(&mut connection)?;
    connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'", [])?;
    let instance = connection.query_row("SELECT value FROM meta WHERE key = 'instance'", [], |row| row.get(0))?;
    Ok((connection, instance))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    // Else a statement is planned anew for each value that is bound to it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    let is_reader = flags.contains(OpenFlags::SQLITE_OPEN_READ_ONLY);
    let cache_bytes = if is_reader { READER_CACHE_BYTES } else { WRITER_CACHE_BYTES };
    // Less than nothing is a number of KiB, not of pages.
    connection.pragma_update(None, "cache_size", -i64::try_from(cache_bytes >> 10).unwrap_or(1024))?;
    if !is_reader {
        // What a savepoint changes is kept for its rollback: in memory, not in a file that is written to each time.
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
    use std::sync::Arc;

    use super::*;
    use crate::batch::{Acceptance, Advance, Batch, Form, Lane, Part, Refused};
    use crate::delta::{Progress, RecordHash};
    use crate::event::Encoded;
    use crate::object::Version;
    use crate::sink::{LaneState, Receipt, State, file_state};

    const DAY_MS: i64 = 86_400_000;

    pub(in crate::checkpoint) struct World {
        pub(in crate::checkpoint) directory: tempfile::TempDir,
        pub(in crate::checkpoint) store: CheckpointStore,
    }

    pub(in crate::checkpoint) fn world() -> World {
        let directory = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(directory.path(), 1 << 20).unwrap();
        World { directory, store }
    }

    pub(in crate::checkpoint) fn object() -> ObjectId {
        ObjectId::new("logs", "workspaceId=1/a.json")
    }

    fn lines(from: u64, to: u64) -> Vec<String> {
        (from..to).map(|n| format!("record {n}\n")).collect()
    }

    fn progress(accepted: u64) -> Progress {
        Progress { accepted, content_records: accepted, content_bytes: accepted * 9, digest: [1; 32], in_order: true }
    }

    /// A part of the records `from..to`, which are new when `accepted` is where they begin.
    pub(in crate::checkpoint) fn part(from: u64, to: u64, is_new: bool) -> Part {
        let records = lines(from, to);
        let fingerprints =
            records.iter().map(|line| RecordHash::of(line.trim_end().as_bytes()).fingerprint()).collect();
        let acceptance = is_new.then(|| {
            Arc::new(Acceptance {
                feed: "dbx".into(),
                before: from,
                after: to,
                fingerprints,
                progress: progress(to),
                refused: vec![Refused {
                    ordinal: from,
                    place: from,
                    occurrence: 0,
                    hash: RecordHash::of(records[0].trim_end().as_bytes()),
                    offset: 0,
                    reason: "not JSON".into(),
                    body_zstd: Some(vec![1]),
                }],
            })
        });
        let version = Version { etag: "e1".into(), version_id: None, last_modified_ms: Some(1), size_bytes: 9 };
        let mut encoded = Encoded { bytes: records.concat().into(), ..Encoded::default() };
        for line in &records {
            encoded.ends.push(encoded.ends.last().copied().unwrap_or(0) + u32::try_from(line.len()).unwrap());
        }
        Part {
            advance: Advance::onward(object(), from, to),
            version: Arc::new(version),
            acceptance,
            piece: encoded.into(),
        }
    }

    impl CheckpointStore {
        /// How many transactions were made durable: frames that end one, in the log.
        pub(crate) fn durable_writes(&self) -> usize {
            let log = std::fs::read(self.shared.path.with_extension("sqlite-wal")).unwrap();
            let page_bytes = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
            log[32..].chunks(24 + page_bytes).filter(|frame| frame[4..8] != [0; 4]).count()
        }

        /// Leaves the database room for so many pages in all, as a full disk does.
        pub(crate) async fn limit_pages(&self, most: u32) {
            let limit = move |connection: &Connection| {
                Ok(connection.query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(()))?)
            };
            self.writer.write(limit).await.unwrap();
        }
    }

    pub(in crate::checkpoint) fn lane(sink: &str) -> Lane {
        Lane::only(sink.into())
    }

    pub(in crate::checkpoint) fn seal(sink: &str, parts: Vec<Part>) -> Seal {
        Seal { lane: lane(sink), encoder: "test".into(), parts: parts.into(), now_ms: 1 }
    }

    pub(in crate::checkpoint) fn receipt(sealed: &Sealed) -> Receipt {
        Receipt::nothing(&Batch::of(sealed.manifest(), [].iter())).unwrap()
    }

    pub(in crate::checkpoint) async fn deliver(store: &CheckpointStore, sink: &str, parts: Vec<Part>) {
        let sealed = store.seal(seal(sink, parts)).await.unwrap();
        store.commit(&sealed, &receipt(&sealed)).await.unwrap();
    }

    /// Of so many accepted records, a version that these sinks were offered whole.
    pub(in crate::checkpoint) fn finish(accepted: u64, etag: &str, sinks: &[&str]) -> Finish {
        Finish {
            family: "databricks",
            feed: "dbx".into(),
            sinks: sinks.iter().copied().map(Arc::from).collect(),
            object: object(),
            etag: etag.into(),
            progress: progress(accepted),
            framed_bytes: 0,
            changed: true,
            fresh: None,
            now_ms: 1,
        }
    }

    fn cursors(store: &CheckpointStore) -> (u64, Vec<u64>) {
        let position = store.position(&object(), &["a".into(), "b".into()]).unwrap();
        (position.progress.accepted, position.sinks.iter().map(|sink| sink.accepted).collect())
    }

    #[tokio::test]
    async fn records_are_accepted_once_and_each_sink_moves_alone() {
        let World { directory: _directory, store } = world();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        assert_eq!(cursors(&store), (3, vec![3, 0]));
        deliver(&store, "b", vec![part(0, 3, true)]).await;
        assert_eq!(cursors(&store), (3, vec![3, 3]));
        let mut fingerprints = Vec::new();
        store.fingerprints(&object(), 0, &mut fingerprints).unwrap();
        assert_eq!(fingerprints.len(), 3, "the second sink's batch accepts nothing again");
        assert_eq!(store.quarantine_size().unwrap().entries("record"), 1, "nor does it quarantine again");
    }

    #[tokio::test]
    async fn an_advance_from_elsewhere_is_overtaken_and_leaves_nothing() {
        let World { directory: _directory, store } = world();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        for wrong in [part(0, 2, false), part(5, 6, true), part(2, 4, true)] {
            let refused = store.seal(seal("a", vec![part(3, 4, true), wrong])).await;
            assert!(matches!(refused, Err(StoreError::Overtaken { .. })));
            assert_eq!(cursors(&store), (3, vec![3, 0]), "not even the part that was right");
            assert!(store.sealed(&lane("a")).unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn a_sealed_batch_outlives_the_process_with_its_id() {
        let World { directory, store } = world();
        let sealed = store.seal(seal("a", vec![part(0, 2, true), part(2, 3, true)])).await.unwrap();
        drop(store);
        let store = CheckpointStore::open(directory.path(), 0).unwrap();
        let [found] = &store.sealed(&lane("a")).unwrap()[..] else { panic!("one batch was sealed") };
        assert_eq!(found.manifest(), sealed.manifest());
        let ends: Vec<u64> = found.manifest().pieces().map(|piece| piece.to).collect();
        assert_eq!((found.manifest().parts.len(), ends), (1, vec![2, 3]), "one stretch of two pieces");
        assert_eq!(cursors(&store), (3, vec![0, 0]), "accepted, and not yet delivered");
        store.commit(found, &receipt(found)).await.unwrap();
        assert_eq!(cursors(&store), (3, vec![3, 0]));
        let last_id = Some(found.manifest().id.clone());
        assert_eq!(store.lane(&lane("a")).unwrap(), LaneState { seq: 1, last_id, state: None });
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        store.seal(seal("a", vec![part(3, 4, true)])).await.unwrap();
        raw.execute("UPDATE batch_part SET pieces = zeroblob(48)", []).unwrap();
        assert!(matches!(store.sealed(&lane("a")), Err(StoreError::Corrupt { .. })));
    }

    #[tokio::test]
    async fn several_batches_of_a_lane_may_be_sealed_and_each_begins_where_the_one_before_ends() {
        let World { directory: _directory, store } = world();
        let first = store.seal(seal("a", vec![part(0, 2, true)])).await.unwrap();
        let refused = store.seal(seal("a", vec![part(0, 2, false)])).await;
        assert!(matches!(refused, Err(StoreError::Overtaken { .. })), "that is sealed already");
        let second = store.seal(seal("a", vec![part(2, 3, true)])).await.unwrap();
        let other_lane = Lane { number: 1, ..lane("a") };
        assert!(store.sealed(&other_lane).unwrap().is_empty());
        let seqs = || store.sealed(&lane("a")).unwrap().iter().map(|one| one.manifest().seq).collect::<Vec<_>>();
        assert_eq!(seqs(), [1, 2]);
        let refused = store.commit(&second, &receipt(&second)).await;
        assert!(matches!(refused, Err(StoreError::Overtaken { .. })), "they are committed in their order");
        store.commit(&first, &receipt(&first)).await.unwrap();
        assert_eq!((cursors(&store), seqs()), ((3, vec![2, 0]), vec![2]));
        store.commit(&second, &receipt(&second)).await.unwrap();
        assert_eq!((cursors(&store), seqs()), ((3, vec![3, 0]), vec![]));
    }

    #[tokio::test]
    async fn a_batch_that_cannot_be_made_again_is_unsealed_with_those_behind_it() {
        let World { directory: _directory, store } = world();
        let first = store.seal(seal("a", vec![part(0, 2, true)])).await.unwrap();
        store.seal(seal("a", vec![part(2, 3, true)])).await.unwrap();
        store.seal(seal("b", vec![part(0, 3, false)])).await.unwrap();
        store.unseal(&first).await.unwrap();
        assert!(store.sealed(&lane("a")).unwrap().is_empty());
        assert_eq!(store.sealed(&lane("b")).unwrap().len(), 1);
        assert_eq!(cursors(&store), (3, vec![0, 0]));
    }

    #[tokio::test]
    async fn a_batch_is_committed_and_the_next_sealed_in_one_durable_write() {
        let World { directory: _directory, store } = world();
        let before = store.durable_writes();
        let mut sealed = store.seal(seal("a", vec![part(0, 1, true)])).await.unwrap();
        for n in 1..4 {
            let next = seal("a", vec![part(n, n + 1, true)]);
            sealed = store.commit_and_seal(&sealed, &receipt(&sealed), next).await.unwrap().1.unwrap();
            assert_eq!(cursors(&store), (n + 1, vec![n, 0]));
        }
        store.commit(&sealed, &receipt(&sealed)).await.unwrap();
        assert_eq!(store.durable_writes() - before, 5, "of four batches, each sealed and committed");
    }

    #[tokio::test]
    async fn a_next_batch_that_is_overtaken_leaves_nothing_and_keeps_no_commit_back() {
        let World { directory: _directory, store } = world();
        let sealed = store.seal(seal("a", vec![part(0, 2, true)])).await.unwrap();
        let before = store.durable_writes();
        let next = seal("a", vec![part(2, 3, true), part(7, 8, true)]);
        let (_committed, next) = store.commit_and_seal(&sealed, &receipt(&sealed), next).await.unwrap();
        assert!(matches!(next, Err(StoreError::Overtaken { object: overtaken }) if overtaken == object()));
        assert_eq!(cursors(&store), (2, vec![2, 0]), "not even the part that was right");
        assert!(store.sealed(&lane("a")).unwrap().is_empty());
        assert_eq!(store.durable_writes() - before, 1);
        // And a commit that is overtaken, out of its turn here, seals nothing.
        store.seal(seal("a", vec![part(2, 3, true)])).await.unwrap();
        let second = store.seal(seal("a", vec![part(3, 4, true)])).await.unwrap();
        let refused = store.commit_and_seal(&second, &receipt(&second), seal("a", vec![part(4, 5, true)])).await;
        assert!(matches!(refused, Err(StoreError::Overtaken { .. })));
        assert_eq!((store.sealed(&lane("a")).unwrap().len(), cursors(&store)), (2, (4, vec![2, 0])));
    }

    #[tokio::test]
    async fn a_message_is_settled_only_when_every_sink_has_had_the_object_or_has_it_in_its_backlog() {
        let World { directory: _directory, store } = world();
        let sinks: [Arc<str>; 2] = ["a".into(), "b".into()];
        assert!(store.passed(&object(), &sinks).unwrap().is_none(), "never read");
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        assert!(store.passed(&object(), &sinks[..1]).unwrap().is_none(), "not read to its end");
        assert!(!store.finish(finish(4, "e1", &["a"])).await.unwrap(), "the store has not accepted as much");
        assert!(store.finish(finish(3, "e1", &["a"])).await.unwrap());
        assert!(store.passed(&object(), &sinks[..1]).unwrap().is_some());
        assert!(store.passed(&object(), &sinks).unwrap().is_none(), "b has had nothing");
        store.add_to_backlog("b".into(), vec![("dbx".into(), object(), 1)]).await.unwrap();
        assert!(store.passed(&object(), &sinks).unwrap().is_some());
        store.clear_from_backlog("b".into(), object()).await.unwrap();
        assert!(store.passed(&object(), &sinks).unwrap().is_none());
    }

    #[tokio::test]
    async fn nothing_in_a_backlog_or_under_way_is_forgotten() {
        let World { directory: _directory, store } = world();
        let other = |n: u64| ObjectId::new("logs", format!("{n}"));
        for n in 0..4 {
            let mut part = part(0, 1, true);
            part.advance.object = other(n);
            Arc::get_mut(part.acceptance.as_mut().unwrap()).unwrap().refused.clear();
            deliver(&store, "a", vec![part]).await;
        }
        store.add_to_backlog("b".into(), vec![("dbx".into(), other(0), 1)]).await.unwrap();
        let mut under_way = part(1, 2, true);
        under_way.advance.object = other(1);
        store.seal(seal("a", vec![under_way])).await.unwrap();
        let unread = UnreadObject { object: other(2), kind: "denied".into(), attempts: 1, since_ms: 1 };
        store.add_unread("dbx".into(), vec![unread], 1).await.unwrap();
        assert_eq!(store.forget(40 * DAY_MS).await.unwrap().objects, 1);
        assert_eq!(store.forget(40 * DAY_MS).await.unwrap().objects, 0);
        assert_eq!(store.object_count().unwrap(), 3);
        assert_eq!(store.forgotten_before("dbx").unwrap(), Some(40 * DAY_MS));
        assert_eq!(store.forgotten_before("other").unwrap(), None);
    }

    #[tokio::test]
    async fn a_row_that_is_not_what_was_written_is_refused() {
        let World { directory, store } = world();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        raw.execute("UPDATE cursor SET accepted = 2", []).unwrap();
        let refused = store.position(&object(), &["a".into()]);
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })));
        raw.execute("UPDATE fingerprints SET packed = zeroblob(48)", []).unwrap();
        assert!(matches!(store.fingerprints(&object(), 0, &mut Vec::new()), Err(StoreError::Corrupt { .. })));
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
                        drop(CheckpointStore::open(directory, 0).unwrap());
                    }
                    file => std::fs::remove_file(directory.join(file)).unwrap(),
                }
            }
        };
        for name in ["", "replaced", "lock", DATABASE, "checkpoints.sqlite-wal", "checkpoints.sqlite-shm"] {
            let root = tempfile::tempdir().unwrap();
            let state_dir = root.path().join("state");
            let store = CheckpointStore::open(&state_dir, 0).unwrap();
            deliver(&store, "a", vec![part(0, 1, true)]).await;
            store.in_place().unwrap();
            gone(name)(&state_dir);
            let refused = [store.in_place().err(), store.seal(seal("a", vec![part(1, 2, true)])).await.err()];
            for refused in refused {
                let Some(StoreError::Gone { state_dir: told, .. }) = refused else { panic!("{name:?}: {refused:?}") };
                assert_eq!(told, state_dir);
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
        let World { directory, store: _store } = world();
        let refused = CheckpointStore::open(directory.path(), 0);
        let Err(OpenError::Locked { pid, .. }) = refused else { panic!("opened twice") };
        assert_eq!(pid, std::process::id().to_string());
    }

    #[tokio::test]
    async fn a_lanes_place_outlives_commits_and_the_process() {
        let World { directory, store } = world();
        let state = State(b"where it stands".as_slice().into());
        store.set_state(lane("a"), state.clone()).await.unwrap();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        drop(store);
        let store = CheckpointStore::open(directory.path(), 0).unwrap();
        let found = store.lane(&lane("a")).unwrap();
        assert_eq!((found.seq, found.state), (1, Some(state)));
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        raw.execute("UPDATE lane SET state = 'elsewhere'", []).unwrap_err();
        raw.execute("UPDATE lane SET state = CAST('elsewhere' AS BLOB)", []).unwrap();
        assert!(matches!(store.lane(&lane("a")), Err(StoreError::Corrupt { .. })));
    }

    /// A store as a program of before wrote it, up to the step that holds this text, with these rows; opened by this one.
    fn upgraded(before: &str, rows: &str) -> (tempfile::TempDir, Result<CheckpointStore, OpenError>) {
        let directory = tempfile::tempdir().unwrap();
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        let steps = schema::MIGRATIONS.iter().position(|step| step.contains(before)).unwrap();
        schema::MIGRATIONS[..steps].iter().for_each(|step| raw.execute_batch(step).unwrap());
        raw.pragma_update(None, "user_version", u32::try_from(steps).unwrap()).unwrap();
        raw.execute_batch(rows).unwrap();
        drop(raw);
        let store = CheckpointStore::open(directory.path(), 0);
        (directory, store)
    }

    #[test]
    fn where_the_sinks_of_an_older_store_stand_is_taken_over() {
        // As version 2 wrote it, checksum and all; and as later ones did, which know the path too.
        let row = "INSERT INTO lane VALUES ('o', 2, 1, 4384, 1795333046644, 4124340512510405613)";
        let (_directory, store) = upgraded("file_path", row);
        let state = Some(file_state(1, 4384, 1_795_333_046_644, None));
        assert_eq!(store.unwrap().lane(&lane("o")).unwrap(), LaneState { seq: 2, last_id: None, state });
        let sum = rows::Sum::of("lane").text(Some("o")).int(9).int(3).int(5).int(7).bytes(b"/a").value();
        let row = format!("INSERT INTO lane VALUES ('o', 9, 3, 5, 7, {sum}, '/a')");
        let (_directory, store) = upgraded("lane_before", &row);
        let state = Some(file_state(3, 5, 7, Some(Path::new("/a"))));
        assert_eq!(store.unwrap().lane(&lane("o")).unwrap(), LaneState { seq: 9, last_id: None, state });
        let (_directory, store) = upgraded("lane_before", &row.replace("9, 3", "9, 4"));
        assert!(matches!(store, Err(OpenError::Corrupt { reason, .. }) if reason.contains("the state of sink o")));
    }

    #[test]
    fn a_batch_that_an_older_program_sealed_is_taken_over_whole() {
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
        let found = store.unwrap().sealed(&lane("o")).unwrap();
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
        let World { directory, store } = world();
        drop(store);
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        raw.pragma_update(None, "user_version", 99).unwrap();
        drop(raw);
        let refused = CheckpointStore::open(directory.path(), 0);
        assert!(matches!(refused, Err(OpenError::Newer { found: 99, .. })));
    }

    #[tokio::test]
    async fn a_copy_made_while_the_store_is_in_use_holds_what_was_committed() {
        let World { directory, store } = world();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        let copied = directory.path().join("copy");
        let path = back_up(store.state_dir(), &copied).unwrap();
        assert_eq!(path.parent(), Some(&*copied));
        deliver(&store, "a", vec![part(3, 4, true)]).await;
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "it holds what nobody else shall read");
        let copy = CheckpointStore::open(&copied, 0).unwrap();
        assert_eq!(cursors(&copy), (3, vec![3, 0]));
        assert_eq!(cursors(&store), (4, vec![4, 0]));
    }

    #[tokio::test]
    async fn no_copy_takes_the_place_of_something_else() {
        let World { directory, store } = world();
        let occupied = directory.path().join("copy");
        std::fs::create_dir(&occupied).unwrap();
        std::fs::write(occupied.join("checkpoints.sqlite"), "an older copy").unwrap();
        assert!(matches!(back_up(store.state_dir(), &occupied), Err(BackupError::Occupied(path)) if path == occupied));
        assert_eq!(std::fs::read(occupied.join("checkpoints.sqlite")).unwrap(), b"an older copy");
    }
}
