//! Databricks: an object that is delivered for the first time, overwritten with a tenth more lines, and read again
//! unchanged.

use std::fs::File;
use std::io;
use std::sync::Arc;

use auditferry::testing::batch::Buffers;
use auditferry::testing::delta::table::{MemoryTable, ScratchTable};
use auditferry::testing::delta::{Fingerprint, Progress, RecordHash};
use auditferry::testing::event::{Encoder, EncodingName, Options, Scope};
use auditferry::testing::family::{self, Context};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::object::Version;
use auditferry::testing::reading::{
    self, Contexts, Deliver, Input, Limits, Need, Output, Plan, QuarantinedPlaces, Scratch, Step,
};
use auditferry::testing::room::Room;
use bytes::Bytes;

use crate::content;
use crate::delivery::{Delivery, count_lines, each_record, parse_values};
use crate::measure::{Figure, Subject};

const KEY: &str = "workspaceId=1234567890123456/date=2024-01-15/auditlogs_1.json";

const RECORDS: usize = 5_000;
const KNOWN: usize = RECORDS / 10 * 9;

/// The daemon's default limits.
const LIMITS: Limits = Limits {
    line_bytes_max: 16 << 20,
    inflated_bytes_max: 16 << 30,
    inflate_ratio_max: 1000,
    fingerprints_in_memory: 900_000,
    part_records: 8192,
    part_bytes: 256 << 10,
    entries_per_object: 1000,
};

/// Bytes of each chunk of the body.
const CHUNK_BYTES: usize = 256 << 10;

/// The progress and fingerprints after a reading.
#[derive(Default)]
struct Known {
    progress: Progress,
    fingerprints: Vec<Fingerprint>,
}

pub(crate) fn measure() {
    let content = Bytes::from(content::databricks(RECORDS));
    let cut = memchr::memchr_iter(b'\n', &content).nth(KNOWN - 1).unwrap() + 1;
    let nothing = Known::default();
    let known = read(&content.slice(..cut), &nothing);
    let family = family::named("databricks").unwrap();
    let delivery = Delivery::of("databricks", KEY);
    let hash = || {
        let mut sum = 0;
        each_record(family, &content, |record| sum += u64::from(RecordHash::of(record.bytes).0[0]));
        sum
    };
    let subject = Subject {
        title: "databricks".to_owned(),
        records: RECORDS,
        bytes: content.len(),
        rounds: 60,
        yardstick: "serde_json to Value",
    };
    let each = subject.measure(&[
        Figure::new("memchr line count", || count_lines(&content)),
        Figure::new("serde_json to Value", || parse_values(&content)),
        Figure::new("frame, hash", hash),
        Figure::new("frame, decode to raw", || delivery.raw().unhashed().run(&content)),
        Figure::new("frame, decode to OCSF", || delivery.unhashed().run(&content)),
        Figure::new("first delivery", || read(&content, &nothing).progress.accepted),
        Figure::new("first delivery, written once, with raw_data", || {
            delivery.with(Options { raw_data: true, ..Options::default() }).run(&content)
        }),
        Figure::new("overwrite, 9/10 of the lines known", || read(&content, &known).progress.accepted),
        Figure::new("known lines", || read(&content.slice(..cut), &known).progress.accepted).of(KNOWN, cut),
    ]);
    println!("known lines are {:.1} times as fast as a first delivery", each[5] / each[8]);
}

struct OfFeed;

impl Contexts for OfFeed {
    fn context<'a>(&'a self, object: &'a ObjectId, last_modified_ms: Option<i64>) -> Context<'a> {
        let family = family::named("databricks").unwrap();
        Context::new(family, object, Scope::Object(object), last_modified_ms, "bench")
    }
}

struct InMemory;

impl Scratch for InMemory {
    fn file(&self) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn table(&self) -> Box<dyn ScratchTable> {
        Box::<MemoryTable>::default()
    }
}

/// Reads the content like the collector, for one sink.
fn read(content: &Bytes, known: &Known) -> Known {
    let version = Version {
        etag: "e".into(),
        version_id: None,
        last_modified_ms: Some(1_705_300_000_000),
        size_bytes: content.len() as u64,
    };
    let object = ObjectId::new("audit-logs", KEY);
    let plan = Plan {
        contexts: Arc::new(OfFeed),
        object,
        version,
        limits: LIMITS,
        scratch: Arc::new(InMemory),
        room: Room::default(),
        buffers: Buffers::default(),
    };
    let before = known.progress.clone();
    let deliver = Deliver {
        outputs: vec![Output { cursor: before.accepted, ..Output::default() }],
        before,
        framed_bytes: 0,
        encoders: vec![Encoder::new(EncodingName::Ocsf, Options::default())],
        quarantined: QuarantinedPlaces::default(),
        holds_unended: false,
    };
    let mut reader = reading::deliver(plan, deliver);
    let (mut offers, mut fingerprints, mut at, mut input) = (Vec::new(), Vec::new(), 0, Input::GoOn);
    loop {
        let step = reader.step(input, &mut offers);
        for offer in offers.drain(..) {
            fingerprints.extend(offer.part.acceptance.iter().flat_map(|acceptance| &acceptance.fingerprints));
            std::hint::black_box(&offer.part.piece.bytes);
        }
        input = match step {
            Step::Done(summary) => return Known { progress: summary.unwrap().progress, fingerprints },
            Step::Need(Need::More) if at == content.len() => Input::End,
            Step::Need(Need::More) => {
                let chunk = content.slice(at..content.len().min(at + CHUNK_BYTES));
                at += chunk.len();
                Input::Bytes(vec![chunk])
            }
            Step::Need(Need::Fingerprints { from }) => {
                Input::Fingerprints(known.fingerprints[from as usize..].to_vec())
            }
            Step::Need(Need::Room(_)) => Input::Room,
            Step::Need(Need::Range { .. } | Need::Reopen) | Step::Emit => Input::GoOn,
        };
    }
}
