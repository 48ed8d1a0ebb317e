//! The rules that every store must keep, with one test for each rule. Each test runs over every kind of store in
//! [`sites`]; add another implementation there.

mod backlog;

mod events;

pub(super) mod gaps;

mod positions;

pub(super) mod quarantine;

mod sqlite;

mod upkeep;

use std::sync::Arc;

use self::sqlite::SqliteSite;
use super::{Entry, Finish, QuarantineLimits, Seal, Sealed, Store};
use crate::batch::{Acceptance, Advance, Batch, Lane, Part, Provenance, Refused, RequestLimits};
use crate::delta::{Places, Progress, RecordHash};
use crate::event::Encoded;
use crate::notification::ObjectId;
use crate::object::Version;
use crate::sink::Receipt;

/// Where a store is, and what is done to it from outside.
pub(super) trait Site {
    /// The name of this kind of store.
    fn kind(&self) -> &'static str;

    /// A site for another store of the same kind.
    fn another(&self) -> Box<dyn Site>;

    /// Opens the store, or opens it again. Call it within a runtime.
    fn open_with(&self, limits: QuarantineLimits) -> Store;

    /// Opens the store for writing as another instance, while this instance has it open.
    fn take_over(&self);

    /// The entries that an operator sees in quarantine, oldest first.
    fn entries(&self) -> Vec<Entry>;

    /// Requeues all of the quarantine, as an operator would. Returns the numbers of the entries that can be tried
    /// again.
    fn requeue(&self) -> Vec<u64>;

    /// Purges these entries, as an operator would. Returns those that were gone already.
    fn purge(&self, ids: &[u64]) -> Vec<u64>;

    fn open(&self) -> Store {
        self.open_with((1 << 20).into())
    }
}

/// One site for each kind of store.
pub(super) fn sites() -> impl Iterator<Item = Box<dyn Site>> {
    [SqliteSite::boxed(false), SqliteSite::boxed(true)].into_iter().inspect(|site| eprintln!("over {}", site.kind()))
}

pub(super) fn object() -> ObjectId {
    ObjectId::new("logs", "workspaceId=1/a.json")
}

fn lines(from: u64, to: u64) -> Vec<String> {
    (from..to).map(|n| format!("record {n}\n")).collect()
}

fn progress(accepted: u64) -> Progress {
    Progress { accepted, content_records: accepted, content_bytes: accepted * 9, digest: [1; 32], in_order: true }
}

/// A part with the records `from..to`. If `is_new`, the part also accepts them.
pub(super) fn part(from: u64, to: u64, is_new: bool) -> Part {
    let records = lines(from, to);
    let fingerprints = records.iter().map(|line| RecordHash::of(line.trim_end().as_bytes()).fingerprint()).collect();
    let acceptance = is_new.then(|| {
        Arc::new(Acceptance {
            feed: "dbx".into(),
            before: from,
            after: to,
            fingerprints,
            progress: progress(to),
            refused: vec![Refused {
                ordinal: from,
                place: from,
                occurrence: 0,
                hash: RecordHash::of(records[0].trim_end().as_bytes()),
                may_be_within: false,
                offset: 0,
                reason: "not JSON".into(),
                body_zstd: Some(vec![1]),
            }],
        })
    });
    let version = Version { etag: "e1".into(), version_id: None, last_modified_ms: Some(1), size_bytes: 9 };
    let mut encoded = Encoded { bytes: records.concat().into(), ..Encoded::default() };
    for line in &records {
        encoded.ends.push(encoded.ends.last().copied().unwrap_or(0) + u32::try_from(line.len()).unwrap());
    }
    let provenance = Provenance { feed: "dbx".into(), family: "databricks", object: object(), version };
    let advance = Advance::onward(object(), from, to);
    Part { advance, provenance: Arc::new(provenance), acceptance, refused: Arc::new([]), piece: encoded.into() }
}

pub(super) fn lane(sink: &str) -> Lane {
    Lane::only(sink.into())
}

pub(super) fn seal(sink: &str, parts: Vec<Part>) -> Seal {
    let (lane, encoder, limits) = (lane(sink), "test".into(), RequestLimits::WHOLE);
    Seal { lane, encoder, limits, parts: parts.into(), now_ms: 1 }
}

pub(super) fn receipt(sealed: &Sealed) -> Receipt {
    Receipt::nothing(&Batch::new(sealed.manifest(), [])).unwrap()
}

pub(super) async fn commit(store: &Store, sealed: &Sealed) {
    store.positions.commit(sealed, &receipt(sealed), 1).await.unwrap();
}

pub(super) async fn deliver(store: &Store, sink: &str, parts: Vec<Part>) {
    let sealed = store.positions.seal(seal(sink, parts)).await.unwrap();
    commit(store, &sealed).await;
}

/// A version with this many records, all of them accepted, that these sinks were offered whole.
pub(super) fn finish(accepted: u64, etag: &str, sinks: &[&str]) -> Finish {
    Finish {
        is_late: false,
        family: "databricks",
        feed: "dbx".into(),
        sinks: sinks.iter().copied().map(Arc::from).collect(),
        object: object(),
        etag: etag.into(),
        progress: progress(accepted),
        framed_bytes: 0,
        changed: true,
        fresh: None,
        now_ms: 1,
    }
}

/// How many records of the object are accepted, and how many of them sinks `a` and `b` have had.
pub(super) async fn cursors(store: &Store) -> (u64, Vec<u64>) {
    let position = store.positions.position(&object(), &["a".into(), "b".into()]).await.unwrap();
    (position.progress.accepted, position.sinks.iter().map(|sink| sink.accepted).collect())
}

/// The places in the set, as far as they are below 50,000.
fn held(mut places: Places) -> Vec<u64> {
    (0..50_000).filter(|place| places.contains(*place)).collect()
}
