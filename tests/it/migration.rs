//! A checkpoint store that an older program left, with a batch under way, is taken over without a repeat or a loss.

use super::quarantine::{HIGH, listed, long, once_under};
use super::support::aws::Aws;
use super::support::proxy::Proxy;
use super::support::records::{assert_once_each, object, record, records};
use super::support::world::{Place, World};

fn go_on_from(store: &str) {
    // The store has entries of a bucket with this name.
    let place = Place { bucket: Aws::emulated().bucket_named("migrated"), ..Place::apart() };
    let put = |number: u64, held: &[u64]| {
        let key = format!("workspaceId=1/date=2026-01-01/auditlogs_{number}.json");
        place.bucket.put(&key, &object(&records(held.iter().copied())));
    };
    put(1, &[0, 1, 2, 3, 4, 5, 30]);
    put(2, &[6, 7]);
    put(3, &[20, 21]);
    let proxy = Proxy::to(Aws::emulated().address);
    let feed = place.feed(&proxy.url());
    let world = World::new().with(&format!("[feed.audit]\n{feed}sinks = [\"out\", \"late\"]\n"));
    let world = world.with_file("out").with_file("late");
    std::fs::create_dir(world.state()).unwrap();
    let store = format!("{}/tests/fixtures/stores/{store}.sqlite", env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(store, world.state().join("checkpoints.sqlite")).unwrap();
    for _ in 0..2 {
        // The older program's batch has another encoder, so it cannot be made again.
        world.once_expecting(&["cannot be made again"]);
        // The older program's files are not in this world.
        assert_once_each(&world.delivered("out"), &records([30]));
        assert_once_each(&world.delivered("late"), &records([3, 4, 5, 6, 7, 30]));
    }
    let read: Vec<String> = proxy.reads("migrated").into_iter().map(|read| read.target).collect();
    assert!(read.iter().any(|target| target.contains("auditlogs_2")), "{read:?}");
    assert!(!read.iter().any(|target| target.contains("auditlogs_3")), "every sink had it: {read:?}");
}

#[test]
fn a_store_of_0_1_0_with_a_batch_under_way_is_gone_on_from() {
    go_on_from("0.1.0");
}

#[test]
fn a_store_of_schema_9_with_a_batch_under_way_is_gone_on_from() {
    go_on_from("0.2.0");
}

#[test]
fn records_on_their_way_out_of_quarantine_in_a_store_of_schema_12_reach_each_sink_once() {
    let place = Place { bucket: Aws::emulated().bucket_named("requeued"), ..Place::apart() };
    let put = |number: u64, lines: &[String]| {
        let key = format!("workspaceId=1/date=2026-01-01/auditlogs_{number}.json");
        place.bucket.put(&key, &object(lines));
    };
    put(1, &[record(0), long(1), record(2), long(3)]);
    put(2, &[long(5), "{\"cut".to_owned()]);
    let feed = place.feed(&Aws::emulated().url());
    let world = World::new().with(&format!("[feed.audit]\n{feed}sinks = [\"out\", \"late\"]\n"));
    let world = world.with_file("out").with_file("late");
    std::fs::create_dir(world.state()).unwrap();
    let store = format!("{}/tests/fixtures/stores/0.2.0-requeued.sqlite", env!("CARGO_MANIFEST_DIR"));
    std::fs::copy(store, world.state().join("checkpoints.sqlite")).unwrap();
    for _ in 0..2 {
        once_under(&world, HIGH);
        // The older program's files are not in this world.
        assert_once_each(&world.delivered("out"), &[long(5)]);
        assert_once_each(&world.delivered("late"), &[long(1), long(3), long(5)]);
        let left = listed(&world);
        assert_eq!((left.len(), left[0]["requeued"].as_bool(), left[0]["ordinal"].as_u64()), (1, Some(false), Some(1)));
    }
}
