//! Requeue requests: what an operator asked to try again, and what became of it.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::refused::bounded;
use super::rows::{ObjectRow, count, int};
use super::unrouted::{self, Unrouted};
use super::{CheckpointStore, StoreError};
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

    /// A body kept in quarantine, compressed.
    pub fn quarantined_body(&self, id: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("SELECT body_zstd FROM quarantine WHERE id = ?1")?;
            Ok(statement.query_row([int(id)], |row| row.get(0)).optional()?.flatten())
        })
    }

    /// What was tried again and refused again stays in quarantine, each for its new reason.
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
    last_request(connection)
}

/// The number of the last request.
pub(super) fn last_request(connection: &Connection) -> Result<u64, StoreError> {
    let number: String = connection.query_row("SELECT value FROM meta WHERE key = 'requests'", [], |row| row.get(0))?;
    number.parse().map_err(|_| StoreError::Corrupt { row: "the number of requests".to_owned() })
}

/// Whether anything of the object is to be tried again.
pub(super) fn is_requeued(connection: &Connection, object: &ObjectId) -> Result<bool, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM quarantine WHERE bucket = ?1 AND key = ?2 AND request IS NOT NULL")?;
    Ok(statement.exists(params![&*object.bucket, &*object.key])?)
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
    use crate::batch::{Acceptance, Advance, Batch, Form, Lane, Part, Provenance, Refused, RequestLimits};
    use crate::checkpoint::{
        Entry, Finish, Forgotten, GapChange, Inspection, QuarantineLimits, Refusal, Retried, Seal, Sealed, Selection,
    };
    use crate::delta::{Places, Progress, Ranges, RecordHash};
    use crate::event::Encoded;
    use crate::object::Version;
    use crate::reading::{QuarantinedPlaces, RefusedAgain};
    use crate::sink::Receipt;

    const BODY: &[u8] = b"compressed";

    fn object() -> ObjectId {
        ObjectId::new("logs", "a.json")
    }

    fn hash(text: &str) -> RecordHash {
        RecordHash::of(text.as_bytes())
    }

    fn provenance() -> Arc<Provenance> {
        let version = Version { etag: "e1".into(), version_id: None, last_modified_ms: Some(7), size_bytes: 9 };
        Arc::new(Provenance { feed: "dbx".into(), family: "databricks", object: object(), version })
    }

    fn part(before: u64, after: u64) -> Part {
        Part {
            advance: Advance::onward(object(), before, after),
            provenance: provenance(),
            acceptance: None,
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

    /// A part that fills these places of a gap.
    fn filling(from: u64, to: u64) -> Part {
        Part { advance: Advance::fill(object(), Ranges::from(from..to)), ..part(from, to) }
    }

    async fn seal(store: &CheckpointStore, sink: &str, parts: Vec<Part>) -> Result<Sealed, StoreError> {
        let lane = Lane::only(sink.into());
        store
            .seal(Seal { lane, encoder: "test".into(), limits: RequestLimits::WHOLE, parts: parts.into(), now_ms: 1 })
            .await
    }

    async fn commit(store: &CheckpointStore, sealed: &Sealed) {
        let nothing = Receipt::nothing(&Batch::new(sealed.manifest(), [])).unwrap();
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
        let QuarantinedPlaces { mut closed, mut withheld, listed, mut further } =
            store.quarantined_places(&object(), 0).unwrap();
        closed.insert_places(&mut withheld);
        closed.insert_places(&mut further);
        listed.into_iter().for_each(|place| _ = closed.insert(place));
        held(closed)
    }

    /// A part that refuses one record of another object.
    fn of_another(object: &str) -> Part {
        let mut part = accepting(&["!one"]);
        part.advance.object = ObjectId::new("logs", object);
        part
    }

    fn requeue(directory: &tempfile::TempDir) -> Vec<u64> {
        let mut quarantine = Inspection::change(directory.path()).unwrap();
        let ids = quarantine.page(&Selection::default(), 0).unwrap();
        let impossible = quarantine.requeue(&ids).unwrap();
        ids.into_iter().filter(|id| !impossible.contains(id)).collect()
    }

    /// The places before its own that a sink has not had.
    fn lacks(store: &CheckpointStore, sink: &str) -> Vec<u64> {
        held(store.position(&object(), &[sink.into()]).unwrap().sinks.remove(0).gap)
    }

    fn held(mut places: Places) -> Vec<u64> {
        (0..100).filter(|place| places.contains(*place)).collect()
    }

    /// How many records left the quarantine, where the sinks `a` and `b` are to have them, and how many were refused.
    async fn retried(store: &CheckpointStore, up_to: u64, refused: RefusedAgain) -> (u64, u64) {
        retried_of(store, &["a", "b"], up_to, refused).await
    }

    async fn retried_of(store: &CheckpointStore, sinks: &[&str], up_to: u64, refused: RefusedAgain) -> (u64, u64) {
        let sinks = sinks.iter().copied().map(Arc::from).collect();
        let Retried { delivered, refused } = store.note_retried(object(), sinks, up_to, refused).await.unwrap();
        (delivered, refused)
    }

    fn finish(accepted: u64, sinks: &[&str]) -> Finish {
        let progress = Progress { accepted, content_records: accepted, ..Progress::default() };
        Finish { object: object(), progress, ..crate::checkpoint::tests::finish(accepted, "e1", sinks) }
    }

    #[tokio::test]
    async fn a_requeued_record_is_lacked_once_by_each_sink_that_was_past_it_and_leaves_when_all_have_had_it() {
        let (directory, store) = opened(1000);
        deliver(&store, "a", vec![accepting(&["one", "!two", "three"])]).await;
        assert_eq!(store.open_requeued(object()).await.unwrap(), None, "nobody asked for it");
        assert_eq!(requeue(&directory), [1]);
        let places = store.quarantined_places(&object(), 0).unwrap();
        assert!(held(places.closed) == [1] && places.listed.is_empty(), "not before it is taken up");
        for _ in 0..2 {
            assert_eq!(store.open_requeued(object()).await.unwrap(), Some(1));
            assert_eq!((lacks(&store, "a"), lacks(&store, "b")), (vec![1], vec![]), "b comes to it first");
        }
        let places = store.quarantined_places(&object(), 0).unwrap();
        assert!(places.listed.into_iter().eq([1]) && held(places.closed).is_empty());
        assert_eq!(store.kept_places(&object(), 0).unwrap(), [] as [u64; 0]);
        assert_eq!(store.kept_places(&object(), 1).unwrap(), [1]);
        assert_eq!(store.kept_record(&object(), 1).unwrap().unwrap().body_zstd, BODY);
        deliver(&store, "a", vec![filling(1, 2)]).await;
        assert_eq!(retried(&store, 1, RefusedAgain::default()).await, (0, 0), "b has not had it");
        assert_eq!(entries(&directory)[0].had, ["a"]);
        store.open_requeued(object()).await.unwrap();
        assert_eq!(lacks(&store, "a"), [] as [u64; 0], "a has had it");
        deliver(&store, "b", vec![accepting(&["one", "!two", "three"])]).await;
        assert_eq!(retried(&store, 0, RefusedAgain::default()).await, (0, 0), "of an earlier request");
        assert_eq!(retried(&store, 1, RefusedAgain::default()).await, (1, 0));
        assert_eq!(store.quarantine_size().unwrap().entries("record"), 0);
        assert_eq!(store.open_requeued(object()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_refused_again_stays_and_is_lacked_until_somebody_asks_once_more() {
        let (directory, store) = opened(1000);
        deliver(&store, "a", vec![accepting(&["!0", "!1", "2"])]).await;
        assert!(store.finish(finish(3, &["a"])).await.unwrap());
        assert_eq!(requeue(&directory), [1, 2]);
        store.open_requeued(object()).await.unwrap();
        let listed = std::collections::BTreeMap::from([(0, "no sense".to_owned())]);
        let refused = RefusedAgain { listed, ..RefusedAgain::default() };
        assert_eq!(retried(&store, 2, refused).await, (0, 1), "the other may come, from the bytes kept");
        let shown: Vec<_> = entries(&directory).into_iter().map(|entry| (entry.is_requeued, entry.reason)).collect();
        assert_eq!(shown, [(false, "no sense".to_owned()), (true, "no JSON".to_owned())]);
        let places = store.quarantined_places(&object(), 0).unwrap();
        assert!(held(places.withheld) == [0] && places.listed.into_iter().eq([1]));
        assert_eq!(requeue(&directory), [1, 2]);
        store.open_requeued(object()).await.unwrap();
        assert_eq!(lacks(&store, "a"), [0, 1], "each once");
    }

    #[tokio::test]
    async fn a_version_that_was_read_whole_is_read_again_for_what_was_not_kept_alone() {
        for (is_kept, is_known) in [(true, true), (false, false)] {
            let (directory, store) = opened(if is_kept { 1000 } else { 0 });
            deliver(&store, "a", vec![accepting(&["one", "!two"])]).await;
            assert!(store.finish(finish(2, &["a"])).await.unwrap());
            requeue(&directory);
            store.open_requeued(object()).await.unwrap();
            assert_eq!(store.position(&object(), &["a".into()]).unwrap().is_settled(), is_known);
            assert_eq!(retried(&store, 1, RefusedAgain::default()).await, (0, 0));
            assert!(store.finish(finish(2, &["a"])).await.unwrap());
            store.finish(finish(2, &["b"])).await.unwrap();
            assert_eq!(retried(&store, 1, RefusedAgain::default()).await, (0, 0), "b has not come to it");
            deliver(&store, "b", vec![accepting(&["one", "!two"])]).await;
            assert!(store.finish(finish(2, &["a", "b"])).await.unwrap());
            assert_eq!(retried(&store, 1, RefusedAgain::default()).await, (0, u64::from(!is_kept)), "it is not there");
        }
    }

    #[tokio::test]
    async fn a_sink_that_passes_a_record_by_a_sealed_batch_lacks_it_once_that_is_committed_and_not_where_it_is_lost() {
        let (directory, store) = opened(1000);
        deliver(&store, "a", vec![accepting(&["one", "!two", "three"])]).await;
        let sealed = seal(&store, "b", vec![accepting(&["one", "!two", "three"])]).await.unwrap();
        requeue(&directory);
        store.open_requeued(object()).await.unwrap();
        store.unseal(&sealed).await.unwrap();
        assert_eq!(lacks(&store, "b"), [] as [u64; 0], "it comes to it again, by the ordinary way");
        let (directory, store) = opened(1000);
        let sealed = seal(&store, "b", vec![accepting(&["one", "!two", "three"])]).await.unwrap();
        requeue(&directory);
        store.open_requeued(object()).await.unwrap();
        let filling = seal(&store, "b", vec![filling(1, 2)]).await.unwrap();
        commit(&store, &sealed).await;
        assert_eq!(lacks(&store, "b"), [1]);
        commit(&store, &filling).await;
        assert_eq!(lacks(&store, "b"), [] as [u64; 0]);
    }

    #[tokio::test]
    async fn what_is_purged_on_its_way_is_lacked_by_nobody_once_no_batch_brings_it() {
        let (directory, store) = opened(1000);
        deliver(&store, "a", vec![accepting(&["!0", "!1"])]).await;
        requeue(&directory);
        store.open_requeued(object()).await.unwrap();
        let sealed = seal(&store, "a", vec![filling(0, 1)]).await.unwrap();
        Inspection::change(directory.path()).unwrap().purge(&[1, 2]).unwrap();
        store.open_requeued(object()).await.unwrap();
        assert_eq!(lacks(&store, "a"), [0, 1]);
        commit(&store, &sealed).await;
        store.open_requeued(object()).await.unwrap();
        assert_eq!(lacks(&store, "a"), [] as [u64; 0]);
    }

    #[tokio::test]
    async fn what_was_purged_on_its_way_is_not_counted_as_never_come_back() {
        let (directory, store) = opened(1000);
        deliver(&store, "a", vec![accepting(&["!0", "1"])]).await;
        requeue(&directory);
        store.open_requeued(object()).await.unwrap();
        assert_eq!(lacks(&store, "a"), [0]);
        Inspection::change(directory.path()).unwrap().purge(&[1]).unwrap();
        assert_eq!(store.forget(1000).await.unwrap(), Forgotten { objects: 1, gap_records: 0 });
    }

    #[tokio::test]
    async fn what_comes_out_of_quarantine_does_not_count_as_come_back() {
        let (directory, store) = opened(1000);
        deliver(&store, "a", vec![accepting(&["!0", "1", "2"])]).await;
        let gap = Form::Onward { gap: Ranges::from(1..2) };
        let passing = Part { advance: Advance { form: gap, ..Advance::onward(object(), 0, 3) }, ..part(0, 3) };
        deliver(&store, "b", vec![passing]).await;
        requeue(&directory);
        store.open_requeued(object()).await.unwrap();
        let sealed = seal(&store, "b", vec![filling(0, 2)]).await.unwrap();
        let nothing = Receipt::nothing(&Batch::new(sealed.manifest(), [])).unwrap();
        let committed = store.commit(&sealed, &nothing).await.unwrap();
        assert_eq!(committed.gap_changes(), [GapChange { object: object(), opened: 0, filled: 1 }]);
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
    async fn further_records_leave_as_they_are_had_and_what_is_left_stays_for_its_new_reason() {
        let (directory, store) = opened(entries_of(100, 1));
        deliver(&store, "a", vec![accepting(&["!0", "!1", "!2", "!3"])]).await;
        assert_eq!(requeue(&directory), [1, 2]);
        store.open_requeued(object()).await.unwrap();
        assert_eq!(lacks(&store, "a"), [0, 1, 2, 3]);
        let places = store.quarantined_places(&object(), 0).unwrap();
        assert!(places.listed.into_iter().eq([0]) && held(places.further) == [1, 2, 3]);
        // More of them come meanwhile, of which nobody has asked for any.
        deliver(&store, "a", vec![accepting_from(4, &["!4"]), filling(1, 2), filling(3, 4)]).await;
        let refused = || RefusedAgain { further: 1, first_further: Some((2, "no sense".into())), ..Default::default() };
        assert_eq!(retried_of(&store, &["a"], 2, refused()).await, (2, 0), "a was not offered all of a version");
        let shown = |entry: &Entry| (entry.further, entry.is_requeued, entry.reason.clone());
        assert_eq!(shown(&entries(&directory)[1]), (Some(2), true, "no JSON".to_owned()));
        assert_eq!(quarantined_positions(&store), [0, 2, 4]);
        assert!(store.finish(finish(5, &["a"])).await.unwrap());
        assert_eq!(retried_of(&store, &["a"], 2, refused()).await, (0, 1));
        let reason = "tried again, 1 are refused: record 2: no sense".to_owned();
        assert_eq!(shown(&entries(&directory)[1]), (Some(2), false, reason));
        let places = store.quarantined_places(&object(), 0).unwrap();
        assert_eq!((held(places.closed), held(places.withheld)), (vec![4], vec![2]));
        assert_eq!(requeue(&directory), [1, 2]);
        store.open_requeued(object()).await.unwrap();
        assert_eq!(lacks(&store, "a"), [0, 2, 4]);
        deliver(&store, "a", vec![filling(2, 3), filling(4, 5)]).await;
        assert_eq!(retried_of(&store, &["a"], 4, RefusedAgain::default()).await, (2, 0));
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
