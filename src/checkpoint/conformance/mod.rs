//! What every store must do, a function for each rule. Each runs over every kind of store that [`sites`] names: another
//! implementation is tested by an entry there.

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

/// Where one store is, and what happens to it from outside.
pub(super) trait Site {
    /// What kind of store it is.
    fn kind(&self) -> &'static str;

    /// A place for another store of the same kind.
    fn another(&self) -> Box<dyn Site>;

    /// Opens the store, or opens it again. To be called within a runtime.
    fn open_with(&self, limits: QuarantineLimits) -> Store;

    /// Another instance opens it for writing, while this one has it.
    fn take_over(&self);

    /// What an operator sees in quarantine, oldest first.
    fn entries(&self) -> Vec<Entry>;

    /// An operator asks for all of the quarantine to be tried again. Returns the numbers of what can be.
    fn requeue(&self) -> Vec<u64>;

    /// An operator purges these. Returns those that were gone already.
    fn purge(&self, ids: &[u64]) -> Vec<u64>;

    fn open(&self) -> Store {
        self.open_with((1 << 20).into())
    }
}

/// A place for a store of each kind.
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

/// A part of the records `from..to`, which are new when `accepted` is where they begin.
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

/// Of so many accepted records, a version that these sinks were offered whole.
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

/// How much of the object is accepted, and how much of that the sinks `a` and `b` have had.
pub(super) async fn cursors(store: &Store) -> (u64, Vec<u64>) {
    let position = store.positions.position(&object(), &["a".into(), "b".into()]).await.unwrap();
    (position.progress.accepted, position.sinks.iter().map(|sink| sink.accepted).collect())
}

/// Of the first fifty thousand places those that are held.
fn held(mut places: Places) -> Vec<u64> {
    (0..50_000).filter(|place| places.contains(*place)).collect()
}
