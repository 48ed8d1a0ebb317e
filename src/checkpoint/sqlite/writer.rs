//! The writer thread, which groups many writes into one commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::{io, thread};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::fence::Fence;
use super::presence::Presence;
use crate::checkpoint::StoreError;

/// The most writes in one commit.
const GROUP_MAX: usize = 256;

/// The most writes that may wait.
const WAITING_MAX: usize = 1024;

/// Answers a write with the result of its group's commit.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// One write. It returns the answer to give once the commit ended.
type Write = Box<dyn FnOnce(&Connection) -> Answer + Send>;

/// A request to the writer.
enum Request {
    Write(Write),
    /// Moves everything from the log into the database file. This is the last request.
    Tidy(oneshot::Sender<()>),
}

/// A handle for requests to the writer.
#[derive(Clone)]
pub(super) struct Writer {
    requests: mpsc::Sender<Request>,
}

impl Writer {
    /// Makes a handle, and the writer itself.
    pub(super) fn new(connection: Connection, fence: Fence, presence: Arc<Presence>) -> (Self, Writing) {
        let (requests, waiting) = mpsc::channel(WAITING_MAX);
        (Self { requests }, Writing { connection, fence, presence, waiting, group: VecDeque::new() })
    }

    /// Applies `write`, and returns once it is on disk. It sees all earlier writes. If it fails, nothing of it remains.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let task: Write = Box::new(move |connection| {
            let result = in_savepoint(connection, write);
            Box::new(move |committed| {
                let _ = reply.send(match committed {
                    // The write itself may have succeeded before another write of the group filled the disk.
                    Err(StoreError::Full) => result.and(Err(StoreError::Full)),
                    committed => committed.and(result),
                });
            })
        });
        self.requests.send(Request::Write(task)).await.map_err(|_closed| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Returns once everything written is in the database file.
    pub(super) async fn tidy(&self) {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Tidy(reply)).await.is_ok() {
            // If the writer has ended, there is nothing left to do.
            let _ = answer.await;
        }
    }
}

/// The writer: commits requests, one group after another. Dropping it closes the store.
pub struct Writing {
    connection: Connection,
    fence: Fence,
    presence: Arc<Presence>,
    waiting: mpsc::Receiver<Request>,
    group: VecDeque<Request>,
}

impl Writing {
    /// Runs the writer on its own thread, which ends when the last handle of the store is dropped.
    pub(super) fn start(mut self) -> io::Result<()> {
        let run = move || {
            while !self.group.is_empty() || self.waiting.blocking_recv().is_some_and(|first| self.gather(first)) {
                self.commit().answer();
            }
        };
        thread::Builder::new().name("checkpoint".to_owned()).spawn(run)?;
        Ok(())
    }

    /// Waits for a request. Returns `false` if the last handle of the store was dropped. Cancel-safe.
    pub async fn asked(&mut self) -> bool {
        !self.group.is_empty() || self.waiting.recv().await.is_some_and(|first| self.gather(first))
    }

    /// Limits the database to this many pages, or to its present size if that is larger, like a full disk.
    pub fn limit_pages(&self, pages: u32) -> Result<(), StoreError> {
        Ok(self.connection.pragma_update(None, "max_page_count", pages)?)
    }

    fn gather(&mut self, first: Request) -> bool {
        self.group.push_back(first);
        while self.group.len() < GROUP_MAX
            && let Ok(next) = self.waiting.try_recv()
        {
            self.group.push_back(next);
        }
        true
    }

