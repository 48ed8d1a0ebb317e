//! Objects that notifications named and no feed takes: their names are kept until a feed takes them.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::rows::{count, int};
use super::{CheckpointStore, Inspection, StoreError};
use crate::notification::ObjectId;

/// Why no feed takes an object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum NoFeed {
    /// No feed reads its bucket.
    Bucket,
    /// It lies outside of every prefix of the feeds that read its bucket.
    Prefix,
    /// It lies where a feed reads, and matches none of that feed's `keys`.
    Keys,
}

impl NoFeed {
    pub const ALL: [Self; 3] = [Self::Bucket, Self::Prefix, Self::Keys];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::Prefix => "prefix",
            Self::Keys => "keys",
        }
    }

    fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|each| each.name() == name).unwrap_or(Self::Bucket)
    }
}

/// An object that a notification named and no feed takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unrouted {
    pub object: ObjectId,
    /// The queue that the notification came from.
    pub queue: Arc<str>,
    /// The feed that it nearly belongs to: the one that reads its bucket.
    pub feed: Option<Arc<str>>,
    pub why: NoFeed,
}

/// The proof that an object's name is kept. Only the store makes one:
///
/// ```compile_fail
/// let forged = auditferry::checkpoint::Remembered(());
/// ```
#[derive(Debug)]
pub struct Remembered(());

/// An unrouted object as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptObject {
    pub id: u64,
    pub object: ObjectId,
    pub queue: String,
    pub feed: Option<String>,
    pub why: NoFeed,
    /// When the first notification of it came, in milliseconds since the epoch, and when the last one.
    pub first_ms: i64,
    pub last_ms: i64,
    /// How many notifications named it.
    pub notifications: u64,
}

/// Which unrouted objects are meant: those that all of it holds of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UnroutedSelection {
    pub why: Option<NoFeed>,
    pub bucket: Option<String>,
    pub prefix: Option<String>,
    /// Those that no notification has named since then, in milliseconds since the epoch.
    pub before_ms: Option<i64>,
}

const COLUMNS: &str = "id, bucket, key, queue, feed, why, first_ms, last_ms, notifications";
const SELECTED: &str = "(?1 IS NULL OR why = ?1) AND (?2 IS NULL OR bucket = ?2)
    AND (?3 IS NULL OR substr(key, 1, length(?3)) = ?3) AND (?4 IS NULL OR last_ms < ?4)";

impl KeptObject {
    fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: count(row.get(0)?),
            object: ObjectId::new(row.get::<_, String>(1)?, row.get::<_, String>(2)?),
            queue: row.get(3)?,
            feed: row.get(4)?,
            why: NoFeed::named(&row.get::<_, String>(5)?),
            first_ms: row.get(6)?,
            last_ms: row.get(7)?,
            notifications: count(row.get(8)?),
        })
    }
}

impl CheckpointStore {
    /// Keeps the names of these objects, in one transaction. Of each in turn: the proof, or nothing where it was not kept
    /// before and `most` others are already.
    pub async fn remember(
        &self,
        objects: Vec<Unrouted>,
        most: u64,
        now_ms: i64,
    ) -> Result<Vec<Option<Remembered>>, StoreError> {
        self.writer.write(move |connection| remember(connection, &objects, most, now_ms)).await
    }

    /// The objects with numbers above `after`, in order, at most `limit`.
    pub fn unrouted(&self, after: u64, limit: usize) -> Result<Vec<KeptObject>, StoreError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM unrouted WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
            let rows = statement.query_map(params![int(after), int(limit as u64)], KeptObject::of)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// How many unrouted objects are kept.
    pub fn unrouted_count(&self) -> Result<u64, StoreError> {
        self.read(entries)
    }

    /// Forgets objects that a feed takes by now and that need nothing more.
    pub async fn forget_unrouted(&self, ids: Vec<u64>) -> Result<(), StoreError> {
        let forget = move |connection: &Connection| {
            let mut delete = connection.prepare_cached("DELETE FROM unrouted WHERE id = ?1")?;
            for id in ids {
                delete.execute([int(id)])?;
            }
            Ok(())
        };
        self.writer.write(forget).await
    }
}

