//! What is refused is kept within limits, and leaves the quarantine once every sink has had it.

use std::sync::Arc;

use super::{commit, deliver, held, receipt, seal, sites};
use crate::batch::{Acceptance, Advance, Form, Part, Provenance, Refused};
use crate::checkpoint::{
    Asked, Entry, Finish, Forgotten, GapChange, KeptObject, NoFeed, QuarantineLimits, Refusal, Remembered, Replacement,
    Retried, Sealed, Store, Unrouted,
};
use crate::delta::{Progress, Ranges, RecordHash};
use crate::event::Encoded;
use crate::notification::ObjectId;
use crate::object::Version;
use crate::reading::{QuarantinedPlaces, RefusedAgain};

async fn sealed_of(store: &Store, sink: &str, parts: Vec<Part>) -> Sealed {
    store.positions.seal(seal(sink, parts)).await.unwrap()
}

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
        refused: Arc::new([]),
        piece: Encoded { bytes: b"events\n".to_vec(), ends: vec![7], ..Encoded::default() }.into(),
    }
}

/// A part that accepts these records, of which those that begin with `!` are refused.
pub(in crate::checkpoint) fn accepting(records: &[&str]) -> Part {
    accepting_from(0, records)
}

/// Like [`accepting`], after `before` records that are accepted already.
fn accepting_from(before: u64, records: &[&str]) -> Part {
    Part { acceptance: Some(Arc::new(acceptance(before, records))), ..part(before, before + records.len() as u64) }
}

fn acceptance(before: u64, records: &[&str]) -> Acceptance {
    let refused =
        records.iter().zip(before..).filter(|(record, _)| record.starts_with('!')).map(|(record, at)| Refused {
            ordinal: at,
            place: at,
            occurrence: 0,
            hash: hash(record),
            may_be_within: record.starts_with("!within"),
            offset: at,
            reason: "no JSON".into(),
            body_zstd: Some(BODY.to_vec()),
        });
    let after = before + records.len() as u64;
    Acceptance {
        feed: "dbx".into(),
        before,
        after,
        fingerprints: records.iter().map(|record| hash(record).fingerprint()).collect(),
        progress: Progress { accepted: after, content_records: after, ..Progress::default() },
        refused: refused.collect(),
    }
}

/// A part that fills these places of a gap.
fn filling(from: u64, to: u64) -> Part {
    Part { advance: Advance::fill(object(), Ranges::from(from..to)), ..part(from, to) }
}

pub(in crate::checkpoint) fn entries_of(in_all: u64, of_object: u64) -> QuarantineLimits {
    QuarantineLimits { bytes_max: 1000, entries_max: in_all, entries_per_object: of_object }
}