    /// Applies the waiting requests in one commit. They are answered by [`CommittedGroup::answer`].
    pub fn commit(&mut self) -> CommittedGroup {
        let connection = &self.connection;
        let begun = connection.execute_batch("BEGIN IMMEDIATE");
        let (mut answers, mut tidied) = (Vec::new(), Vec::new());
        while let Some(request) = self.group.pop_front() {
            match request {
                Request::Write(write) => answers.push(write(connection)),
                Request::Tidy(reply) => tidied.push(reply),
            }
            // On a full disk SQLite has rolled back the whole transaction. Later writes must not commit on their own.
            if connection.is_autocommit() {
                break;
            }
        }
        let committed = match begun {
            Ok(()) if connection.is_autocommit() => Err(StoreError::Full),
            // No other instance can take an epoch while the transaction lasts.
            begun => begun
                .map_err(StoreError::from)
                .and_then(|()| self.fence.check(connection))
                .and_then(|()| Ok(connection.execute_batch("COMMIT")?)),
        };
        if committed.is_err() && !connection.is_autocommit() {
            // The answers report the failure. If the rollback fails too, SQLite rolls back when the store is next
            // opened.
            let _ = connection.execute_batch("ROLLBACK");
        }
        // A commit into files that are gone would be lost.
        let committed = self.presence.check().and(committed);
        if !tidied.is_empty() {
            // If this fails nothing is lost: SQLite reads the pages from the log.
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        CommittedGroup { committed, answers, tidied }
    }
}

/// The result of a group's commit, and the answers that are still to be given.
pub struct CommittedGroup {
    committed: Result<(), StoreError>,
    answers: Vec<Answer>,
    tidied: Vec<oneshot::Sender<()>>,
}

impl CommittedGroup {
    /// Answers every request of the group.
    pub fn answer(self) {
        for answer in self.answers {
            answer(self.committed.clone());
        }
        for reply in self.tidied {
            let _ = reply.send(());
        }
    }
}

/// Applies `write`. If it fails, nothing of it remains. May be nested.
pub(super) fn in_savepoint<T>(
    connection: &Connection,
    write: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // If another program locked the database for too long, no transaction was begun, and this write would commit on its
    // own.
    if connection.is_autocommit() {
        return Err(StoreError::Failed("another program holds the database".to_owned()));
    }
    connection.execute_batch("SAVEPOINT one")?;
    let result = write(connection);
    let end = if result.is_ok() { "RELEASE one" } else { "ROLLBACK TO one; RELEASE one" };
    // On a full disk SQLite has rolled back the whole transaction already, including the savepoint.
    match (connection.execute_batch(end), &result) {
        (Err(error), Ok(_)) => Err(error.into()),
        _ => result,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A writer of a database with an epoch and a table `t`, whose one column `n` has this type.
    fn writer(directory: &Path, kind: &str) -> (Writer, Writing) {
        let connection = Connection::open(directory.join("db")).unwrap();
        let tables = "CREATE TABLE meta (key, value); INSERT INTO meta VALUES ('epoch', '0')";
        connection.execute_batch(&format!("CREATE TABLE t (n {kind}); {tables}")).unwrap();
        let fence = Fence::take(&connection).unwrap();
        let lock = crate::checkpoint::sqlite::lock::Lock::take(directory).unwrap();
        let presence = Arc::new(Presence::of(directory, &lock).unwrap());
        Writer::new(connection, fence, presence)
    }

    #[tokio::test]
    async fn a_write_that_finds_the_disk_full_before_its_commit_says_so_and_so_do_all_of_its_group() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, mut writing) = writer(directory.path(), "BLOB");
        writing.limit_pages(1).unwrap();
        let insert = |bytes: i64| {
            writer.write(move |connection| Ok(connection.execute("INSERT INTO t VALUES (zeroblob(?1))", [bytes])?))
        };
        let commit = async {
            assert!(writing.asked().await);
            writing.commit().answer();
        };
        let (small, large, ()) = tokio::join!(insert(1), insert(1 << 20), commit);
        assert!(matches!((small, large), (Err(StoreError::Full), Err(StoreError::Full))));
        let (next, ()) = tokio::join!(insert(1), async {
            assert!(writing.asked().await);
            writing.commit().answer();
        });
        assert_eq!(next.unwrap(), 1, "the next has room");
    }

    #[tokio::test]
    async fn a_write_that_fails_leaves_nothing_and_spoils_no_other_of_its_group() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, writing) = writer(directory.path(), "INTEGER");
        writing.start().unwrap();
        let insert = |n: i64, fails: bool| {
            writer.write(move |connection| {
                connection.execute("INSERT INTO t VALUES (?1)", [n])?;
                if fails { Err(StoreError::Closed) } else { Ok(()) }
            })
        };
        let (one, two, three) = tokio::join!(insert(1, false), insert(2, true), insert(3, false));
        assert!(one.is_ok() && two.is_err() && three.is_ok());
        let reader = Connection::open(directory.path().join("db")).unwrap();
        let sum: i64 = reader.query_row("SELECT sum(n) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 4);
    }

    #[tokio::test]
    async fn what_waits_is_written_in_one_commit_and_nobody_is_answered_before() {
        let directory = tempfile::tempdir().unwrap();
        let (writer, mut writing) = writer(directory.path(), "INTEGER");
        let asks = (0..3).map(|n| {
            let writer = writer.clone();
            tokio::spawn(async move {
                let insert = move |connection: &Connection| Ok(connection.execute("INSERT INTO t VALUES (?1)", [n])?);
                writer.write(insert).await
            })
        });
        let asks: Vec<_> = asks.collect();
        tokio::task::yield_now().await;
        assert!(writing.asked().await);
        let committed = writing.commit();
        let reader = Connection::open(directory.path().join("db")).unwrap();
        let count: i64 = reader.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(count, 3);
        tokio::task::yield_now().await;
        assert!(asks.iter().all(|ask| !ask.is_finished()));
        committed.answer();
        for ask in asks {
            assert!(ask.await.unwrap().is_ok());
        }
        drop(writer);
        assert!(!writing.asked().await);
    }
}