/// Keeps the names of these objects within a transaction, as [`CheckpointStore::remember`] does.
pub(super) fn remember(
    connection: &Connection,
    objects: &[Unrouted],
    most: u64,
    now_ms: i64,
) -> Result<Vec<Option<Remembered>>, StoreError> {
    let mut known = connection.prepare_cached(
        "UPDATE unrouted SET queue = ?3, feed = ?4, why = ?5, last_ms = max(last_ms, ?6), notifications = notifications + 1
         WHERE bucket = ?1 AND key = ?2",
    )?;
    let mut new = connection.prepare_cached(
        "INSERT INTO unrouted (bucket, key, queue, feed, why, first_ms, last_ms, notifications)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, 1)",
    )?;
    let mut kept = entries(connection)?;
    let mut proofs = Vec::with_capacity(objects.len());
    for Unrouted { object, queue, feed, why } in objects {
        let values = params![&*object.bucket, &*object.key, &**queue, feed.as_deref(), why.name(), now_ms];
        if known.execute(values)? > 0 {
            proofs.push(Some(Remembered(())));
        } else if kept < most {
            new.execute(values)?;
            kept += 1;
            proofs.push(Some(Remembered(())));
        } else {
            proofs.push(None);
        }
    }
    Ok(proofs)
}

fn entries(connection: &Connection) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT entries FROM unrouted_size")?;
    Ok(count(statement.query_row([], |row| row.get(0))?))
}

impl Inspection {
    /// The unrouted objects that came last, at most `most`, in the order in which they came; and how many there are in all.
    pub fn newest_unrouted(
        &self,
        selection: &UnroutedSelection,
        most: usize,
    ) -> Result<(Vec<KeptObject>, u64), StoreError> {
        let UnroutedSelection { why, bucket, prefix, before_ms } = selection;
        let why = why.map(NoFeed::name);
        let all: i64 = self.connection().query_row(
            &format!("SELECT count(*) FROM unrouted WHERE {SELECTED}"),
            params![why, bucket, prefix, before_ms],
            |row| row.get(0),
        )?;
        let mut statement = self
            .connection()
            .prepare(&format!("SELECT {COLUMNS} FROM unrouted WHERE {SELECTED} ORDER BY id DESC LIMIT ?5"))?;
        let rows = statement.query_map(params![why, bucket, prefix, before_ms, int(most as u64)], KeptObject::of)?;
        let mut objects = rows.collect::<Result<Vec<_>, _>>()?;
        objects.reverse();
        Ok((objects, count(all)))
    }

