//! Objects that notifications named and no feed takes. Their names are kept until a feed takes them.

use rusqlite::{Connection, params};

use super::Inspection;
use super::rows::{count, int};
use crate::checkpoint::{KeptObject, NoFeed, Remembered, StoreError, Unrouted};
use crate::notification::ObjectId;

/// Selects the unrouted objects that meet all conditions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UnroutedSelection {
    pub why: Option<NoFeed>,
    pub bucket: Option<String>,
    pub prefix: Option<String>,
    /// Not named by any notification since this time, in milliseconds since the epoch.
    pub before_ms: Option<i64>,
}

const COLUMNS: &str = "id, bucket, key, queue, feed, why, first_ms, last_ms, notifications";
const SELECTED: &str = "(?1 IS NULL OR why = ?1) AND (?2 IS NULL OR bucket = ?2)
    AND (?3 IS NULL OR substr(key, 1, length(?3)) = ?3) AND (?4 IS NULL OR last_ms < ?4)";

fn no_feed(name: &str) -> NoFeed {
    NoFeed::ALL.into_iter().find(|each| each.name() == name).unwrap_or(NoFeed::Bucket)
}

impl KeptObject {
    fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: count(row.get(0)?),
            object: ObjectId::new(row.get::<_, String>(1)?, row.get::<_, String>(2)?),
            queue: row.get(3)?,
            feed: row.get(4)?,
            why: no_feed(&row.get::<_, String>(5)?),
            first_ms: row.get(6)?,
            last_ms: row.get(7)?,
            notifications: count(row.get(8)?),
        })
    }
}

/// Unrouted objects with numbers above `after`, in order, at most `limit`.
pub(super) fn kept(connection: &Connection, after: u64, limit: usize) -> Result<Vec<KeptObject>, StoreError> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM unrouted WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
    let rows = statement.query_map(params![int(after), int(limit as u64)], KeptObject::of)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn forget(connection: &Connection, ids: &[u64]) -> Result<(), StoreError> {
    let mut delete = connection.prepare_cached("DELETE FROM unrouted WHERE id = ?1")?;
    for id in ids {
        delete.execute([int(*id)])?;
    }
    Ok(())
}

/// Keeps the names of these objects, at most `most` in all.
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

/// How many unrouted objects are kept.
pub(super) fn entries(connection: &Connection) -> Result<u64, StoreError> {
    let mut statement = connection.prepare_cached("SELECT entries FROM unrouted_size")?;
    Ok(count(statement.query_row([], |row| row.get(0))?))
}

impl Inspection {
    /// The selected objects that came last, at most `most`, in the order in which they came; and the number of all
    /// selected objects.
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

    /// Deletes these objects for good. Returns those that were gone already.
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
    use crate::checkpoint::conformance::quarantine::unrouted;
    use crate::checkpoint::{Quarantine as _, SqliteStore};

    #[tokio::test]
    async fn an_operator_selects_by_reason_bucket_prefix_and_age() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path(), 0).unwrap();
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
        assert_eq!(store.unrouted_count().await.unwrap(), 3);
    }
}
