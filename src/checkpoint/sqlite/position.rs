//! The position of an object, and of each sink in it.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::further::ALL;
use super::places::{self, Owner};
use super::rows::{self, ObjectRow, Sum, count, int};
use super::{CheckpointStore, StoreError};
use crate::batch::{Advance, Form};
use crate::delta::{Places, Progress, Ranges};
use crate::notification::ObjectId;

/// What the store knows of an object, and how much of it some sinks have had.
#[derive(Clone, Debug)]
pub struct ObjectPosition {
    /// Whether the object is known at all.
    pub known: bool,
    /// As which family it was last read to its end, where that is known.
    pub family: Option<Box<str>>,
    pub progress: Progress,
    /// How many bytes of its content were split into lines before, in the longest version read to its end.
    pub framed_bytes: u64,
    /// The entity tag of the last version, where it was read to its end.
    pub etag: Option<Box<str>>,
    /// How many of its versions were read to their end.
    pub read: u64,
    /// The last version, where it could not be read and is quarantined.
    pub unreadable: Option<UnreadableVersion>,
    /// Where each of the sinks asked for stands, in the order asked.
    pub sinks: Vec<SinkPosition>,
}

/// A sink's position in an object.
#[derive(Clone, Debug, Default)]
pub struct SinkPosition {
    /// Its cursor in the accepted sequence.
    pub accepted: u64,
    /// The places before the cursor that it has not had: their records were gone from the source, and may come back; or they
    /// were in quarantine, and were requeued since.
    pub gap: Places,
    /// The number of the reading that it was last offered whole; nothing where that is open.
    pub read: Option<u64>,
}

/// A version that is in quarantine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnreadableVersion {
    pub etag: Box<str>,
    /// It can be read once it is restored, and then has the same entity tag.
    pub is_archived: bool,
}

impl ObjectPosition {
    /// Whether every sink asked for was offered all of the last version read, and has had what it lacked of it.
    pub fn is_settled(&self) -> bool {
        let is_settled = |sink: &SinkPosition| sink.accepted == self.progress.accepted && sink.read == Some(self.read);
        self.etag.is_some() && self.sinks.iter().all(is_settled)
    }

    /// Whether it was read as another family than this one: what was accepted then does not count now.
    pub fn is_of_another(&self, family: &str) -> bool {
        self.family.as_deref().is_some_and(|read_as| read_as != family)
    }
}

impl CheckpointStore {
    /// What is known of an object, and how much of it each of `sinks` has had.
    pub fn position(&self, object: &ObjectId, sinks: &[Arc<str>]) -> Result<ObjectPosition, StoreError> {
        self.read(|connection| {
            let Some(row) = ObjectRow::find(connection, object)? else {
                return Ok(ObjectPosition {
                    known: false,
                    family: None,
                    progress: Progress::default(),
                    framed_bytes: 0,
                    etag: None,
                    read: 0,
                    unreadable: None,
                    sinks: vec![SinkPosition::default(); sinks.len()],
                });
            };
            let sinks = sinks.iter().map(|sink| SinkPosition::load(connection, row.id, sink));
            let sinks = sinks.collect::<Result<_, _>>()?;
            let etag: Option<Box<str>> = row.etag.map(Into::into);
            let (etag, unreadable) = match (row.state.as_str(), etag) {
                ("whole", etag) => (etag, None),
                ("damaged", Some(etag)) => (None, Some(UnreadableVersion { etag, is_archived: row.is_archived })),
                _ => (None, None),
            };
            Ok(ObjectPosition {
                known: true,
                family: row.family.map(Into::into),
                progress: row.progress,
                framed_bytes: rows::framed_bytes(connection, row.id)?,
                etag,
                read: row.read,
                unreadable,
                sinks,
            })
        })
    }
}