    /// The numbers of selected objects above `after`, in order, at most `limit`.
    pub fn unrouted_page(
        &self,
        selection: &UnroutedSelection,
        after: u64,
        limit: usize,
    ) -> Result<Vec<u64>, StoreError> {
        let UnroutedSelection { why, bucket, prefix, before_ms } = selection;
        let mut statement = self
            .connection()
            .prepare_cached(&format!("SELECT id FROM unrouted WHERE {SELECTED} AND id > ?5 ORDER BY id LIMIT ?6"))?;
        let asked = params![why.map(NoFeed::name), bucket, prefix, before_ms, int(after), int(limit as u64)];
        let rows = statement.query_map(asked, |row| Ok(count(row.get(0)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Forgets these objects for good. Returns those that were not there.
    pub fn purge_unrouted(&mut self, ids: &[u64]) -> Result<Vec<u64>, StoreError> {
        self.each(ids, |connection, id| {
            let gone = connection.prepare_cached("DELETE FROM unrouted WHERE id = ?1")?.execute([int(id)])?;
            Ok(gone == 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unrouted(bucket: &str, key: &str, why: NoFeed) -> Unrouted {
        let feed = (why != NoFeed::Bucket).then(|| "dbx".into());
        Unrouted { object: ObjectId::new(bucket, key), queue: "events".into(), feed, why }
    }

    fn kept(proofs: &[Option<Remembered>]) -> Vec<bool> {
        proofs.iter().map(Option::is_some).collect()
    }

    #[tokio::test]
    async fn an_object_is_kept_once_with_the_reason_told_last() {
        let directory = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(directory.path(), 0).unwrap();
        let objects = vec![unrouted("b", "k", NoFeed::Bucket), unrouted("b", "k\0\u{1b}\u{e9}", NoFeed::Keys)];
        assert_eq!(kept(&store.remember(objects.clone(), 9, 5).await.unwrap()), [true, true]);
        store.remember(vec![unrouted("b", "k", NoFeed::Prefix)], 9, 7).await.unwrap();
        drop(store);
        let store = CheckpointStore::open(directory.path(), 0).unwrap();
        let found = store.unrouted(0, 10).unwrap();
        assert_eq!(store.unrouted_count().unwrap(), 2);
        let expected = KeptObject {
            id: 1,
            object: objects[0].object.clone(),
            queue: "events".into(),
            feed: Some("dbx".into()),
            why: NoFeed::Prefix,
            first_ms: 5,
            last_ms: 7,
            notifications: 2,
        };
        assert_eq!(found[0], expected);
        assert_eq!((&found[1].object, found[1].why, found[1].notifications), (&objects[1].object, NoFeed::Keys, 1));
        assert_eq!(store.unrouted(1, 10).unwrap(), found[1..]);
    }

    #[tokio::test]
    async fn past_the_bound_only_what_is_kept_already_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(directory.path(), 0).unwrap();
        let objects = |keys: &[&str]| keys.iter().map(|key| unrouted("b", key, NoFeed::Keys)).collect::<Vec<_>>();
        assert_eq!(
            kept(&store.remember(objects(&["a", "b", "a", "c"]), 2, 1).await.unwrap()),
            [true, true, true, false]
        );
        assert_eq!(kept(&store.remember(objects(&["c", "b"]), 2, 1).await.unwrap()), [false, true]);
        store.forget_unrouted(vec![store.unrouted(0, 1).unwrap()[0].id]).await.unwrap();
        assert_eq!(kept(&store.remember(objects(&["c", "a"]), 2, 1).await.unwrap()), [true, false]);
        assert_eq!(store.unrouted_count().unwrap(), 2);
        assert_eq!(kept(&store.remember(objects(&["z"]), 0, 1).await.unwrap()), [false]);
    }

    #[tokio::test]
    async fn an_operator_selects_by_reason_bucket_prefix_and_age() {
        let directory = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(directory.path(), 0).unwrap();
        for (at, (bucket, key, why)) in (1..).zip([
            ("a", "x/1", NoFeed::Keys),
            ("a", "x/2", NoFeed::Prefix),
            ("a", "y%/3", NoFeed::Prefix),
            ("b", "x/1", NoFeed::Bucket),
        ]) {
            store.remember(vec![unrouted(bucket, key, why)], 9, at).await.unwrap();
        }
        let mut inspection = Inspection::change(directory.path()).unwrap();
        let all = UnroutedSelection::default();
        let prefix = |prefix: &str| UnroutedSelection { prefix: Some(prefix.to_owned()), ..all.clone() };
        for (selection, expected) in [
            (all.clone(), &[1, 2, 3, 4][..]),
            (UnroutedSelection { why: Some(NoFeed::Prefix), ..all.clone() }, &[2, 3]),
            (UnroutedSelection { bucket: Some("a".to_owned()), ..all.clone() }, &[1, 2, 3]),
            (prefix("x/"), &[1, 2, 4]),
            (prefix("%"), &[]),
            (UnroutedSelection { before_ms: Some(3), ..all.clone() }, &[1, 2]),
        ] {
            assert_eq!(inspection.unrouted_page(&selection, 0, 10).unwrap(), expected, "{selection:?}");
            let (listed, count) = inspection.newest_unrouted(&selection, 10).unwrap();
            assert_eq!(listed.iter().map(|object| object.id).collect::<Vec<_>>(), expected);
            assert_eq!(count, expected.len() as u64);
        }
        let (newest, count) = inspection.newest_unrouted(&all, 1).unwrap();
        assert_eq!((newest[0].id, count), (4, 4));
        assert_eq!(inspection.unrouted_page(&all, 2, 1).unwrap(), [3]);
        assert_eq!(inspection.purge_unrouted(&[2, 9]).unwrap(), [9]);
        assert_eq!(store.unrouted_count().unwrap(), 3);
    }
}
