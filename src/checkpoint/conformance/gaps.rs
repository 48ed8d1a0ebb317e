//! The gap of a sink in an object, and the version that the sink is settled with.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{deliver, finish, held, lane, object, part, receipt, seal, sites};
use crate::batch::{Advance, Form, Part};
use crate::checkpoint::{Finish, GapChange, SinkPosition, Store, StoreError};
use crate::delta::{Progress, Ranges};
use crate::event::Encoded;

fn ranges(of: &[(u64, u64)]) -> Ranges {
    let mut ranges = Ranges::default();
    of.iter().for_each(|&(first, end)| ranges.push(first..end));
    ranges
}

/// A part without events, since these tests are about positions only.
fn bare(advance: Advance) -> Part {
    Part { piece: Encoded::default().into(), advance, ..part(0, 1, false) }
}

pub(in crate::checkpoint) fn onward(before: u64, after: u64, gap: &[(u64, u64)]) -> Part {
    bare(Advance { object: object(), before, after, form: Form::Onward { gap: ranges(gap) } })
}

pub(in crate::checkpoint) fn fill(places: &[(u64, u64)]) -> Part {
    bare(Advance::fill(object(), ranges(places)))
}

/// The position of sink `b`: its cursor, its gap, and the reading that it was last offered whole.
async fn stands(store: &Store) -> (u64, Vec<u64>, Option<u64>) {
    let SinkPosition { accepted, gap, read } =
        store.positions.position(&object(), &["b".into()]).await.unwrap().sinks.pop().unwrap();
    (accepted, held(gap), read)
}

async fn is_settled(store: &Store, sink: &str) -> bool {
    let sinks = [Arc::from(sink)];
    let is_settled = store.positions.position(&object(), &sinks).await.unwrap().is_settled();
    assert_eq!(store.positions.passed(&object(), &sinks).await.unwrap().is_some(), is_settled);
    is_settled
}

async fn is_overtaken(store: &Store, parts: Vec<Part>) -> bool {
    let before = stands(store).await;
    let refused = store.positions.seal(seal("b", parts)).await;
    assert!(store.positions.sealed(&lane("b")).await.unwrap().is_empty() && stands(store).await == before);
    matches!(refused, Err(StoreError::Overtaken { .. }))
}

#[tokio::test]
async fn what_is_gone_is_a_gap_until_it_comes_back() {
    for site in sites() {
        let store = site.open();
        deliver(&store, "a", vec![part(0, 9, true)]).await;
        deliver(&store, "b", vec![onward(0, 5, &[(1, 3), (4, 5)]), onward(5, 6, &[]), onward(6, 9, &[(6, 9)])]).await;
        assert_eq!(stands(&store).await, (9, vec![1, 2, 4, 6, 7, 8], None));
        let sealed = store.positions.seal(seal("b", vec![fill(&[(2, 3), (6, 8)]), fill(&[(4, 5)])])).await.unwrap();
        drop(store);
        let store = site.open();
        let found = store.positions.sealed(&lane("b")).await.unwrap().remove(0);
        let forms: Vec<Form> = found.manifest().parts.iter().map(|part| part.advance.form.clone()).collect();
        let expected = [&[(2, 3), (6, 8)][..], &[(4, 5)]].map(|places| Form::Fill { places: ranges(places) });
        assert_eq!((&found.manifest().id, forms), (&sealed.manifest().id, expected.to_vec()));
        assert_eq!(stands(&store).await.1, [1, 2, 4, 6, 7, 8], "sealed, and not yet delivered");
        let committed = store.positions.commit(&found, &receipt(&found), 1).await.unwrap();
        assert_eq!(committed.gap_changes(), [GapChange { feed: "dbx".into(), object: object(), opened: 0, filled: 4 }]);
        assert_eq!(stands(&store).await, (9, vec![1, 8], None));
    }
}

#[tokio::test]
async fn only_what_lies_in_the_gap_is_filled_and_only_once() {
    for site in sites() {
        let store = site.open();
        deliver(&store, "a", vec![part(0, 9, true)]).await;
        let sealed = store.positions.seal(seal("b", vec![onward(0, 9, &[(2, 4), (5, 7)])])).await.unwrap();
        let committed = store.positions.commit(&sealed, &receipt(&sealed), 1).await.unwrap();
        assert_eq!(committed.gap_changes(), [GapChange { feed: "dbx".into(), object: object(), opened: 4, filled: 0 }]);
        for wrong in [fill(&[(1, 3)]), fill(&[(2, 5)]), fill(&[(2, 3), (8, 9)]), fill(&[(9, 10)])] {
            assert!(is_overtaken(&store, vec![fill(&[(6, 7)]), wrong]).await);
        }
        assert!(is_overtaken(&store, vec![fill(&[(2, 4)]), fill(&[(3, 4)])]).await);
        deliver(&store, "b", vec![fill(&[(3, 4)]), fill(&[(2, 3), (5, 6)])]).await;
        assert!(is_overtaken(&store, vec![fill(&[(3, 4)])]).await, "it has had that");
        assert_eq!(stands(&store).await.1, [6]);
    }
}

