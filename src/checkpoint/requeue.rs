//! Requeue requests: what an operator asked to try again, and what became of it.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::places::{self, Owner};
use super::refused::{RECORD, RefusedRecord, bounded};
use super::rows::{ObjectRow, count, int};
use super::unrouted::{self, Unrouted};
use super::{CheckpointStore, StoreError, further};
use crate::batch::Lane;
use crate::delta::Places;
use crate::notification::ObjectId;

/// What an operator asked to try again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Later requests have higher numbers.
    pub number: u64,
    /// The number in quarantine.
    pub id: u64,
    pub asked: Asked,
}

/// What is to be tried again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// A record of this object.
    Record { object: ObjectId },
    /// The object, of which a version could not be read.
    Object { object: ObjectId },
    /// A message of this queue.
    Message { queue: Arc<str> },
}

impl CheckpointStore {
    /// The requests after number `after`, in their order, at most `most`.
    pub fn requests(&self, after: u64, most: usize) -> Result<Vec<Request>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT request, id, kind, bucket, key, feed FROM quarantine
                 WHERE request > ?1 ORDER BY request LIMIT ?2",
            )?;
            let rows = statement.query_map(params![int(after), int(most as u64)], |row| {
                let text = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<String>>(column)?.unwrap_or_default());
                let object = ObjectId::new(text(3)?, text(4)?);
                let asked = match row.get::<_, String>(2)?.as_str() {
                    "record" => Asked::Record { object },
                    "object" => Asked::Object { object },
                    _ => Asked::Message { queue: row.get::<_, String>(5)?.into() },
                };
                Ok(Request { number: count(row.get(0)?), id: count(row.get(1)?), asked })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Whether anything of the object is to be tried again.
    pub fn is_requeued(&self, object: &ObjectId) -> Result<bool, StoreError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT 1 FROM quarantine WHERE bucket = ?1 AND key = ?2 AND request IS NOT NULL")?;
            Ok(statement.exists(params![&*object.bucket, &*object.key])?)
        })
    }

    /// The object's records that are to be tried again, of those with a number in quarantine above `after`; at most `most`.
    pub fn requeued_records(
        &self,
        object: &ObjectId,
        after: u64,
        most: usize,
    ) -> Result<Vec<RefusedRecord>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {RECORD} FROM quarantine
                 WHERE bucket = ?1 AND key = ?2 AND id > ?3 AND request IS NOT NULL AND place IS NOT NULL
                 ORDER BY id LIMIT ?4"
            ))?;
            let key = params![&*object.bucket, &*object.key, int(after), int(most as u64)];
            let mut records = statement.query_map(key, RefusedRecord::of)?.collect::<Result<Vec<_>, _>>()?;
            let mut statement = connection.prepare_cached("SELECT sink FROM redelivered WHERE quarantine_id = ?1")?;
            for record in &mut records {
                let sinks = statement.query_map([int(record.id)], |row| row.get::<_, String>(0))?;
                record.had = sinks.map(|sink| sink.map(Into::into)).collect::<Result<_, _>>()?;
            }
            Ok(records)
        })
    }

    /// One refused record, if it is still in quarantine.
    pub fn refused_record(&self, id: u64) -> Result<Option<RefusedRecord>, StoreError> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached(&format!("SELECT {RECORD} FROM quarantine WHERE id = ?1 AND place IS NOT NULL"))?;
            Ok(statement.query_row([int(id)], RefusedRecord::of).optional()?)
        })
    }

    /// A body kept in quarantine, compressed.
    pub fn quarantined_body(&self, id: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT body_zstd FROM quarantine WHERE id = ?1")?;
            Ok(statement.query_row([int(id)], |row| row.get(0)).optional()?.flatten())
        })
    }

    /// The places, from `from` on at least, of the object's accepted records that are in quarantine.
    pub fn quarantined_positions(&self, object: &ObjectId, from: u64) -> Result<Places, StoreError> {
        self.read(|connection| {
            // What gets an entry of its own between the two is in both.
            let mut places = match further::find(connection, object)? {
                Some(id) => places::load(connection, Owner::Entry(id), from..=u64::MAX)?,
                None => Places::default(),
            };
            let mut statement = connection.prepare_cached(
                "SELECT place FROM quarantine WHERE bucket = ?1 AND key = ?2 AND place >= ?3 ORDER BY place",
            )?;
            let mut rows = statement.query(params![&*object.bucket, &*object.key, int(from)])?;
            while let Some(row) = rows.next()? {
                places.insert(count(row.get(0)?));
            }
            Ok(places)
        })
    }

    /// Records that were refused again stay in quarantine, each with its new reason.
    pub async fn refuse_again(&self, refused: Vec<(u64, String)>) -> Result<(), StoreError> {
        let refuse = move |connection: &Connection| {
            let mut statement = connection.prepare_cached(
                "UPDATE quarantine SET request = NULL, reason = ?2 WHERE id = ?1 AND request IS NOT NULL",
            )?;
            for (id, reason) in &refused {
                statement.execute(params![int(*id), bounded(reason)])?;
            }
            Ok(())
        };
        self.writer.write(refuse).await
    }

    /// Requeued records of the object that need its bytes stay in quarantine, since these cannot be read.
    pub async fn refuse_requeued(&self, object: ObjectId, reason: String) -> Result<(), StoreError> {
        self.writer.write(move |connection| refuse_object(connection, &object, &reason)).await
    }

    /// Removes the records that each of `sinks` has had out of quarantine. Returns how many.
    pub async fn release(&self, ids: Vec<u64>, sinks: Vec<Arc<str>>) -> Result<u64, StoreError> {
        let release = move |connection: &Connection| {
            let mut had =
                connection.prepare_cached("SELECT 1 FROM redelivered WHERE quarantine_id = ?1 AND sink = ?2")?;
            let mut delete =
                connection.prepare_cached("DELETE FROM quarantine WHERE id = ?1 AND request IS NOT NULL")?;
            let mut released = 0;
            'each: for id in ids {
                for sink in &sinks {
                    if !had.exists(params![int(id), &**sink])? {
                        continue 'each;
                    }
                }
                released += delete.execute([int(id)])? as u64;
            }
            Ok(released)
        };
        self.writer.write(release).await
    }

    /// A damaged object counts as not read: the next reading reads it, in whatever version.
    pub async fn reconsider(&self, object: ObjectId) -> Result<(), StoreError> {
        let reconsider = move |connection: &Connection| {
            if let Some(mut row) = ObjectRow::find(connection, &object)?
                && row.state == "damaged"
            {
                row.state = "reading".to_owned();
                row.save(connection, &object)?;
            }
            Ok(())
        };
        self.writer.write(reconsider).await
    }

    /// The object was read to its end: a request for the whole object is done. Returns how many entries that settles.
    pub async fn settle_requeued(&self, object: ObjectId) -> Result<u64, StoreError> {
        let settle = move |connection: &Connection| {
            let settled = connection
                .prepare_cached(
                    "DELETE FROM quarantine WHERE bucket = ?1 AND key = ?2 AND kind = 'object' AND request IS NOT NULL",
                )?
                .execute(params![&*object.bucket, &*object.key])?;
            Ok(settled as u64)
        };
        self.writer.write(settle).await
    }

    /// A message was understood: in its place, each object that it names (with its feed and entity tag) is to be read, and
    /// the names of those that no feed takes are kept, at most `most` in all. `still` says what of the message was not
    /// understood; it stays in quarantine then, and so it does where there is no room for a name.
    pub async fn replace_message(
        &self,
        id: u64,
        names: Vec<(Arc<str>, ObjectId)>,
        unrouted: Vec<Unrouted>,
        most: u64,
        still: Option<String>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let replace = move |connection: &Connection| {
            let mut asked =
                connection.prepare_cached("SELECT 1 FROM quarantine WHERE id = ?1 AND request IS NOT NULL")?;
            if !asked.exists([int(id)])? {
                return Ok(());
            }
            let mut known = connection.prepare_cached(
                "UPDATE quarantine SET request = ?3 WHERE bucket = ?1 AND key = ?2 AND kind = 'object'",
            )?;
            let mut insert = connection.prepare_cached(
                "INSERT INTO quarantine (feed, kind, bucket, key, reason, at_ms, request)
                 VALUES (?1, 'object', ?2, ?3, 'named by a message that was requeued', ?4, ?5)",
            )?;
            for (feed, object) in &names {
                let request = int(next_request(connection)?);
                if known.execute(params![&*object.bucket, &*object.key, request])? == 0 {
                    insert.execute(params![&**feed, &*object.bucket, &*object.key, now_ms, request])?;
                }
            }
            let kept = unrouted::remember(connection, &unrouted, most, now_ms)?;
            let no_room = kept
                .iter()
                .any(Option::is_none)
                .then(|| "names objects that no feed takes, and no more names are kept".to_owned());
            let still = still.or(no_room);
            match still {
                Some(reason) => connection
                    .prepare_cached("UPDATE quarantine SET request = NULL, reason = ?2 WHERE id = ?1")?
                    .execute(params![int(id), bounded(&reason)])?,
                None => connection.prepare_cached("DELETE FROM quarantine WHERE id = ?1")?.execute([int(id)])?,
            };
            Ok(())
        };
        self.writer.write(replace).await
    }
}

