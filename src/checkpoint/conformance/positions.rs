//! Sealing and committing batches, finishing objects, settling messages.

use std::sync::Arc;

use super::gaps::{fill, onward};
use super::{commit, cursors, deliver, finish, held, lane, object, part, receipt, seal, sites};
use crate::batch::{Lane, Part};
use crate::checkpoint::{Finish, StoreError};
use crate::event::Encoded;
use crate::sink::{LaneState, State};

#[tokio::test]
async fn records_are_accepted_once_and_each_sink_moves_alone() {
    for site in sites() {
        let store = site.open();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        assert_eq!(cursors(&store).await, (3, vec![3, 0]));
        deliver(&store, "b", vec![part(0, 3, true)]).await;
        assert_eq!(cursors(&store).await, (3, vec![3, 3]));
        let fingerprints = store.positions.fingerprints(&object(), 0).await.unwrap();
        assert_eq!(fingerprints.len(), 3, "the second sink's batch accepts nothing again");
        assert_eq!(
            store.quarantine.quarantine_size().await.unwrap().entries("record"),
            1,
            "nor does it quarantine again"
        );
    }
}

#[tokio::test]
async fn an_advance_from_elsewhere_is_overtaken_and_leaves_nothing() {
    for site in sites() {
        let store = site.open();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        for wrong in [part(0, 2, false), part(5, 6, true), part(2, 4, true)] {
            let refused = store.positions.seal(seal("a", vec![part(3, 4, true), wrong])).await;
            assert!(matches!(refused, Err(StoreError::Overtaken { .. })));
            assert_eq!(cursors(&store).await, (3, vec![3, 0]), "not even the part that was right");
            assert!(store.positions.sealed(&lane("a")).await.unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn what_is_accepted_before_its_seal_is_known_whatever_becomes_of_that() {
    for site in sites() {
        let store = site.open();
        store.positions.accept(part(0, 3, true), 1).await.unwrap();
        drop(store);
        let store = site.open();
        assert_eq!(cursors(&store).await, (3, vec![0, 0]), "accepted, and no sink has had it");
        assert_eq!(store.positions.fingerprints(&object(), 0).await.unwrap().len(), 3);
        for same in [part(0, 3, true), part(0, 3, false)] {
            store.positions.accept(same, 1).await.unwrap();
        }
        let elsewhere = store.positions.accept(part(4, 5, true), 1).await;
        assert!(matches!(elsewhere, Err(StoreError::Overtaken { .. })));
        assert_eq!(cursors(&store).await, (3, vec![0, 0]));
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        assert_eq!(cursors(&store).await, (3, vec![3, 0]));
    }
}

#[tokio::test]
async fn a_sealed_batch_outlives_the_process_with_its_id() {
    for site in sites() {
        let store = site.open();
        let sealed = store.positions.seal(seal("a", vec![part(0, 2, true), part(2, 3, true)])).await.unwrap();
        drop(store);
        let store = site.open();
        let found = store.positions.sealed(&lane("a")).await.unwrap();
        let [found] = &found[..] else { panic!("one batch was sealed") };
        assert_eq!(found.manifest(), sealed.manifest());
        let ends: Vec<u64> = found.manifest().pieces().map(|piece| piece.to).collect();
        assert_eq!((found.manifest().parts.len(), ends), (1, vec![2, 3]), "one stretch of two pieces");
        assert_eq!(cursors(&store).await, (3, vec![0, 0]), "accepted, and not yet delivered");
        store.positions.commit(found, &receipt(found), 1).await.unwrap();
        assert_eq!(cursors(&store).await, (3, vec![3, 0]));
        let last_id = Some(found.manifest().id.clone());
        assert_eq!(store.positions.lane(&lane("a")).await.unwrap(), LaneState { seq: 1, last_id, state: None });
    }
}

#[tokio::test]
async fn the_last_batch_of_a_lane_is_the_last_that_its_receiver_has_heard_of() {
    for site in sites() {
        let store = site.open();
        let sealed = store.positions.seal(seal("a", vec![part(0, 2, true)])).await.unwrap();
        commit(&store, &sealed).await;
        let nothing = Part { piece: Encoded::default().into(), ..part(2, 3, true) };
        deliver(&store, "a", vec![nothing]).await;
        let last_id = Some(sealed.manifest().id.clone());
        assert_eq!(store.positions.lane(&lane("a")).await.unwrap(), LaneState { seq: 2, last_id, state: None });
    }
}

#[tokio::test]
async fn several_batches_of_a_lane_may_be_sealed_and_each_begins_where_the_one_before_ends() {
    for site in sites() {
        let store = site.open();
        let first = store.positions.seal(seal("a", vec![part(0, 2, true)])).await.unwrap();
        let refused = store.positions.seal(seal("a", vec![part(0, 2, false)])).await;
        assert!(matches!(refused, Err(StoreError::Overtaken { .. })), "that is sealed already");
        let second = store.positions.seal(seal("a", vec![part(2, 3, true)])).await.unwrap();
        let other_lane = Lane { number: 1, ..lane("a") };
        assert!(store.positions.sealed(&other_lane).await.unwrap().is_empty());
        let seqs = async || {
            let sealed = store.positions.sealed(&lane("a")).await.unwrap();
            sealed.iter().map(|one| one.manifest().seq).collect::<Vec<_>>()
        };
        assert_eq!(seqs().await, [1, 2]);
        let refused = store.positions.commit(&second, &receipt(&second), 1).await;
        assert!(matches!(refused, Err(StoreError::Overtaken { .. })), "they are committed in their order");
        store.positions.commit(&first, &receipt(&first), 1).await.unwrap();
        assert_eq!((cursors(&store).await, seqs().await), ((3, vec![2, 0]), vec![2]));
        store.positions.commit(&second, &receipt(&second), 1).await.unwrap();
        assert_eq!((cursors(&store).await, seqs().await), ((3, vec![3, 0]), vec![]));
    }
}

#[tokio::test]
async fn a_batch_that_cannot_be_made_again_is_committed_as_not_had_and_those_behind_it_stand() {
    for site in sites() {
        let store = site.open();
        let first = store.positions.seal(seal("a", vec![part(0, 2, true)])).await.unwrap();
        let second = store.positions.seal(seal("a", vec![part(2, 3, true)])).await.unwrap();
        store.positions.seal(seal("b", vec![part(0, 3, false)])).await.unwrap();
        assert!(matches!(store.positions.commit_not_had(&second, 5).await, Err(StoreError::Overtaken { .. })));
        store.positions.commit_not_had(&first, 5).await.unwrap();
        commit(&store, &second).await;
        let position = store.positions.position(&object(), &["a".into()]).await.unwrap();
        let stands = &position.sinks[0];
        // The record at place 0 is in quarantine, so the sink passes it.
        assert_eq!((stands.accepted, held(stands.gap.clone()), stands.read), (3, vec![1], None));
        assert!(store.backlog.is_in_backlog("a", &object()).await.unwrap());
        assert_eq!(store.positions.lane(&lane("a")).await.unwrap().seq, 2);
        assert_eq!(store.positions.sealed(&lane("b")).await.unwrap().len(), 1);
        let third = store.positions.seal(seal("a", vec![onward(3, 3, &[]), fill(&[(1, 2)])])).await.unwrap();
        assert_eq!(third.manifest().seq, 3);
    }
}

#[tokio::test]
async fn a_next_batch_that_is_overtaken_leaves_nothing_and_keeps_no_commit_back() {
    for site in sites() {
        let store = site.open();
        let sealed = store.positions.seal(seal("a", vec![part(0, 2, true)])).await.unwrap();
        let next = seal("a", vec![part(2, 3, true), part(7, 8, true)]);
        let (_committed, next) = store.positions.commit_and_seal(&sealed, &receipt(&sealed), next).await.unwrap();
        assert!(matches!(next, Err(StoreError::Overtaken { object: overtaken }) if overtaken == object()));
        assert_eq!(cursors(&store).await, (2, vec![2, 0]), "not even the part that was right");
        assert!(store.positions.sealed(&lane("a")).await.unwrap().is_empty());
        // A commit out of turn is overtaken too, and seals nothing.
        store.positions.seal(seal("a", vec![part(2, 3, true)])).await.unwrap();
        let second = store.positions.seal(seal("a", vec![part(3, 4, true)])).await.unwrap();
        let refused =
            store.positions.commit_and_seal(&second, &receipt(&second), seal("a", vec![part(4, 5, true)])).await;
        assert!(matches!(refused, Err(StoreError::Overtaken { .. })));
        assert_eq!(
            (store.positions.sealed(&lane("a")).await.unwrap().len(), cursors(&store).await),
            (2, (4, vec![2, 0]))
        );
    }
}

#[tokio::test]
async fn a_part_of_a_reading_that_another_overtook_is_not_taken_for_what_that_one_accepted() {
    for site in sites() {
        let store = site.open();
        store.positions.seal(seal("a", vec![part(0, 4, true)])).await.unwrap();
        // The same places, but the records in another order.
        let mut late = part(0, 3, true);
        Arc::get_mut(late.acceptance.as_mut().unwrap()).unwrap().fingerprints.swap(1, 2);
        let sealed = store.positions.seal(seal("b", vec![late])).await;
        assert!(matches!(sealed, Err(StoreError::Overtaken { object: overtaken }) if overtaken == object()));
        store.positions.seal(seal("b", vec![part(0, 3, true)])).await.unwrap();
    }
}

#[tokio::test]
async fn the_end_of_a_reading_that_is_told_late_undoes_no_later_one() {
    for site in sites() {
        let store = site.open();
        let sealed = store.positions.seal(seal("a", vec![part(0, 3, true)])).await.unwrap();
        store.positions.commit(&sealed, &receipt(&sealed), 5).await.unwrap();
        assert!(store.positions.finish(finish(3, "e1", &["a"])).await.unwrap());
        assert!(store.positions.finish(finish(3, "e2", &["a"])).await.unwrap());
        let late = |etag, sinks| Finish { is_late: true, ..finish(3, etag, sinks) };
        assert!(!store.positions.finish(late("e1", &["b"])).await.unwrap(), "another version was read since");
        let position = store.positions.position(&object(), &["a".into()]).await.unwrap();
        assert!(position.is_settled() && position.etag.as_deref() == Some("e2"));
        assert!(store.positions.finish(late("e2", &["b"])).await.unwrap(), "it is the last that was read");
        assert!(store.positions.position(&object(), &["a".into()]).await.unwrap().is_settled());
    }
}

#[tokio::test]
async fn a_message_is_settled_only_when_every_sink_has_had_the_object_or_has_it_in_its_backlog() {
    for site in sites() {
        let store = site.open();
        let sinks: [Arc<str>; 2] = ["a".into(), "b".into()];
        assert!(store.positions.passed(&object(), &sinks).await.unwrap().is_none(), "never read");
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        assert!(store.positions.passed(&object(), &sinks[..1]).await.unwrap().is_none(), "not read to its end");
        assert!(!store.positions.finish(finish(4, "e1", &["a"])).await.unwrap(), "the store has not accepted as much");
        assert!(store.positions.finish(finish(3, "e1", &["a"])).await.unwrap());
        assert!(store.positions.passed(&object(), &sinks[..1]).await.unwrap().is_some());
        assert!(store.positions.passed(&object(), &sinks).await.unwrap().is_none(), "b has had nothing");
        store.backlog.add_to_backlog("b".into(), vec![("dbx".into(), object(), 1)]).await.unwrap();
        assert!(store.positions.passed(&object(), &sinks).await.unwrap().is_some());
        store.backlog.clear_from_backlog("b".into(), vec![object()]).await.unwrap();
        assert!(store.positions.passed(&object(), &sinks).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_lanes_place_outlives_commits_and_the_process() {
    for site in sites() {
        let store = site.open();
        let state = State(b"where it stands".as_slice().into());
        store.positions.set_state(lane("a"), state.clone()).await.unwrap();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        drop(store);
        let store = site.open();
        let found = store.positions.lane(&lane("a")).await.unwrap();
        assert_eq!((found.seq, found.state), (1, Some(state)));
    }
}