impl SinkPosition {
    fn load(connection: &Connection, object_id: i64, sink: &str) -> Result<Self, StoreError> {
        let row = SinkRow::find(connection, object_id, sink)?;
        let gap = match row.gap {
            0 => Places::default(),
            _ => places::load(connection, Owner::Gap { object_id, sink }, ALL)?,
        };
        Ok(Self { accepted: row.accepted, gap, read: row.read })
    }
}

/// A sink's row in an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SinkRow {
    pub(super) accepted: u64,
    /// How many places its gap has.
    pub(super) gap: u64,
    pub(super) read: Option<u64>,
}

impl SinkRow {
    /// Of a sink that is not known there. It was offered all that there was before versions were counted.
    const NEW: Self = Self { accepted: 0, gap: 0, read: Some(0) };

    pub(super) fn find(connection: &Connection, object_id: i64, sink: &str) -> Result<Self, StoreError> {
        let mut statement = connection
            .prepare_cached("SELECT accepted, gap, read, sum FROM cursor WHERE object_id = ?1 AND sink = ?2")?;
        let found = statement
            .query_row(params![object_id, sink], |row| {
                let read = row.get::<_, Option<i64>>(2)?.map(count);
                Ok((Self { accepted: count(row.get(0)?), gap: count(row.get(1)?), read }, row.get(3)?))
            })
            .optional()?;
        let Some((row, sum)) = found else { return Ok(Self::NEW) };
        row.sum(object_id, sink).verify(sum, || format!("what sink {sink} has had of object {object_id}"))?;
        Ok(row)
    }

    pub(super) fn save(&self, connection: &Connection, object_id: i64, sink: &str) -> Result<(), StoreError> {
        let (read, sum) = (self.read.map(int), self.sum(object_id, sink).value());
        connection
            .prepare_cached(
                "INSERT INTO cursor (object_id, sink, accepted, gap, read, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET accepted = excluded.accepted, gap = excluded.gap, read = excluded.read,
                     sum = excluded.sum",
            )?
            .execute(params![object_id, sink, int(self.accepted), int(self.gap), read, sum])?;
        Ok(())
    }

    /// Rows from before a gap and `read` were kept carry a sum without them.
    fn sum(&self, object_id: i64, sink: &str) -> Sum {
        let sum = Sum::of("cursor").int(object_id).text(Some(sink)).int(int(self.accepted));
        let sum = if self.gap > 0 { sum.text(Some("gap")).int(int(self.gap)) } else { sum };
        match self.read {
            Some(0) => sum,
            Some(read) => sum.text(Some("read")).int(int(read)),
            None => sum.text(Some("open")),
        }
    }

    /// Whether it was offered all of the last version read, and has had what it lacked of it.
    pub(super) fn is_settled(&self, object: &ObjectRow) -> bool {
        let stands_at_end = self.accepted == object.progress.accepted;
        object.state == "whole" && stands_at_end && self.read == Some(object.read)
    }
}

/// Applies a sink's advance.
///
/// # Errors
/// `Overtaken` where the sink does not stand as the advance says.
pub(super) fn apply(connection: &Connection, object_id: i64, sink: &str, advance: &Advance) -> Result<(), StoreError> {
    let mut row = SinkRow::find(connection, object_id, sink)?;
    let mut places = gap_around(connection, object_id, sink, advance.form.ranges())?;
    match &advance.form {
        Form::Onward { gap } if row.accepted == advance.before => {
            row.accepted = advance.after;
            row.gap += places.insert_all(gap);
            // It may stand at the end, and was still not offered any version whole.
            row.read = row.read.filter(|_| gap.is_empty());
        }
        Form::Fill { places: filled } if places.remove_all(filled) == filled.places() => {
            row.gap = row.gap.saturating_sub(filled.places());
        }
        _ => return Err(StoreError::Overtaken { object: advance.object.clone() }),
    }
    row.save(connection, object_id, sink)?;
    places::save(connection, Owner::Gap { object_id, sink }, &mut places)
}