/// The number of a new request.
pub(super) fn next_request(connection: &Connection) -> Result<u64, StoreError> {
    connection.prepare_cached("UPDATE meta SET value = value + 1 WHERE key = 'requests'")?.execute([])?;
    let number: String = connection.query_row("SELECT value FROM meta WHERE key = 'requests'", [], |row| row.get(0))?;
    number.parse().map_err(|_| StoreError::Corrupt { row: "the number of requests".to_owned() })
}

/// Whether a sink with this cursor has passed this record, is to get it after all, and has not had it.
pub(super) fn is_due(connection: &Connection, id: u64, sink: &str, cursor: u64) -> Result<bool, StoreError> {
    let mut due = connection.prepare_cached(
        "SELECT 1 FROM quarantine WHERE id = ?1 AND request IS NOT NULL AND place < ?3
         AND NOT EXISTS (SELECT 1 FROM redelivered WHERE quarantine_id = ?1 AND sink = ?2)
         AND NOT EXISTS (SELECT 1 FROM batch_part WHERE redelivers = ?1 AND sink = ?2)",
    )?;
    Ok(due.exists(params![int(id), sink, int(cursor)])?)
}

/// Within the commit of a sink's batch: records that the sink has had out of quarantine.
pub(super) fn note_delivered(connection: &Connection, lane: &Lane, seq: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO redelivered (quarantine_id, sink)
             SELECT quarantine.id, batch_part.sink FROM batch_part JOIN quarantine ON quarantine.id = redelivers
             WHERE batch_part.sink = ?1 AND lane = ?2 AND seq = ?3",
        )?
        .execute(params![&*lane.sink, lane.number, int(seq)])?;
    Ok(())
}

