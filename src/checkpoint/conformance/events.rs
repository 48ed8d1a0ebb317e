//! Events that a receiver refuses for ever are kept within limits. When requeued, they are sent to the sink that
//! refused them, and to no other.

use std::sync::Arc;

use super::quarantine::entries_of;
use super::{Site, commit, deliver, finish, held, lane, object, part, seal, sites};
use crate::batch::{Advance, Part, Provenance};
use crate::checkpoint::{
    BacklogPlace, Committed, Entry, Forgotten, Kind, QuarantineChange, Retried, Sealed, Store, StoreError,
};
use crate::delta::Ranges;
use crate::event::{Class, EventId, Head, Severity, Status};
use crate::notification::ObjectId;
use crate::reading::{LackedEvents, RefusedAgain};
use crate::sink::{Receipt, RefusedEvent};

fn uid(place: u64, index: u32) -> EventId {
    EventId([u8::try_from(place).unwrap(), u8::try_from(index).unwrap(), 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7])
}

fn head(place: u64, index: u32) -> Head {
    let (uid, class, severity, status) = (uid(place, index), Class::Authentication, Severity::High, Status::Failure);
    Head { uid, time_ms: -5, place, index, class, severity, status, choice: 3 }
}

fn encoded(place: u64, index: u32) -> Vec<u8> {
    format!("event {index} of record {place}").into_bytes()
}

/// Event number `index` of the record at `place`, refused.
fn event(place: u64, index: u32) -> RefusedEvent {
    let provenance = part(0, 1, false).provenance;
    let encoded = encoded(place, index).into();
    RefusedEvent { provenance, head: head(place, index), encoded, reason: "no such field".into() }
}

fn refusing(events: impl IntoIterator<Item = RefusedEvent>) -> Receipt {
    Receipt::of_test(events.into_iter().collect())
}

/// A part without events of its own that fills these places of a gap.
fn filling(from: u64, to: u64) -> Part {
    Part { advance: Advance::fill(object(), Ranges::from(from..to)), ..part(from, to, false) }
}

async fn sealed_of(store: &Store, sink: &str, parts: Vec<Part>) -> Sealed {
    store.positions.seal(seal(sink, parts)).await.unwrap()
}

/// Delivers these parts to the sink, whose receiver refuses `events`.
async fn deliver_refusing(store: &Store, sink: &str, parts: Vec<Part>, events: Vec<RefusedEvent>) -> Committed {
    let sealed = sealed_of(store, sink, parts).await;
    store.positions.commit(&sealed, &refusing(events), 40).await.unwrap()
}

/// Purges the record that cannot be decoded, as an operator would.
fn purge_record(site: &dyn Site) {
    let records = site.entries().into_iter().filter(|entry| entry.kind == Kind::Record);
    site.purge(&records.map(|entry| entry.id).collect::<Vec<_>>());
}

/// A store with an object of four records. Sinks `a` and `b` have had them, except for the events that `a` refuses.
async fn store_of(site: &dyn Site, refused: Vec<RefusedEvent>) -> Store {
    let store = site.open();
    deliver_refusing(&store, "a", vec![part(0, 4, true)], refused).await;
    deliver(&store, "b", vec![part(0, 4, false)]).await;
    assert!(store.positions.finish(finish(4, "e1", &["a", "b"])).await.unwrap());
    purge_record(site);
    store
}

/// The sink's gap, and whether the sink is settled with the object.
async fn stands(store: &Store, sink: &str) -> (Vec<u64>, bool) {
    let position = store.positions.position(&object(), &[sink.into()]).await.unwrap();
    let is_settled = position.is_settled();
    (held(position.sinks[0].gap.clone()), is_settled)
}

async fn lacked(store: &Store, sink: &str) -> LackedEvents {
    store.quarantine.lacked_events(&object(), &sink.into()).await.unwrap()
}

fn events(site: &dyn Site) -> Vec<Entry> {
    site.entries().into_iter().filter(|entry| entry.kind == Kind::Event).collect()
}

async fn count(store: &Store) -> u64 {
    store.quarantine.quarantine_size().await.unwrap().entries("event")
}

async fn take_up(site: &dyn Site, store: &Store) -> u64 {
    site.requeue();
    store.quarantine.open_requeued(object()).await.unwrap().unwrap()
}

async fn note(store: &Store, sinks: &[&str], up_to: u64) -> Retried {
    let sinks: Vec<Arc<str>> = sinks.iter().copied().map(Arc::from).collect();
    store.quarantine.note_retried(object(), sinks, up_to, RefusedAgain::default()).await.unwrap()
}

fn change(refused: u64, delivered: u64, refused_again: u64) -> QuarantineChange {
    QuarantineChange { feed: "dbx".into(), object: object(), refused, delivered, refused_again }
}