/// Takes an advance back that was sealed: the sink stands where it stood.
pub(super) fn take_back(
    connection: &Connection,
    object_id: i64,
    sink: &str,
    advance: &Advance,
) -> Result<(), StoreError> {
    let mut row = SinkRow::find(connection, object_id, sink)?;
    let owner = Owner::Gap { object_id, sink };
    let mut gap = Places::default();
    match advance.form {
        // Nothing else says that it has not had all that the object holds.
        Form::Fill { .. } => row.read = None,
        // It comes to these places again, and has passed none of them.
        Form::Onward { .. } => {
            gap = places::load(connection, owner, advance.before..=u64::MAX)?;
            row.gap = row.gap.saturating_sub(gap.truncate(advance.before));
        }
    }
    row.save(connection, object_id, sink)?;
    places::save(connection, owner, &mut gap)
}

/// How many places the gap gains or loses by an advance, without those whose records were requeued out of quarantine.
pub(super) fn counted(connection: &Connection, object_id: i64, advance: &Advance) -> Result<u64, StoreError> {
    let changed = advance.form.ranges();
    if changed.is_empty() {
        return Ok(0);
    }
    let span = changed.span();
    let mut requeued = places::load(connection, Owner::Requeued { object_id }, span.start..=span.end)?;
    Ok(changed.places() - requeued.remove_all(changed))
}

/// Whether all of these places lie in the sink's gap.
pub(super) fn has_in_gap(
    connection: &Connection,
    object_id: i64,
    sink: &str,
    places: &Ranges,
) -> Result<bool, StoreError> {
    Ok(gap_around(connection, object_id, sink, places)?.remove_all(places) == places.places())
}