/// Requeued records of the object that need its bytes stay in quarantine, for this reason.
pub(super) fn refuse_object(connection: &Connection, object: &ObjectId, reason: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE quarantine SET request = NULL, reason = ?3
             WHERE bucket = ?1 AND key = ?2 AND request IS NOT NULL AND body_zstd IS NULL",
        )?
        .execute(params![&*object.bucket, &*object.key, bounded(reason)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Acceptance, Advance, Batch, Part, Refused};
    use crate::checkpoint::{Entry, FurtherRecord, Inspection, QuarantineLimits, Refusal, Seal, Sealed, Selection};
    use crate::delta::{Progress, RecordHash};
    use crate::event::Encoded;
    use crate::object::Version;
    use crate::sink::Receipt;

    const BODY: &[u8] = b"compressed";

    fn object() -> ObjectId {
        ObjectId::new("logs", "a.json")
    }

    fn hash(text: &str) -> RecordHash {
        RecordHash::of(text.as_bytes())
    }

    fn version() -> Arc<Version> {
        Arc::new(Version { etag: "e1".into(), version_id: None, last_modified_ms: Some(7), size_bytes: 9 })
    }

    fn part(before: u64, after: u64) -> Part {
        Part {
            advance: Advance::onward(object(), before, after),
            version: version(),
            acceptance: None,
            redelivers: None,
            piece: Encoded { bytes: b"events\n".to_vec(), ends: vec![7], ..Encoded::default() }.into(),
        }
    }

    /// A part that accepts these records, of which those that begin with `!` are refused.
    fn accepting(records: &[&str]) -> Part {
        accepting_from(0, records)
    }

    /// The same, behind those that are accepted.
    fn accepting_from(before: u64, records: &[&str]) -> Part {
        let refused =
            records.iter().zip(before..).filter(|(record, _)| record.starts_with('!')).map(|(record, at)| Refused {
                ordinal: at,
                place: at,
                occurrence: 0,
                hash: hash(record),
                offset: at,
                reason: "no JSON".into(),
                body_zstd: Some(BODY.to_vec()),
            });
        let after = before + records.len() as u64;
        let acceptance = Acceptance {
            feed: "dbx".into(),
            before,
            after,
            fingerprints: records.iter().map(|record| hash(record).fingerprint()).collect(),
            progress: Progress { accepted: after, content_records: after, ..Progress::default() },
            refused: refused.collect(),
        };
        Part { acceptance: Some(Arc::new(acceptance)), ..part(before, after) }
    }

    fn redelivering(id: u64, at: u64) -> Part {
        Part { redelivers: Some(id), ..part(at, at) }
    }

    async fn seal(store: &CheckpointStore, sink: &str, parts: Vec<Part>) -> Result<Sealed, StoreError> {
        let lane = Lane::only(sink.into());
        store.seal(Seal { lane, encoder: "test".into(), parts: parts.into(), now_ms: 1 }).await
    }

    async fn commit(store: &CheckpointStore, sealed: &Sealed) {
        let nothing = Receipt::nothing(&Batch::of(sealed.manifest(), [].iter())).unwrap();
        store.commit(sealed, &nothing).await.unwrap();
    }

    async fn deliver(store: &CheckpointStore, sink: &str, parts: Vec<Part>) {
        let sealed = seal(store, sink, parts).await.unwrap();
        commit(store, &sealed).await;
    }

    fn opened(limits: impl Into<QuarantineLimits>) -> (tempfile::TempDir, CheckpointStore) {
        let directory = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(directory.path(), limits).unwrap();
        (directory, store)
    }

    fn entries_of(in_all: u64, of_object: u64) -> QuarantineLimits {
        QuarantineLimits { bytes_max: 1000, entries_max: in_all, entries_per_object: of_object }
    }

    fn entries(directory: &tempfile::TempDir) -> Vec<Entry> {
        Inspection::look(directory.path()).unwrap().newest(&Selection::default(), 1000).unwrap().0
    }

    /// The places of the object's records that are in quarantine.
    fn quarantined_positions(store: &CheckpointStore) -> Vec<u64> {
        let mut places = store.quarantined_positions(&object(), 0).unwrap();
        (0..100).filter(|place| places.contains(*place)).collect()
    }

    /// A part that refuses one record of another object.
    fn of_another(object: &str) -> Part {
        let mut part = accepting(&["!one"]);
        part.advance.object = ObjectId::new("logs", object);
        part
    }

    /// The record at this place, as a search finds it.
    fn found(place: u64, text: &str) -> FurtherRecord {
        let record = RefusedRecord {
            id: 0,
            ordinal: place,
            place,
            occurrence: 0,
            hash: hash(text),
            etag: "e1".into(),
            last_modified_ms: Some(7),
            has_body: false,
            had: Vec::new(),
        };
        FurtherRecord { record, offset: place }
    }

    fn requeue(directory: &tempfile::TempDir) -> Vec<u64> {
        let mut quarantine = Inspection::change(directory.path()).unwrap();
        let ids = quarantine.page(&Selection::default(), 0).unwrap();
        let impossible = quarantine.requeue(&ids).unwrap();
        ids.into_iter().filter(|id| !impossible.contains(id)).collect()
    }

    fn ids(store: &CheckpointStore) -> Vec<u64> {
        store.requeued_records(&object(), 0, 100).unwrap().iter().map(|record| record.id).collect()
    }

    #[tokio::test]
    async fn a_record_is_due_once_to_each_sink_that_was_past_it_and_leaves_when_all_have_had_it() {
        let (directory, store) = opened(1000);
        let sinks: [Arc<str>; 2] = ["a".into(), "b".into()];
        deliver(&store, "a", vec![accepting(&["one", "!two", "three"])]).await;
        let early = seal(&store, "a", vec![redelivering(1, 3)]).await;
        assert!(matches!(early, Err(StoreError::Overtaken { .. })), "nobody asked for it");
        assert_eq!(requeue(&directory), [1]);
        let behind = seal(&store, "b", vec![redelivering(1, 0)]).await;
        assert!(matches!(behind, Err(StoreError::Overtaken { .. })), "b gets past it first, without it");
        let twice = seal(&store, "a", vec![redelivering(1, 3), redelivering(1, 3)]).await;
        assert!(matches!(twice, Err(StoreError::Overtaken { .. })));
        let sealed = seal(&store, "a", vec![redelivering(1, 3)]).await.unwrap();
        assert_eq!(store.sealed(&Lane::only("a".into())).unwrap()[0].manifest().parts[0].redelivers, Some(1));
        commit(&store, &sealed).await;
        assert!(seal(&store, "a", vec![redelivering(1, 3)]).await.is_err(), "a has had it");
        assert_eq!(store.release(vec![1], sinks.to_vec()).await.unwrap(), 0);
        deliver(&store, "b", vec![accepting(&["one", "!two", "three"])]).await;
        deliver(&store, "b", vec![redelivering(1, 3)]).await;
        assert_eq!(ids(&store), [1]);
        assert_eq!(store.release(vec![1], sinks.to_vec()).await.unwrap(), 1);
        assert!(!store.is_requeued(&object()).unwrap());
        assert_eq!(store.quarantine_size().unwrap().entries("record"), 0);
    }

    #[tokio::test]
    async fn what_is_purged_makes_room_for_other_bodies() {
        let (directory, store) = opened(BODY.len() as u64);
        deliver(&store, "a", vec![accepting(&["!one", "!two"])]).await;
        let kept = |id| store.quarantined_body(id).unwrap().is_some();
        assert!(kept(1) && !kept(2), "there was room for one");
        let mut quarantine = Inspection::change(directory.path()).unwrap();
        assert!(quarantine.purge(&[1]).unwrap().is_empty());
        assert_eq!(quarantine.purge(&[1]).unwrap(), [1], "gone already");
        assert_eq!(store.quarantine_size().unwrap().body_bytes(), 0);
        store.quarantine_message("q".into(), "no JSON".into(), BODY.to_vec(), 1).await.unwrap();
        assert!(store.quarantined_body(3).unwrap().is_some());
    }

    #[tokio::test]
    async fn past_its_limit_an_object_has_one_entry_for_all_further_records() {
        let (directory, store) = opened(entries_of(100, 2));
        deliver(&store, "a", vec![accepting(&["!0", "1", "!2", "!3", "!4"])]).await;
        deliver(&store, "a", vec![accepting_from(5, &["!5", "6", "!7"])]).await;
        let shown = |entry: &Entry| (entry.id, entry.further, entry.ordinal, entry.can_requeue);
        let expected = [(1, None, Some(0), true), (2, None, Some(2), true), (3, Some(4), Some(3), true)];
        assert_eq!(entries(&directory).iter().map(shown).collect::<Vec<_>>(), expected);
        assert_eq!(store.quarantine_size().unwrap().entries("record"), 6);
        assert_eq!(quarantined_positions(&store), [0, 2, 3, 4, 5, 7]);
        assert_eq!(store.forget(1000).await.unwrap().objects, 0);
        Inspection::change(directory.path()).unwrap().purge(&[1, 2, 3]).unwrap();
        assert_eq!(store.quarantine_size().unwrap().entries("record"), 0);
        assert!(quarantined_positions(&store).is_empty());
        deliver(&store, "a", vec![accepting_from(8, &["!8"])]).await;
        assert_eq!(entries(&directory).iter().map(shown).collect::<Vec<_>>(), [(4, None, Some(8), true)]);
    }

    #[tokio::test]
    async fn what_one_object_fills_leaves_each_other_its_entry_and_past_that_its_feed_one() {
        let (directory, store) = opened(entries_of(3, 1000));
        deliver(&store, "a", vec![accepting(&["!0", "!1", "!2", "!3", "!4"])]).await;
        for other in ["b", "c", "d", "e"] {
            deliver(&store, "a", vec![of_another(other)]).await;
        }
        let shown = |entry: &Entry| (entry.object.as_ref().map(|object| object.key.to_string()), entry.further);
        let (own, of) = (|| Some("a.json".to_owned()), |key: &str| Some(key.to_owned()));
        let expected = [
            (own(), None),
            (own(), None),
            (own(), None),
            (own(), Some(2)),
            (of("b"), Some(1)),
            (of("c"), Some(1)),
            (None, Some(2)),
        ];
        assert_eq!(entries(&directory).iter().map(shown).collect::<Vec<_>>(), expected);
        assert_eq!(store.quarantine_size().unwrap().entries("record"), 9);
        assert_eq!(requeue(&directory).len(), 6, "what is only counted cannot be tried again");
    }

    #[tokio::test]
    async fn messages_and_damaged_objects_are_counted_past_the_limit() {
        let (directory, store) = opened(entries_of(2, 1000));
        let refusal = |key: &str, etag: &str| Refusal {
            feed: "dbx".into(),
            object: ObjectId::new("logs", key),
            etag: etag.into(),
            is_archived: false,
            reason: "damaged".to_owned(),
            now_ms: 1,
        };
        for (key, etag) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "1"), ("d", "1"), ("d", "1")] {
            store.quarantine_object(refusal(key, etag)).await.unwrap();
        }
        for _ in 0..5 {
            store.quarantine_message("q".into(), "no JSON".into(), BODY.to_vec(), 1).await.unwrap();
        }
        let shown = |entry: &Entry| (entry.kind.name(), entry.etag.clone(), entry.further, entry.can_requeue);
        let expected = [
            ("object", Some("3".to_owned()), None, true),
            ("object", Some("1".to_owned()), None, true),
            ("object", None, Some(2), false),
            ("message", None, None, true),
            ("message", None, None, true),
            ("message", None, Some(3), false),
        ];
        assert_eq!(entries(&directory).iter().map(shown).collect::<Vec<_>>(), expected);
        let size = store.quarantine_size().unwrap();
        assert_eq!((size.entries("object"), size.entries("message")), (4, 5));
        assert_eq!(size.body_bytes(), 2 * BODY.len() as u64);
    }

    #[tokio::test]
    async fn further_records_get_entries_once_and_only_while_they_are_to_be_tried_again() {
        let (directory, store) = opened(entries_of(100, 1));
        deliver(&store, "a", vec![accepting(&["!0", "!1", "!2", "!3"])]).await;
        assert!(store.requeued_further(&object()).unwrap().is_none());
        assert!(store.list_further(2, vec![found(1, "!1")]).await.unwrap().is_empty(), "nobody asked for them");
        assert_eq!(requeue(&directory), [1, 2]);
        let mut further = store.requeued_further(&object()).unwrap().unwrap();
        assert_eq!((further.id, &*further.etag, further.last_modified_ms), (2, "e1", Some(7)));
        assert!((0..5).filter(|place| further.places.contains(*place)).eq(1..4));
        let listed = store.list_further(2, vec![found(0, "!0"), found(1, "!1"), found(3, "!3")]).await.unwrap();
        assert_eq!(listed.iter().map(|record| record.place).collect::<Vec<_>>(), [1, 3], "0 has its own");
        assert!(store.list_further(2, vec![found(1, "!1")]).await.unwrap().is_empty(), "it has its own by now");
        assert_eq!(store.quarantine_size().unwrap().entries("record"), 4);
        assert_eq!(quarantined_positions(&store), [0, 1, 2, 3]);
        assert_eq!(ids(&store), [1, listed[0].id, listed[1].id]);
        deliver(&store, "a", vec![redelivering(listed[0].id, 4)]).await;
        assert_eq!(store.release(vec![listed[0].id], vec!["a".into()]).await.unwrap(), 1);
        assert_eq!(quarantined_positions(&store), [0, 2, 3]);
        assert_eq!(store.list_further(2, vec![found(2, "!2")]).await.unwrap().len(), 1);
        assert!(store.requeued_further(&object()).unwrap().is_none(), "it stands for nothing any more");
        assert_eq!(entries(&directory).iter().filter(|entry| entry.further.is_some()).count(), 0);
    }

    #[test]
    fn what_was_quarantined_without_limits_counts_against_them() {
        let directory = tempfile::tempdir().unwrap();
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        let steps = crate::checkpoint::schema::MIGRATIONS;
        let before = steps.iter().position(|step| step.contains("quarantine_further")).unwrap();
        steps[..before].iter().for_each(|step| raw.execute_batch(step).unwrap());
        raw.pragma_update(None, "user_version", u32::try_from(before).unwrap()).unwrap();
        let insert = "INSERT INTO quarantine (feed, kind, bucket, key, place, reason, at_ms)
                      VALUES ('dbx', 'record', 'logs', 'a.json', ?1, 'no JSON', 1)";
        (0..5).for_each(|place| _ = raw.execute(insert, [place]).unwrap());
        drop(raw);
        let store = CheckpointStore::open(directory.path(), entries_of(100, 3)).unwrap();
        assert_eq!(store.quarantine_size().unwrap().entries("record"), 5);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(deliver(&store, "a", vec![accepting(&["!one", "!two"])]));
        assert_eq!(entries(&directory).len(), 6);
        assert_eq!(store.quarantine_size().unwrap().entries("record"), 7);
    }

    #[tokio::test]
    async fn an_object_with_records_in_quarantine_is_not_forgotten() {
        let (directory, store) = opened(1000);
        deliver(&store, "a", vec![accepting(&["one", "!two"])]).await;
        assert_eq!(store.forget(1000).await.unwrap().objects, 0);
        Inspection::change(directory.path()).unwrap().purge(&[1]).unwrap();
        assert_eq!(store.forget(1000).await.unwrap().objects, 1);
    }

    #[tokio::test]
    async fn a_message_leaves_once_the_names_that_no_feed_takes_are_kept() {
        let (directory, store) = opened(1000);
        let named = |key: &str| Unrouted {
            object: ObjectId::new("logs", key),
            queue: "q".into(),
            feed: None,
            why: crate::checkpoint::NoFeed::Bucket,
        };
        store.quarantine_message("q".into(), "no JSON".into(), BODY.to_vec(), 1).await.unwrap();
        assert_eq!(requeue(&directory), [1]);
        assert_eq!(store.requests(0, 9).unwrap()[0].asked, Asked::Message { queue: "q".into() });
        store.replace_message(1, Vec::new(), vec![named("a"), named("b")], 1, None, 2).await.unwrap();
        let inspection = Inspection::look(directory.path()).unwrap();
        let reason = inspection.entry(1).unwrap().unwrap().reason;
        assert!(reason.contains("no more names are kept"), "{reason}");
        assert_eq!(requeue(&directory), [1]);
        store.replace_message(1, Vec::new(), vec![named("a"), named("b")], 2, None, 2).await.unwrap();
        assert!(inspection.entry(1).unwrap().is_none());
        assert_eq!(store.unrouted_count().unwrap(), 2);
    }

    #[test]
    fn what_the_first_version_quarantined_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        raw.execute_batch(crate::checkpoint::schema::MIGRATIONS[0]).unwrap();
        raw.execute_batch(
            "INSERT INTO quarantine (feed, kind, bucket, key, ordinal, byte_offset, reason, body_zstd, at_ms)
             VALUES ('dbx', 'record', 'logs', 'a.json', 3, 40, 'no JSON', x'0102', 9); PRAGMA user_version = 1",
        )
        .unwrap();
        drop(raw);
        let looked = Inspection::look(directory.path());
        assert!(matches!(looked, Err(crate::checkpoint::OpenError::Older { found: 1, .. })));
        let store = CheckpointStore::open(directory.path(), 1000).unwrap();
        assert_eq!(store.quarantine_size().unwrap().kinds[2], ("record".to_owned(), 1, 2));
        let entry = Inspection::look(directory.path()).unwrap().entry(1).unwrap().unwrap();
        assert_eq!((entry.ordinal, entry.offset, entry.at_ms, entry.can_requeue), (Some(3), Some(40), 9, false));
        assert!(requeue(&directory).is_empty(), "what that takes was not kept");
    }
}
