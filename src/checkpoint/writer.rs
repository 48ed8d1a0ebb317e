//! The one thread that writes: many advances, one commit.

use std::sync::{Arc, mpsc};
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::StoreError;
use super::presence::Presence;

/// How many writes one commit gathers at most.
const GROUP_MAX: usize = 256;

/// How many writes may wait.
const WAITING_MAX: usize = 1024;

/// Tells the asker how the group's commit ended.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// One write, which answers once it is durable.
type Write = Box<dyn FnOnce(&Connection) -> Answer + Send>;

/// What the writer is asked for.
enum Request {
    Write(Write),
    /// Bring everything from the log into the database file, as the last thing before the end.
    Tidy(oneshot::Sender<()>),
}

/// The way to the writer. The thread ends, and closes the store, when the last of them is gone.
#[derive(Clone)]
pub(super) struct Writer {
    requests: mpsc::SyncSender<Request>,
}

impl Writer {
    pub(super) fn start(connection: Connection, presence: Arc<Presence>) -> std::io::Result<Self> {
        let (requests, waiting) = mpsc::sync_channel(WAITING_MAX);
        thread::Builder::new().name("checkpoint".to_owned()).spawn(move || run(&connection, &presence, &waiting))?;
        Ok(Self { requests })
    }

    /// Applies `write` and waits until it is on disk. It sees what came before it; if it fails, nothing of it remains.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let task: Write = Box::new(move |connection| {
            let result = in_savepoint(connection, write);
            Box::new(move |committed| {
                let _ = reply.send(match committed {
                    // Another write of the group may have met the full disk.
                    Err(StoreError::Full) => result.and(Err(StoreError::Full)),
                    committed => committed.and(result),
                });
            })
        });
        self.ask(Request::Write(task)).await?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Returns once everything written lies in the database file.
    pub(super) async fn tidy(&self) {
        let (reply, answer) = oneshot::channel();
        if self.ask(Request::Tidy(reply)).await.is_ok() {
            // A writer that has gone has nothing left to bring in.
            let _ = answer.await;
        }
    }

    async fn ask(&self, request: Request) -> Result<(), StoreError> {
        // The channel is full only while a commit is under way, which is a few milliseconds.
        let mut request = Some(request);
        while let Some(asked) = request.take() {
            match self.requests.try_send(asked) {
                Ok(()) => {}
                Err(mpsc::TrySendError::Full(asked)) => {
                    request = Some(asked);
                    tokio::task::yield_now().await;
                }
                Err(mpsc::TrySendError::Disconnected(_)) => return Err(StoreError::Closed),
            }
        }
        Ok(())
    }
}

/// Applies `write` so that nothing of it remains if it fails. May be nested.
pub(super) fn in_savepoint<T>(
    connection: &Connection,
    write: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // Where another program held the database for too long, no transaction was begun: nothing may commit alone.
    if connection.is_autocommit() {
        return Err(StoreError::Failed("another program holds the database".to_owned()));
    }
    connection.execute_batch("SAVEPOINT one")?;
    let result = write(connection);
    let end = if result.is_ok() { "RELEASE one" } else { "ROLLBACK TO one; RELEASE one" };
    // After a full disk SQLite has rolled the whole transaction back already, the savepoint with it.
    match (connection.execute_batch(end), &result) {
        (Err(error), Ok(_)) => Err(error.into()),
        _ => result,
    }
}

fn run(connection: &Connection, presence: &Presence, waiting: &mpsc::Receiver<Request>) {
    while let Ok(first) = waiting.recv() {
        let begun = connection.execute_batch("BEGIN IMMEDIATE");
        let (mut answers, mut tidied) = (Vec::new(), Vec::new());
        for request in std::iter::once(first).chain(waiting.try_iter().take(GROUP_MAX - 1)) {
            match request {
                Request::Write(write) => answers.push(write(connection)),
                Request::Tidy(reply) => tidied.push(reply),
            }
            // On a full disk SQLite has rolled the whole transaction back: what would follow must not commit alone.
            if connection.is_autocommit() {
                break;
            }
        }
        let committed = match begun {
            Ok(()) if connection.is_autocommit() => Err(StoreError::Full),
            begun => begun.and_then(|()| connection.execute_batch("COMMIT")).map_err(StoreError::from),
        };
        if committed.is_err() && !connection.is_autocommit() {
            // The answers tell the failure; what cannot be rolled back is rolled back when the store is next opened.
            let _ = connection.execute_batch("ROLLBACK");
        }
        // What was written to files that are gone would be promised and not kept.
        let committed = presence.check().and(committed);
        for answer in answers {
            answer(committed.clone());
        }
        for reply in tidied {
            // What stays in the log is read from there.
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            let _ = reply.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_that_finds_the_disk_full_before_its_commit_says_so_and_so_do_all_of_its_group() {
        let directory = tempfile::tempdir().unwrap();
        let connection = Connection::open(directory.path().join("db")).unwrap();
        connection.execute_batch("CREATE TABLE t (n BLOB); PRAGMA max_page_count = 1").unwrap();
        let lock = crate::checkpoint::lock::Lock::take(directory.path()).unwrap();
        let presence = Arc::new(Presence::of(directory.path(), &lock).unwrap());
        let writer = Writer::start(connection, presence).unwrap();
        let insert = |bytes: i64| {
            writer.write(move |connection| Ok(connection.execute("INSERT INTO t VALUES (zeroblob(?1))", [bytes])?))
        };
        let (small, large) = tokio::join!(insert(1), insert(1 << 20));
        assert!(matches!((small, large), (Ok(1) | Err(StoreError::Full), Err(StoreError::Full))));
        assert_eq!(insert(1).await.unwrap(), 1, "the next has room");
    }

    #[tokio::test]
    async fn a_write_that_fails_leaves_nothing_and_spoils_no_other_of_its_group() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER)").unwrap();
        let lock = crate::checkpoint::lock::Lock::take(directory.path()).unwrap();
        let presence = Arc::new(Presence::of(directory.path(), &lock).unwrap());
        let writer = Writer::start(connection, presence).unwrap();
        let insert = |n: i64, fails: bool| {
            writer.write(move |connection| {
                connection.execute("INSERT INTO t VALUES (?1)", [n])?;
                if fails { Err(StoreError::Closed) } else { Ok(()) }
            })
        };
        let (one, two, three) = tokio::join!(insert(1, false), insert(2, true), insert(3, false));
        assert!(one.is_ok() && two.is_err() && three.is_ok());
        let reader = Connection::open(&path).unwrap();
        let sum: i64 = reader.query_row("SELECT sum(n) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 4);
    }
}
