//! Databricks: an object delivered first, overwritten with a tenth more lines, and met again unchanged.

use auditferry::delta::comparison::Comparison;
use auditferry::delta::ledger::MemoryLedger;
use auditferry::delta::prefix::{self, Prefix};
use auditferry::delta::{Fingerprint, Growth, Place, Progress, RecordHash};
use auditferry::event::{Encoded, Encoder, EncodingName, Options, Scope};
use auditferry::family::{self, Context};
use auditferry::notification::ObjectId;
use auditferry::records::LineRole;
use auditferry::records::lines::{Item, Lines, Start};

use crate::content;
use crate::delivery::{BATCH_BYTES, Delivery, count_lines, each_record, parse_values};
use crate::measure::{Figure, Subject};

const KEY: &str = "workspaceId=1234567890123456/date=2024-01-15/auditlogs_1.json";

const RECORDS: usize = 5_000;
const KNOWN: usize = RECORDS / 10 * 9;
const LIMIT: usize = 1_000_000;

/// What reading the known part left behind.
struct Known {
    progress: Progress,
    fingerprints: Vec<Fingerprint>,
}

pub(crate) fn measure() {
    let content = content::databricks(RECORDS);
    let cut = memchr::memchr_iter(b'\n', &content).nth(KNOWN - 1).unwrap() + 1;
    let mut fingerprints = Vec::new();
    let progress = read(&content[..cut], None, &mut |fingerprint| fingerprints.push(fingerprint));
    let known = Known { progress, fingerprints };
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
        Figure::new("first delivery", || read(&content, None, &mut |_| {}).accepted),
        Figure::new("first delivery, written once, with raw_data", || {
            delivery.with(Options { raw_data: true, ..Options::default() }).run(&content)
        }),
        Figure::new("overwrite, 9/10 of the lines known", || read(&content, Some(&known), &mut |_| {}).accepted),
        Figure::new("known lines", || read(&content[..cut], Some(&known), &mut |_| {}).accepted).of(KNOWN, cut),
    ]);
    println!("known lines are {:.1} times as fast as a first delivery", each[5] / each[8]);
}

/// Reads as the collector does: by the digest of what is known, then record by record.
fn read(content: &[u8], known: Option<&Known>, accepted: &mut dyn FnMut(Fingerprint)) -> Progress {
    let nothing = Progress::default();
    let before = known.map_or(&nothing, |known| &known.progress);
    let ledger = Box::new(MemoryLedger::new(known.map(|known| known.fingerprints.clone()).unwrap_or_default()));
    let mut source = content;
    let (mut comparison, start) = match known {
        None => (Comparison::whole(before, Growth::Overwritten, ledger, LIMIT).unwrap(), Start::Beginning),
        Some(_) => {
            let Prefix::Holds(held) = prefix::check(before, &mut source).unwrap() else { panic!("the prefix holds") };
            let start = held.start;
            (Comparison::after(held, before, Growth::Overwritten, ledger, LIMIT), start)
        }
    };
    let object = ObjectId::new("audit-logs", KEY);
    let family = family::named("databricks").unwrap();
    let context = Context::new(family, &object, Scope::Object(&object), Some(1_705_300_000_000), "bench");
    let encoders = [Encoder::new(EncodingName::Ocsf, Options::default())];
    let mut encoded = [Encoded::default()];
    let mut lines = Lines::new(|_, _| LineRole::Record, 16 << 20, start);
    while let Some(block) = lines.next_block(&mut source).unwrap() {
        for item in block.items() {
            let (Item::Whole { record, .. } | Item::Unended { record, .. }) = item else { continue };
            let hash = RecordHash::of(record.bytes);
            let place = comparison.place(hash.fingerprint(), item.end_offset()).unwrap();
            let Place::New { occurrence, .. } = place else { continue };
            accepted(hash.fingerprint());
            family::encode_record(&context, &record, &hash, occurrence, &encoders, &mut encoded).unwrap();
            if encoded[0].bytes.len() > BATCH_BYTES {
                std::hint::black_box(&encoded[0].bytes);
                encoded[0].clear();
            }
        }
        comparison.pass(&block);
    }
    comparison.progress_passed()
}