fn gap_around(connection: &Connection, object_id: i64, sink: &str, places: &Ranges) -> Result<Places, StoreError> {
    if places.is_empty() {
        return Ok(Places::default());
    }
    let span = places.span();
    places::load(connection, Owner::Gap { object_id, sink }, span.start..=span.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Part;
    use crate::checkpoint::sqlite::tests::{World, deliver, finish, lane, object, part, receipt, seal, world};
    use crate::checkpoint::{Finish, GapChange};
    use crate::event::Encoded;

    fn ranges(of: &[(u64, u64)]) -> Ranges {
        let mut ranges = Ranges::default();
        of.iter().for_each(|&(first, end)| ranges.push(first..end));
        ranges
    }

    /// Without events, since what a part brings is not what these tests are about.
    fn bare(advance: Advance) -> Part {
        Part { piece: Encoded::default().into(), advance, ..part(0, 1, false) }
    }

    fn onward(before: u64, after: u64, gap: &[(u64, u64)]) -> Part {
        bare(Advance { object: object(), before, after, form: Form::Onward { gap: ranges(gap) } })
    }

    fn fill(places: &[(u64, u64)]) -> Part {
        bare(Advance::fill(object(), ranges(places)))
    }

    /// Where sink `b` stands: how far, without which places, and as of which reading.
    fn stands(store: &CheckpointStore) -> (u64, Vec<u64>, Option<u64>) {
        let SinkPosition { accepted, mut gap, read } =
            store.position(&object(), &["b".into()]).unwrap().sinks.pop().unwrap();
        (accepted, (0..50_000).filter(|place| gap.contains(*place)).collect(), read)
    }

    fn is_settled(store: &CheckpointStore, sink: &str) -> bool {
        let sinks = [Arc::from(sink)];
        let is_settled = store.position(&object(), &sinks).unwrap().is_settled();
        assert_eq!(store.passed(&object(), &sinks).unwrap().is_some(), is_settled);
        is_settled
    }

    async fn is_overtaken(store: &CheckpointStore, parts: Vec<Part>) -> bool {
        let before = stands(store);
        let refused = store.seal(seal("b", parts)).await;
        assert!(store.sealed(&lane("b")).unwrap().is_empty() && stands(store) == before);
        matches!(refused, Err(StoreError::Overtaken { .. }))
    }

    #[tokio::test]
    async fn what_is_gone_is_a_gap_until_it_comes_back() {
        let World { directory, store } = world();
        deliver(&store, "a", vec![part(0, 9, true)]).await;
        deliver(&store, "b", vec![onward(0, 5, &[(1, 3), (4, 5)]), onward(5, 6, &[]), onward(6, 9, &[(6, 9)])]).await;
        assert_eq!(stands(&store), (9, vec![1, 2, 4, 6, 7, 8], None));
        let sealed = store.seal(seal("b", vec![fill(&[(2, 3), (6, 8)]), fill(&[(4, 5)])])).await.unwrap();
        drop(store);
        let store = CheckpointStore::open(directory.path(), 0).unwrap();
        let found = store.sealed(&lane("b")).unwrap().remove(0);
        let forms: Vec<Form> = found.manifest().parts.iter().map(|part| part.advance.form.clone()).collect();
        let expected = [&[(2, 3), (6, 8)][..], &[(4, 5)]].map(|places| Form::Fill { places: ranges(places) });
        assert_eq!((&found.manifest().id, forms), (&sealed.manifest().id, expected.to_vec()));
        assert_eq!(stands(&store).1, [1, 2, 4, 6, 7, 8], "sealed, and not yet delivered");
        let committed = store.commit(&found, &receipt(&found)).await.unwrap();
        assert_eq!(committed.gap_changes(), [GapChange { object: object(), opened: 0, filled: 4 }]);
        assert_eq!(stands(&store), (9, vec![1, 8], None));
    }

    #[tokio::test]
    async fn only_what_lies_in_the_gap_is_filled_and_only_once() {
        let World { directory: _directory, store } = world();
        deliver(&store, "a", vec![part(0, 9, true)]).await;
        let sealed = store.seal(seal("b", vec![onward(0, 9, &[(2, 4), (5, 7)])])).await.unwrap();
        let committed = store.commit(&sealed, &receipt(&sealed)).await.unwrap();
        assert_eq!(committed.gap_changes(), [GapChange { object: object(), opened: 4, filled: 0 }]);
        for wrong in [fill(&[(1, 3)]), fill(&[(2, 5)]), fill(&[(2, 3), (8, 9)]), fill(&[(9, 10)])] {
            assert!(is_overtaken(&store, vec![fill(&[(6, 7)]), wrong]).await);
        }
        assert!(is_overtaken(&store, vec![fill(&[(2, 4)]), fill(&[(3, 4)])]).await);
        deliver(&store, "b", vec![fill(&[(3, 4)]), fill(&[(2, 3), (5, 6)])]).await;
        assert!(is_overtaken(&store, vec![fill(&[(3, 4)])]).await, "it has had that");
        assert_eq!(stands(&store).1, [6]);
    }

    #[tokio::test]
    async fn a_gap_of_tens_of_thousands_is_filled_piece_by_piece() {
        let World { directory: _directory, store } = world();
        deliver(&store, "a", vec![part(0, 50_000, true)]).await;
        deliver(&store, "b", vec![onward(0, 50_000, &[(10, 49_990)])]).await;
        assert_eq!(stands(&store).1.len(), 49_980);
        deliver(&store, "b", vec![fill(&[(10, 32_760)]), fill(&[(32_770, 49_990)])]).await;
        assert_eq!(stands(&store).1, (32_760..32_770).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_sink_is_settled_with_the_version_it_was_offered_whole() {
        let World { directory: _directory, store } = world();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        assert!(store.finish(finish(3, "e1", &["a"])).await.unwrap());
        assert!(is_settled(&store, "a") && !is_settled(&store, "b"));
        deliver(&store, "b", vec![onward(0, 3, &[(1, 3)])]).await;
        assert!(!is_settled(&store, "b"), "it stands at the end, of another version");
        assert!(store.finish(finish(3, "e1", &["b"])).await.unwrap());
        assert!(is_settled(&store, "a") && is_settled(&store, "b"), "the same version: a had it; a gap settles too");
        assert!(store.finish(finish(3, "e2", &["a"])).await.unwrap());
        assert!(is_settled(&store, "a") && !is_settled(&store, "b"), "what came back with e2 was not offered to b");
        let changed = finish(3, "e2", &["b"]);
        let progress = Progress { digest: [2; 32], ..changed.progress.clone() };
        assert!(store.finish(Finish { progress, ..changed }).await.unwrap());
        assert!(!is_settled(&store, "a") && is_settled(&store, "b"), "the same tag, of other content");
    }

    #[tokio::test]
    async fn what_came_back_and_cannot_be_made_again_leaves_its_sink_unsettled() {
        let World { directory: _directory, store } = world();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        deliver(&store, "b", vec![onward(0, 3, &[(1, 3)])]).await;
        assert!(store.finish(finish(3, "e1", &["a", "b"])).await.unwrap());
        let sealed = store.seal(seal("b", vec![fill(&[(1, 2)])])).await.unwrap();
        assert!(is_settled(&store, "b"));
        store.unseal(&sealed).await.unwrap();
        assert!(!is_settled(&store, "b"));
        assert_eq!(stands(&store), (3, vec![1, 2], None));
    }

    #[tokio::test]
    async fn a_gap_goes_with_what_was_accepted_and_is_counted_when_its_object_is_forgotten() {
        let World { directory: _directory, store } = world();
        let lay_out = async |etag| {
            let mut all = part(0, 5, true);
            Arc::get_mut(all.acceptance.as_mut().unwrap()).unwrap().refused.clear();
            deliver(&store, "a", vec![all]).await;
            deliver(&store, "b", vec![onward(0, 5, &[(1, 3), (4, 5)])]).await;
            assert!(store.finish(finish(5, etag, &["a", "b"])).await.unwrap());
        };
        lay_out("e1").await;
        store.begin_anew(object(), "lakefs").await.unwrap();
        assert_eq!(stands(&store), (0, vec![], Some(0)));
        assert!(!is_settled(&store, "a"));
        lay_out("e2").await;
        assert_eq!(stands(&store), (5, vec![1, 2, 4], Some(1)));
        let forgotten = store.forget(1000).await.unwrap();
        assert_eq!((forgotten.objects, forgotten.gap_records), (1, 3));
        lay_out("e3").await;
        assert_eq!(stands(&store).1, [1, 2, 4]);
    }

    #[tokio::test]
    async fn a_position_that_is_not_what_was_written_is_refused() {
        let damages = [
            "UPDATE cursor SET gap = 0",
            "UPDATE cursor SET read = 7",
            "UPDATE cursor SET read = NULL",
            "UPDATE object SET read = 7",
            "UPDATE gap SET packed = zeroblob(4096)",
        ];
        for damage in damages {
            let World { directory, store } = world();
            deliver(&store, "a", vec![part(0, 3, true)]).await;
            deliver(&store, "b", vec![onward(0, 3, &[(1, 3)])]).await;
            assert!(store.finish(finish(3, "e1", &["a", "b"])).await.unwrap());
            let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
            assert!(raw.execute(damage, []).unwrap() > 0);
            let refused = store.position(&object(), &["b".into()]);
            assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{damage}");
        }
        let World { directory, store } = world();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        store.seal(seal("b", vec![onward(0, 3, &[(1, 3)])])).await.unwrap();
        let raw = Connection::open(directory.path().join("checkpoints.sqlite")).unwrap();
        raw.execute("UPDATE batch_part SET ranges = x''", []).unwrap();
        assert!(matches!(store.sealed(&lane("b")), Err(StoreError::Corrupt { .. })));
    }
}