#[tokio::test]
async fn what_a_receiver_refuses_is_in_quarantine_once_its_batch_is_committed_and_not_before() {
    for site in sites() {
        let store = site.open();
        let first = sealed_of(&store, "a", vec![part(0, 3, true)]).await;
        let second = sealed_of(&store, "a", vec![part(3, 4, true)]).await;
        let overtaken = store.positions.commit(&second, &refusing([event(3, 0)]), 40).await;
        assert!(matches!(overtaken, Err(StoreError::Overtaken { .. })) && events(&*site).is_empty());
        let committed = store.positions.commit(&first, &refusing([event(1, 0), event(1, 2)]), 40).await.unwrap();
        assert_eq!(committed.quarantine_changes(), [change(2, 0, 0)]);
        let next = seal("a", vec![part(4, 5, true)]);
        store.positions.commit_and_seal(&second, &refusing([event(3, 1)]), next).await.unwrap().1.unwrap();
        let shown = |entry: &Entry| {
            let Entry { sink, uid, place, event_index, at_ms, .. } = entry;
            assert_eq!((&*entry.feed, &*entry.reason, entry.etag.as_deref()), ("dbx", "no such field", Some("e1")));
            assert!(entry.object == Some(object()) && entry.can_requeue && !entry.is_requeued);
            (sink.clone().unwrap(), uid.unwrap(), place.unwrap(), event_index.unwrap(), *at_ms)
        };
        let expected = [(1, 0, 40), (1, 2, 40), (3, 1, 1)];
        let expected = expected.map(|(place, index, at_ms)| ("a".to_owned(), uid(place, index), place, index, at_ms));
        assert_eq!(events(&*site).iter().map(shown).collect::<Vec<_>>(), expected);
        let kept = store.quarantine.kept_events(&object(), &"a".into(), 1).await.unwrap();
        let kept: Vec<_> =
            kept.iter().map(|event| (event.head, zstd::decode_all(&event.body_zstd[..]).unwrap())).collect();
        assert_eq!(kept, [(head(1, 0), encoded(1, 0)), (head(1, 2), encoded(1, 2))]);
        assert!(store.quarantine.kept_events(&object(), &"b".into(), 1).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_requeued_event_is_lacked_by_its_sink_alone_and_leaves_once_that_has_had_it() {
    for site in sites() {
        let store = store_of(&*site, vec![event(1, 0), event(1, 2), event(3, 0)]).await;
        assert_eq!(store.quarantine.open_requeued(object()).await.unwrap(), None, "nobody asked for it");
        assert_eq!(lacked(&store, "a").await, LackedEvents::new());
        let up_to = take_up(&*site, &store).await;
        store.quarantine.open_requeued(object()).await.unwrap();
        assert_eq!(stands(&store, "a").await, (vec![1, 3], false));
        let entries = store.backlog.entries("a", BacklogPlace::default(), 9).await.unwrap();
        assert_eq!(entries.iter().map(|entry| entry.place.since_ms).collect::<Vec<_>>(), [40]);
        assert!(!store.backlog.is_in_backlog("b", &object()).await.unwrap());
        assert_eq!(stands(&store, "b").await.0, [] as [u64; 0]);
        let alone = LackedEvents::from([(1, [uid(1, 0), uid(1, 2)].into()), (3, [uid(3, 0)].into())]);
        assert_eq!((lacked(&store, "a").await, lacked(&store, "b").await), (alone, LackedEvents::new()));
        let committed = deliver_refusing(&store, "a", vec![filling(1, 2)], vec![]).await;
        assert_eq!((committed.quarantine_changes(), committed.gap_changes()), (&[change(0, 2, 0)][..], &[][..]));
        assert_eq!((stands(&store, "a").await.0, count(&store).await), (vec![3], 1));
        assert!(note(&store, &["a", "b"], up_to).await.refused == 0, "a was not offered all of a version");
        deliver_refusing(&store, "a", vec![filling(3, 4)], vec![]).await;
        assert_eq!((stands(&store, "a").await.0, count(&store).await), (vec![], 0));
        assert_eq!(store.quarantine.open_requeued(object()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn an_event_that_is_refused_once_more_stays_under_its_number_for_its_new_reason_and_is_not_sent_again() {
    for site in sites() {
        let store = store_of(&*site, vec![event(1, 0), event(1, 1)]).await;
        let number = events(&*site)[1].id;
        take_up(&*site, &store).await;
        let again = RefusedEvent { reason: "still not".into(), encoded: b"other".as_slice().into(), ..event(1, 1) };
        let committed = deliver_refusing(&store, "a", vec![filling(1, 2)], vec![again]).await;
        assert_eq!(committed.quarantine_changes(), [change(0, 1, 1)]);
        let shown: Vec<_> =
            events(&*site).into_iter().map(|entry| (entry.id, entry.reason, entry.is_requeued)).collect();
        assert_eq!(shown, [(number, "still not".to_owned(), false)]);
        let kept = store.quarantine.kept_events(&object(), &"a".into(), 1).await.unwrap();
        assert_eq!(zstd::decode_all(&kept[0].body_zstd[..]).unwrap(), b"other");
        store.quarantine.open_requeued(object()).await.unwrap();
        assert_eq!(stands(&store, "a").await.0, [] as [u64; 0]);
        take_up(&*site, &store).await;
        assert_eq!(stands(&store, "a").await.0, [1], "somebody asked once more");
    }
}

#[tokio::test]
async fn past_its_limit_an_object_has_one_entry_for_the_further_events_of_each_sink_and_they_can_be_requeued() {
    for site in sites() {
        let store = site.open_with(entries_of(100, 2));
        let refused = |places: &[u64]| places.iter().flat_map(|place| [event(*place, 0), event(*place, 1)]).collect();
        deliver_refusing(&store, "a", vec![part(0, 6, true)], refused(&[1, 2, 4])).await;
        deliver_refusing(&store, "b", vec![part(0, 6, false)], vec![event(5, 0)]).await;
        purge_record(&*site);
        let shown = |entry: &Entry| (entry.sink.clone().unwrap(), entry.place, entry.further, entry.can_requeue);
        let shown = || events(&*site).iter().map(shown).collect::<Vec<_>>();
        let (a, b) = ("a".to_owned(), "b".to_owned());
        let listed = [(a.clone(), Some(1), None, true), (a.clone(), Some(1), None, true)];
        let many = [(a.clone(), None, Some(2), true), (b, None, Some(1), true)];
        assert_eq!(shown(), [listed, many].concat());
        assert_eq!(count(&store).await, 5);
        take_up(&*site, &store).await;
        assert_eq!((stands(&store, "a").await.0, stands(&store, "b").await.0), (vec![1, 2, 4], vec![5]));
        assert_eq!(lacked(&store, "a").await.into_keys().collect::<Vec<_>>(), [1], "of the others all events");
        assert!(store.quarantine.kept_events(&object(), &"a".into(), 2).await.unwrap().is_empty());
        let parts = vec![filling(1, 3), filling(4, 5)];
        let committed = deliver_refusing(&store, "a", parts, vec![event(4, 0), event(4, 1)]).await;
        assert_eq!(committed.quarantine_changes(), [change(0, 2, 2)]);
        assert_eq!(shown().iter().map(|(_, place, ..)| *place).collect::<Vec<_>>(), [None, Some(4), Some(4)]);
        store.quarantine.open_requeued(object()).await.unwrap();
        assert_eq!(stands(&store, "a").await.0, [] as [u64; 0]);
    }
}

#[tokio::test]
async fn further_events_that_are_refused_once_more_are_not_sent_again_before_somebody_asks() {
    for site in sites() {
        let store = site.open_with(entries_of(100, 0));
        deliver_refusing(&store, "a", vec![part(0, 4, true)], vec![event(1, 0), event(2, 0)]).await;
        purge_record(&*site);
        take_up(&*site, &store).await;
        assert_eq!(stands(&store, "a").await.0, [1, 2]);
        deliver_refusing(&store, "a", vec![filling(1, 3)], vec![event(2, 0)]).await;
        store.quarantine.open_requeued(object()).await.unwrap();
        assert_eq!(stands(&store, "a").await.0, [] as [u64; 0]);
        let shown: Vec<_> = events(&*site).iter().map(|entry| (entry.further, entry.is_requeued)).collect();
        assert_eq!(shown, [(Some(1), false)]);
        take_up(&*site, &store).await;
        assert_eq!(stands(&store, "a").await.0, [2]);
    }
}

#[tokio::test]
async fn what_one_object_fills_leaves_each_other_its_entry_and_past_that_its_feed_one() {
    for site in sites() {
        let store = site.open_with(entries_of(2, 1000));
        deliver_refusing(&store, "a", vec![part(0, 6, true)], (1..6).map(|place| event(place, 0)).collect()).await;
        for other in ["b", "c", "d"] {
            let id = ObjectId::new("logs", other);
            let mut of_other = part(0, 2, true);
            of_other.advance.object = id.clone();
            let provenance = Provenance { object: id, ..Provenance::clone(&of_other.provenance) };
            of_other.provenance = Arc::new(provenance);
            let refused = RefusedEvent { provenance: Arc::clone(&of_other.provenance), ..event(1, 0) };
            deliver_refusing(&store, "a", vec![of_other], vec![refused.clone(), refused]).await;
        }
        let shown = |entry: &Entry| (entry.object.as_ref().map(|object| object.key.to_string()), entry.further);
        let shown: Vec<_> = events(&*site).iter().map(shown).collect();
        let own = || Some(object().key.to_string());
        let of_others = [(Some("b".to_owned()), Some(1)), (None, Some(4))];
        assert_eq!(shown, [&[(own(), None), (own(), None), (own(), Some(3))][..], &of_others[..]].concat());
        assert_eq!(site.entries().len() - events(&*site).len(), 4, "records have room of their own");
    }
}

#[tokio::test]
async fn bodies_of_events_take_no_more_than_the_quarantine_has_and_without_them_the_object_must_hold_the_record() {
    for site in sites() {
        let store = site.open_with(1.into());
        let refused = vec![event(1, 0), event(2, 0)];
        deliver_refusing(&store, "a", vec![part(0, 4, true)], refused).await;
        purge_record(&*site);
        assert_eq!(store.quarantine.quarantine_size().await.unwrap().body_bytes(), 0);
        let up_to = take_up(&*site, &store).await;
        assert!(store.quarantine.kept_events(&object(), &"a".into(), 1).await.unwrap().is_empty());
        deliver_refusing(&store, "a", vec![filling(2, 3)], vec![]).await;
        assert!(store.positions.finish(finish(4, "e1", &["a"])).await.unwrap());
        assert_eq!(note(&store, &["a"], up_to).await.refused, 1);
        let shown: Vec<_> = events(&*site).into_iter().map(|entry| (entry.is_requeued, entry.reason)).collect();
        let reason = "its object does not hold the record any more, and its bytes were not kept";
        assert_eq!(shown, [(false, reason.to_owned())]);
        assert_eq!(stands(&store, "a").await.0, [1], "it comes if it is there once more");
    }
}

#[tokio::test]
async fn an_event_of_a_sink_that_is_none_any_more_stays() {
    for site in sites() {
        let store = store_of(&*site, vec![event(1, 0)]).await;
        let up_to = take_up(&*site, &store).await;
        assert_eq!(note(&store, &["b"], up_to).await.refused, 1);
        let entry = &events(&*site)[0];
        assert_eq!((entry.is_requeued, &*entry.reason), (false, "its feed has no sink of this name any more"));
    }
}

#[tokio::test]
async fn what_is_purged_on_its_way_is_lacked_by_nobody_once_no_batch_brings_it() {
    for site in sites() {
        let store = store_of(&*site, vec![event(1, 0), event(2, 0), event(2, 1)]).await;
        take_up(&*site, &store).await;
        let sealed = sealed_of(&store, "a", vec![filling(1, 2)]).await;
        let ids: Vec<u64> = events(&*site).iter().map(|entry| entry.id).collect();
        site.purge(&ids[..2]);
        store.quarantine.open_requeued(object()).await.unwrap();
        assert_eq!(stands(&store, "a").await.0, [1, 2]);
        commit(&store, &sealed).await;
        site.purge(&ids[2..]);
        store.quarantine.open_requeued(object()).await.unwrap();
        assert_eq!(stands(&store, "a").await.0, [] as [u64; 0]);
        assert!(store.positions.sealed(&lane("a")).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_object_with_events_in_quarantine_is_not_forgotten_and_what_was_purged_is_not_counted() {
    for site in sites() {
        let store = site.open();
        deliver_refusing(&store, "a", vec![part(0, 2, true)], vec![event(1, 0)]).await;
        purge_record(&*site);
        take_up(&*site, &store).await;
        assert_eq!(store.upkeep.forget(1000).await.unwrap().objects, 0);
        site.purge(&[2]);
        store.backlog.clear_from_backlog("a".into(), vec![object()]).await.unwrap();
        assert_eq!(store.upkeep.forget(1000).await.unwrap(), Forgotten { objects: 1, ..Forgotten::default() });
    }
}

#[tokio::test]
async fn what_is_never_had_of_a_requeued_event_leaves_it_in_quarantine() {
    for site in sites() {
        let store = store_of(&*site, vec![event(1, 0)]).await;
        take_up(&*site, &store).await;
        let sealed = sealed_of(&store, "a", vec![filling(1, 2)]).await;
        store.positions.commit_not_had(&sealed, 50).await.unwrap();
        assert_eq!((count(&store).await, lacked(&store, "a").await.len()), (1, 1));
        deliver_refusing(&store, "a", vec![filling(1, 2)], vec![]).await;
        assert_eq!(count(&store).await, 0);
    }
}