#[tokio::test]
async fn a_gap_of_tens_of_thousands_is_filled_piece_by_piece() {
    for site in sites() {
        let store = site.open();
        deliver(&store, "a", vec![part(0, 50_000, true)]).await;
        deliver(&store, "b", vec![onward(0, 50_000, &[(10, 49_990)])]).await;
        assert_eq!(stands(&store).await.1.len(), 49_980);
        deliver(&store, "b", vec![fill(&[(10, 32_760)]), fill(&[(32_770, 49_990)])]).await;
        assert_eq!(stands(&store).await.1, (32_760..32_770).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_sink_is_settled_with_the_version_it_was_offered_whole() {
    for site in sites() {
        let store = site.open();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        assert!(store.positions.finish(finish(3, "e1", &["a"])).await.unwrap());
        assert!(is_settled(&store, "a").await && !is_settled(&store, "b").await);
        deliver(&store, "b", vec![onward(0, 3, &[(1, 3)])]).await;
        assert!(!is_settled(&store, "b").await, "it stands at the end, of another version");
        assert!(store.positions.finish(finish(3, "e1", &["b"])).await.unwrap());
        assert!(
            is_settled(&store, "a").await && is_settled(&store, "b").await,
            "the same version: a had it; a gap settles too"
        );
        assert!(store.positions.finish(finish(3, "e2", &["a"])).await.unwrap());
        assert!(
            is_settled(&store, "a").await && !is_settled(&store, "b").await,
            "what came back with e2 was not offered to b"
        );
        let changed = finish(3, "e2", &["b"]);
        let progress = Progress { digest: [2; 32], ..changed.progress.clone() };
        assert!(store.positions.finish(Finish { progress, ..changed }).await.unwrap());
        assert!(!is_settled(&store, "a").await && is_settled(&store, "b").await, "the same tag, of other content");
    }
}

#[tokio::test]
async fn what_came_back_and_cannot_be_made_again_is_in_its_sinks_backlog() {
    for site in sites() {
        let store = site.open();
        deliver(&store, "a", vec![part(0, 3, true)]).await;
        deliver(&store, "b", vec![onward(0, 3, &[(1, 3)])]).await;
        assert!(store.positions.finish(finish(3, "e1", &["a", "b"])).await.unwrap());
        let sealed = store.positions.seal(seal("b", vec![fill(&[(1, 2)])])).await.unwrap();
        assert!(is_settled(&store, "b").await);
        store.positions.commit_not_had(&sealed, 5).await.unwrap();
        assert!(store.backlog.is_in_backlog("b", &object()).await.unwrap());
        assert_eq!(stands(&store).await, (3, vec![1, 2], None));
    }
}

#[tokio::test]
async fn a_gap_goes_with_what_was_accepted_and_is_counted_when_its_object_is_forgotten() {
    for site in sites() {
        let store = site.open();
        let lay_out = async |etag| {
            let mut all = part(0, 5, true);
            Arc::get_mut(all.acceptance.as_mut().unwrap()).unwrap().refused.clear();
            deliver(&store, "a", vec![all]).await;
            deliver(&store, "b", vec![onward(0, 5, &[(1, 3), (4, 5)])]).await;
            assert!(store.positions.finish(finish(5, etag, &["a", "b"])).await.unwrap());
        };
        lay_out("e1").await;
        store.positions.begin_anew(object(), "lakefs").await.unwrap();
        assert_eq!(stands(&store).await, (0, vec![], Some(0)));
        assert!(!is_settled(&store, "a").await);
        lay_out("e2").await;
        assert_eq!(stands(&store).await, (5, vec![1, 2, 4], Some(1)));
        let forgotten = store.upkeep.forget(1000).await.unwrap();
        assert_eq!((forgotten.objects, forgotten.gap_records), (1, BTreeMap::from([("dbx".into(), 3)])));
        lay_out("e3").await;
        assert_eq!(stands(&store).await.1, [1, 2, 4]);
    }
}