/// The places of the object's records that are in quarantine.
async fn quarantined_positions(store: &Store) -> Vec<u64> {
    let QuarantinedPlaces { mut closed, mut withheld, listed, mut further, .. } =
        store.quarantine.quarantined_places(&object(), 0).await.unwrap();
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

async fn is_requeued(store: &Store) -> bool {
    store.positions.position(&object(), &[]).await.unwrap().is_requeued
}

/// The places in a sink's gap.
async fn lacks(store: &Store, sink: &str) -> Vec<u64> {
    held(store.positions.position(&object(), &[sink.into()]).await.unwrap().sinks.remove(0).gap)
}

/// Notes how the retry went for sinks `a` and `b`. Returns how many records left the quarantine, and how many were
/// refused again.
async fn retried(store: &Store, up_to: u64, refused: RefusedAgain) -> (u64, u64) {
    retried_of(store, &["a", "b"], up_to, refused).await
}

async fn retried_of(store: &Store, sinks: &[&str], up_to: u64, refused: RefusedAgain) -> (u64, u64) {
    let sinks = sinks.iter().copied().map(Arc::from).collect();
    let Retried { delivered, refused } = store.quarantine.note_retried(object(), sinks, up_to, refused).await.unwrap();
    (delivered, refused)
}

fn finish(accepted: u64, sinks: &[&str]) -> Finish {
    let progress = Progress { accepted, content_records: accepted, ..Progress::default() };
    Finish { object: object(), progress, ..super::finish(accepted, "e1", sinks) }
}

#[tokio::test]
async fn a_requeued_record_is_lacked_once_by_each_sink_that_was_past_it_and_leaves_when_all_have_had_it() {
    for site in sites() {
        let store = site.open_with(1000.into());
        deliver(&store, "a", vec![accepting(&["one", "!within", "three"])]).await;
        assert_eq!(store.quarantine.open_requeued(object()).await.unwrap(), None, "nobody asked for it");
        assert!(!is_requeued(&store).await);
        assert_eq!(site.requeue(), [1]);
        assert!(is_requeued(&store).await);
        let places = store.quarantine.quarantined_places(&object(), 0).await.unwrap();
        assert!(held(places.closed) == [1] && places.listed.is_empty(), "not before it is taken up");
        for _ in 0..2 {
            assert_eq!(store.quarantine.open_requeued(object()).await.unwrap(), Some(1));
            assert_eq!((lacks(&store, "a").await, lacks(&store, "b").await), (vec![1], vec![]), "b comes to it first");
        }
        let places = store.quarantine.quarantined_places(&object(), 0).await.unwrap();
        assert!(places.listed.into_iter().eq([1]) && held(places.closed).is_empty());
        assert_eq!(store.quarantine.kept_places(&object(), 0).await.unwrap(), [] as [u64; 0]);
        assert_eq!(store.quarantine.kept_places(&object(), 1).await.unwrap(), [1]);
        let kept = store.quarantine.kept_record(&object(), 1).await.unwrap().unwrap();
        assert!((&*kept.body_zstd, kept.may_be_within) == (BODY, true));
        deliver(&store, "a", vec![filling(1, 2)]).await;
        assert_eq!(retried(&store, 1, RefusedAgain::default()).await, (0, 0), "b has not had it");
        assert_eq!(site.entries()[0].had, ["a"]);
        store.quarantine.open_requeued(object()).await.unwrap();
        assert_eq!(lacks(&store, "a").await, [] as [u64; 0], "a has had it");
        deliver(&store, "b", vec![accepting(&["one", "!within", "three"])]).await;
        assert_eq!(retried(&store, 0, RefusedAgain::default()).await, (0, 0), "of an earlier request");
        assert_eq!(retried(&store, 1, RefusedAgain::default()).await, (1, 0));
        assert_eq!(store.quarantine.quarantine_size().await.unwrap().entries("record"), 0);
        assert_eq!(store.quarantine.open_requeued(object()).await.unwrap(), None);
        assert!(!is_requeued(&store).await);
    }
}

#[tokio::test]
async fn an_accepted_record_that_one_sink_cannot_have_is_quarantined_once_and_lacked_by_who_has_not_had_it() {
    for site in sites() {
        let store = site.open_with(1000.into());
        deliver(&store, "a", vec![accepting(&["one", "two", "three"])]).await;
        for sink in ["b", "c"] {
            let gap = Form::Onward { gap: Ranges::from(1..2) };
            let Acceptance { refused, .. } = acceptance(0, &["one", "!two", "three"]);
            let passing = Part {
                advance: Advance { form: gap, ..Advance::onward(object(), 0, 3) },
                refused: refused.into(),
                ..part(0, 3)
            };
            let sealed = sealed_of(&store, sink, vec![passing]).await;
            let committed = store.positions.commit(&sealed, &receipt(&sealed), 5).await.unwrap();
            assert!(committed.gap_changes().is_empty(), "it has not vanished");
            let shown = |entry: &Entry| (entry.id, entry.ordinal, entry.reason.clone());
            assert_eq!(site.entries().iter().map(shown).collect::<Vec<_>>(), [(1, Some(1), "no JSON".to_owned())]);
            assert_eq!((lacks(&store, "a").await, lacks(&store, sink).await), (vec![], vec![1]));
        }
        let places = store.quarantine.quarantined_places(&object(), 0).await.unwrap();
        assert_eq!((held(places.withheld), held(places.closed)), (vec![1], vec![]));
        assert_eq!(store.quarantine.open_requeued(object()).await.unwrap(), None, "nobody asks for it");
        site.requeue();
        let up_to = store.quarantine.open_requeued(object()).await.unwrap().unwrap();
        assert_eq!(
            (lacks(&store, "a").await, lacks(&store, "b").await),
            (vec![], vec![1]),
            "who has had it has had it"
        );
        for (sink, left) in [("b", 1), ("c", 0)] {
            let tried = store.quarantine.quarantined_places(&object(), 0).await.unwrap();
            assert_eq!((held(tried.delivered), tried.listed.len()), (vec![1], 1), "by the first sink");
            deliver(&store, sink, vec![filling(1, 2)]).await;
            let (delivered, _) = retried_of(&store, &["a", "b", "c"], up_to, RefusedAgain::default()).await;
            assert_eq!((delivered, site.entries().len()), (1 - left, left as usize));
        }
    }
}

#[tokio::test]
async fn what_is_refused_again_stays_and_is_lacked_until_somebody_asks_once_more() {
    for site in sites() {
        let store = site.open_with(1000.into());
        deliver(&store, "a", vec![accepting(&["!0", "!1", "2"])]).await;
        assert!(store.positions.finish(finish(3, &["a"])).await.unwrap());
        assert_eq!(site.requeue(), [1, 2]);
        store.quarantine.open_requeued(object()).await.unwrap();
        let listed = std::collections::BTreeMap::from([(0, "no sense".to_owned())]);
        let refused = RefusedAgain { listed, ..RefusedAgain::default() };
        assert_eq!(retried(&store, 2, refused).await, (0, 1), "the other may come, from the bytes kept");
        let shown: Vec<_> = site.entries().into_iter().map(|entry| (entry.is_requeued, entry.reason)).collect();
        assert_eq!(shown, [(false, "no sense".to_owned()), (true, "no JSON".to_owned())]);
        let places = store.quarantine.quarantined_places(&object(), 0).await.unwrap();
        assert!(held(places.withheld) == [0] && places.listed.into_iter().eq([1]));
        assert_eq!(site.requeue(), [1, 2]);
        store.quarantine.open_requeued(object()).await.unwrap();
        assert_eq!(lacks(&store, "a").await, [0, 1], "each once");
    }
}

#[tokio::test]
async fn a_version_that_was_read_whole_is_read_again_for_what_was_not_kept_alone() {
    for site in sites() {
        for (is_kept, is_known) in [(true, true), (false, false)] {
            let site = site.another();
            let store = site.open_with(if is_kept { 1000 } else { 0 }.into());
            deliver(&store, "a", vec![accepting(&["one", "!two"])]).await;
            assert!(store.positions.finish(finish(2, &["a"])).await.unwrap());
            site.requeue();
            store.quarantine.open_requeued(object()).await.unwrap();
            assert_eq!(store.positions.position(&object(), &["a".into()]).await.unwrap().is_settled(), is_known);
            assert_eq!(retried(&store, 1, RefusedAgain::default()).await, (0, 0));
            assert!(store.positions.finish(finish(2, &["a"])).await.unwrap());
            store.positions.finish(finish(2, &["b"])).await.unwrap();
            assert_eq!(retried(&store, 1, RefusedAgain::default()).await, (0, 0), "b has not come to it");
            deliver(&store, "b", vec![accepting(&["one", "!two"])]).await;
            assert!(store.positions.finish(finish(2, &["a", "b"])).await.unwrap());
            assert_eq!(retried(&store, 1, RefusedAgain::default()).await, (0, u64::from(!is_kept)), "it is not there");
        }
    }
}

#[tokio::test]
async fn a_sink_that_passes_a_record_by_a_sealed_batch_lacks_it_once_that_is_committed_and_not_where_it_is_lost() {
    for site in sites() {
        let store = site.open_with(1000.into());
        deliver(&store, "a", vec![accepting(&["one", "!two", "three"])]).await;
        let sealed = sealed_of(&store, "b", vec![accepting(&["one", "!two", "three"])]).await;
        site.requeue();
        store.quarantine.open_requeued(object()).await.unwrap();
        store.positions.commit_not_had(&sealed, 5).await.unwrap();
        assert_eq!(lacks(&store, "b").await, [0, 1, 2], "it has had none of them");
        let site = site.another();
        let store = site.open_with(1000.into());
        let sealed = sealed_of(&store, "b", vec![accepting(&["one", "!two", "three"])]).await;
        site.requeue();
        store.quarantine.open_requeued(object()).await.unwrap();
        let filling = sealed_of(&store, "b", vec![filling(1, 2)]).await;
        commit(&store, &sealed).await;
        assert_eq!(lacks(&store, "b").await, [1]);
        commit(&store, &filling).await;
        assert_eq!(lacks(&store, "b").await, [] as [u64; 0]);
    }
}

#[tokio::test]
async fn what_is_purged_on_its_way_is_lacked_by_nobody_once_no_batch_brings_it() {
    for site in sites() {
        let store = site.open_with(1000.into());
        deliver(&store, "a", vec![accepting(&["!0", "!1"])]).await;
        site.requeue();
        store.quarantine.open_requeued(object()).await.unwrap();
        let sealed = sealed_of(&store, "a", vec![filling(0, 1)]).await;
        site.purge(&[1, 2]);
        assert!(is_requeued(&store).await, "what was purged is to be taken up too");
        store.quarantine.open_requeued(object()).await.unwrap();
        assert_eq!(lacks(&store, "a").await, [0, 1]);
        commit(&store, &sealed).await;
        store.quarantine.open_requeued(object()).await.unwrap();
        assert_eq!(lacks(&store, "a").await, [] as [u64; 0]);
    }
}

#[tokio::test]
async fn what_was_purged_on_its_way_is_not_counted_as_never_come_back() {
    for site in sites() {
        let store = site.open_with(1000.into());
        deliver(&store, "a", vec![accepting(&["!0", "1"])]).await;
        site.requeue();
        store.quarantine.open_requeued(object()).await.unwrap();
        assert_eq!(lacks(&store, "a").await, [0]);
        site.purge(&[1]);
        assert_eq!(store.upkeep.forget(1000).await.unwrap(), Forgotten { objects: 1, ..Forgotten::default() });
    }
}

#[tokio::test]
async fn what_comes_out_of_quarantine_does_not_count_as_come_back() {
    for site in sites() {
        let store = site.open_with(1000.into());
        deliver(&store, "a", vec![accepting(&["!0", "1", "2"])]).await;
        let gap = Form::Onward { gap: Ranges::from(1..2) };
        let passing = Part { advance: Advance { form: gap, ..Advance::onward(object(), 0, 3) }, ..part(0, 3) };
        deliver(&store, "b", vec![passing]).await;
        site.requeue();
        store.quarantine.open_requeued(object()).await.unwrap();
        let sealed = sealed_of(&store, "b", vec![filling(0, 2)]).await;
        let committed = store.positions.commit(&sealed, &receipt(&sealed), 1).await.unwrap();
        assert_eq!(committed.gap_changes(), [GapChange { feed: "dbx".into(), object: object(), opened: 0, filled: 1 }]);
    }
}

#[tokio::test]
async fn what_is_purged_makes_room_for_other_bodies() {
    for site in sites() {
        let store = site.open_with((BODY.len() as u64).into());
        deliver(&store, "a", vec![accepting(&["!one", "!two"])]).await;
        let kept = async |id| store.quarantine.quarantined_body(id).await.unwrap().is_some();
        assert!(kept(1).await && !kept(2).await, "there was room for one");
        assert!(site.purge(&[1]).is_empty());
        assert_eq!(site.purge(&[1]), [1], "gone already");
        assert_eq!(store.quarantine.quarantine_size().await.unwrap().body_bytes(), 0);
        store.quarantine.quarantine_message("q".into(), "no JSON".into(), BODY.to_vec(), 1).await.unwrap();
        assert!(store.quarantine.quarantined_body(3).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn past_its_limit_an_object_has_one_entry_for_all_further_records() {
    for site in sites() {
        let store = site.open_with(entries_of(100, 2));
        deliver(&store, "a", vec![accepting(&["!0", "1", "!2", "!3", "!4"])]).await;
        deliver(&store, "a", vec![accepting_from(5, &["!5", "6", "!7"])]).await;
        let shown = |entry: &Entry| (entry.id, entry.further, entry.ordinal, entry.can_requeue);
        let expected = [(1, None, Some(0), true), (2, None, Some(2), true), (3, Some(4), Some(3), true)];
        assert_eq!(site.entries().iter().map(shown).collect::<Vec<_>>(), expected);
        assert_eq!(store.quarantine.quarantine_size().await.unwrap().entries("record"), 6);
        assert_eq!(quarantined_positions(&store).await, [0, 2, 3, 4, 5, 7]);
        assert_eq!(store.upkeep.forget(1000).await.unwrap().objects, 0);
        site.purge(&[1, 2, 3]);
        assert_eq!(store.quarantine.quarantine_size().await.unwrap().entries("record"), 0);
        assert!(quarantined_positions(&store).await.is_empty());
        deliver(&store, "a", vec![accepting_from(8, &["!8"])]).await;
        assert_eq!(site.entries().iter().map(shown).collect::<Vec<_>>(), [(4, None, Some(8), true)]);
    }
}

#[tokio::test]
async fn what_one_object_fills_leaves_each_other_its_entry_and_past_that_its_feed_one() {
    for site in sites() {
        let store = site.open_with(entries_of(3, 1000));
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
        assert_eq!(site.entries().iter().map(shown).collect::<Vec<_>>(), expected);
        assert_eq!(store.quarantine.quarantine_size().await.unwrap().entries("record"), 9);
        assert_eq!(site.requeue().len(), 6, "what is only counted cannot be tried again");
    }
}

#[tokio::test]
async fn messages_and_damaged_objects_are_counted_past_the_limit() {
    for site in sites() {
        let store = site.open_with(entries_of(2, 1000));
        let refusal = |key: &str, etag: &str| Refusal {
            feed: "dbx".into(),
            object: ObjectId::new("logs", key),
            etag: etag.into(),
            is_archived: false,
            reason: "damaged".to_owned(),
            now_ms: 1,
        };
        for (key, etag) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("c", "1"), ("d", "1"), ("d", "1")] {
            store.quarantine.quarantine_object(refusal(key, etag)).await.unwrap();
        }
        for _ in 0..5 {
            store.quarantine.quarantine_message("q".into(), "no JSON".into(), BODY.to_vec(), 1).await.unwrap();
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
        assert_eq!(site.entries().iter().map(shown).collect::<Vec<_>>(), expected);
        let size = store.quarantine.quarantine_size().await.unwrap();
        assert_eq!((size.entries("object"), size.entries("message")), (4, 5));
        assert_eq!(size.body_bytes(), 2 * BODY.len() as u64);
    }
}

#[tokio::test]
async fn further_records_leave_as_they_are_had_and_what_is_left_stays_for_its_new_reason() {
    for site in sites() {
        let store = site.open_with(entries_of(100, 1));
        deliver(&store, "a", vec![accepting(&["!0", "!1", "!2", "!3"])]).await;
        assert_eq!(site.requeue(), [1, 2]);
        store.quarantine.open_requeued(object()).await.unwrap();
        assert_eq!(lacks(&store, "a").await, [0, 1, 2, 3]);
        let places = store.quarantine.quarantined_places(&object(), 0).await.unwrap();
        assert!(places.listed.into_iter().eq([0]) && held(places.further) == [1, 2, 3]);
        // Meanwhile one more record joins the shared entry. It is not requeued.
        deliver(&store, "a", vec![accepting_from(4, &["!4"]), filling(1, 2), filling(3, 4)]).await;
        let refused = || RefusedAgain { further: 1, first_further: Some((2, "no sense".into())), ..Default::default() };
        assert_eq!(retried_of(&store, &["a"], 2, refused()).await, (2, 0), "a was not offered all of a version");
        let shown = |entry: &Entry| (entry.further, entry.is_requeued, entry.reason.clone());
        assert_eq!(shown(&site.entries()[1]), (Some(2), true, "no JSON".to_owned()));
        assert_eq!(quarantined_positions(&store).await, [0, 2, 4]);
        assert!(store.positions.finish(finish(5, &["a"])).await.unwrap());
        assert_eq!(retried_of(&store, &["a"], 2, refused()).await, (0, 1));
        let reason = "tried again, 1 are refused: record 2: no sense".to_owned();
        assert_eq!(shown(&site.entries()[1]), (Some(2), false, reason));
        let places = store.quarantine.quarantined_places(&object(), 0).await.unwrap();
        assert_eq!((held(places.closed), held(places.withheld)), (vec![4], vec![2]));
        assert_eq!(site.requeue(), [1, 2]);
        store.quarantine.open_requeued(object()).await.unwrap();
        assert_eq!(lacks(&store, "a").await, [0, 2, 4]);
        deliver(&store, "a", vec![filling(2, 3), filling(4, 5)]).await;
        assert_eq!(retried_of(&store, &["a"], 4, RefusedAgain::default()).await, (2, 0));
        assert_eq!(site.entries().iter().filter(|entry| entry.further.is_some()).count(), 0);
    }
}

#[tokio::test]
async fn an_object_with_records_in_quarantine_is_not_forgotten() {
    for site in sites() {
        let store = site.open_with(1000.into());
        deliver(&store, "a", vec![accepting(&["one", "!two"])]).await;
        assert_eq!(store.upkeep.forget(1000).await.unwrap().objects, 0);
        site.purge(&[1]);
        assert_eq!(store.upkeep.forget(1000).await.unwrap().objects, 1);
    }
}

#[tokio::test]
async fn a_message_leaves_once_the_names_that_no_feed_takes_are_kept() {
    for site in sites() {
        let store = site.open_with(1000.into());
        let named = |key: &str| Unrouted {
            object: ObjectId::new("logs", key),
            queue: "q".into(),
            feed: None,
            why: NoFeed::Bucket,
        };
        let replacement = |most| Replacement {
            id: 1,
            names: Vec::new(),
            unrouted: vec![named("a"), named("b")],
            most,
            still: None,
            now_ms: 2,
        };
        store.quarantine.quarantine_message("q".into(), "no JSON".into(), BODY.to_vec(), 1).await.unwrap();
        assert_eq!(site.requeue(), [1]);
        assert_eq!(store.quarantine.requests(0, 9).await.unwrap()[0].asked, Asked::Message { queue: "q".into() });
        store.quarantine.replace_message(replacement(1)).await.unwrap();
        let reason = &site.entries()[0].reason;
        assert!(reason.contains("no more names are kept"), "{reason}");
        assert_eq!(site.requeue(), [1]);
        store.quarantine.replace_message(replacement(2)).await.unwrap();
        assert!(site.entries().is_empty());
        assert_eq!(store.quarantine.unrouted_count().await.unwrap(), 2);
    }
}

pub(in crate::checkpoint) fn unrouted(bucket: &str, key: &str, why: NoFeed) -> Unrouted {
    let feed = (why != NoFeed::Bucket).then(|| "dbx".into());
    Unrouted { object: ObjectId::new(bucket, key), queue: "events".into(), feed, why }
}

fn kept(proofs: &[Option<Remembered>]) -> Vec<bool> {
    proofs.iter().map(Option::is_some).collect()
}

#[tokio::test]
async fn an_object_is_kept_once_with_the_reason_told_last() {
    for site in sites() {
        let store = site.open();
        let objects = vec![unrouted("b", "k", NoFeed::Bucket), unrouted("b", "k\0\u{1b}\u{e9}", NoFeed::Keys)];
        assert_eq!(kept(&store.quarantine.remember(objects.clone(), 9, 5).await.unwrap()), [true, true]);
        store.quarantine.remember(vec![unrouted("b", "k", NoFeed::Prefix)], 9, 7).await.unwrap();
        drop(store);
        let store = site.open();
        let found = store.quarantine.unrouted(0, 10).await.unwrap();
        assert_eq!(store.quarantine.unrouted_count().await.unwrap(), 2);
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
        assert_eq!(store.quarantine.unrouted(1, 10).await.unwrap(), found[1..]);
    }
}

#[tokio::test]
async fn past_the_bound_only_what_is_kept_already_is_remembered() {
    for site in sites() {
        let store = site.open();
        let objects = |keys: &[&str]| keys.iter().map(|key| unrouted("b", key, NoFeed::Keys)).collect::<Vec<_>>();
        assert_eq!(
            kept(&store.quarantine.remember(objects(&["a", "b", "a", "c"]), 2, 1).await.unwrap()),
            [true, true, true, false]
        );
        assert_eq!(kept(&store.quarantine.remember(objects(&["c", "b"]), 2, 1).await.unwrap()), [false, true]);
        store.quarantine.forget_unrouted(vec![store.quarantine.unrouted(0, 1).await.unwrap()[0].id]).await.unwrap();
        assert_eq!(kept(&store.quarantine.remember(objects(&["c", "a"]), 2, 1).await.unwrap()), [true, false]);
        assert_eq!(store.quarantine.unrouted_count().await.unwrap(), 2);
        assert_eq!(kept(&store.quarantine.remember(objects(&["z"]), 0, 1).await.unwrap()), [false]);
    }
}
