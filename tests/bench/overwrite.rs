//! How fast an overwritten object goes through framing, delta, decoding and OCSF encoding: first delivered whole, then
//! overwritten with a tenth more lines, beside two yardsticks of the same run.
//!
//! Absolute numbers differ from machine to machine, ratios travel. Each figure is the best of several rounds, and the
//! rounds of all figures take turns, so that a busy machine slows all of them alike.

#![allow(clippy::unwrap_used)]

mod lines;

use std::hint::black_box;
use std::time::Duration;
use std::time::Instant;

use auditferry::delta::Fingerprint;
use auditferry::delta::Growth;
use auditferry::delta::Place;
use auditferry::delta::Progress;
use auditferry::delta::RecordHash;
use auditferry::delta::comparison::Comparison;
use auditferry::delta::ledger::MemoryLedger;
use auditferry::delta::prefix;
use auditferry::delta::prefix::Prefix;
use auditferry::event::Encoded;
use auditferry::event::Encoder;
use auditferry::event::EncodingName;
use auditferry::event::Options;
use auditferry::event::Scope;
use auditferry::family;
use auditferry::family::Context;
use auditferry::notification::ObjectId;
use auditferry::records::LineRole;
use auditferry::records::lines::Item;
use auditferry::records::lines::Lines;
use auditferry::records::lines::Start;

const RECORDS: usize = 20_000;
const KNOWN: usize = RECORDS / 10 * 9;
const ROUNDS: usize = 9;
const LIMIT: usize = 1_000_000;
const BATCH_BYTES: usize = 1 << 20;

/// What reading the known part left behind.
struct Known {
    progress: Progress,
    fingerprints: Vec<Fingerprint>,
}

fn main() {
    let content = lines::databricks(RECORDS);
    let cut = memchr::memchr_iter(b'\n', &content).nth(KNOWN - 1).unwrap() + 1;
    let mut fingerprints = Vec::new();
    let progress = read(&content[..cut], None, &mut |fingerprint| fingerprints.push(fingerprint));
    let known = Known { progress, fingerprints };
    let mut best = [Duration::MAX; 5];
    for _ in 0..ROUNDS {
        let figures: [&dyn Fn() -> u64; 5] = [
            &|| memchr::memchr_iter(b'\n', &content).count() as u64,
            &|| parse_values(&content),
            &|| read(&content, None, &mut |_| {}).accepted,
            &|| read(&content, Some(&known), &mut |_| {}).accepted,
            &|| read(&content[..cut], Some(&known), &mut |_| {}).accepted,
        ];
        for (figure, best) in figures.iter().zip(&mut best) {
            let began = Instant::now();
            black_box(figure());
            *best = began.elapsed().min(*best);
        }
    }
    let bytes = content.len() as f64;
    let known_bytes = cut as f64;
    println!("databricks: {RECORDS} records, {} bytes each, into a sink that counts", content.len() / RECORDS);
    println!("{:<44} {:>10} {:>12} {:>9} {:>9}", "", "ns/record", "records/s", "MB/s", "x Value");
    let value_ns = best[1].as_secs_f64() * 1e9 / RECORDS as f64;
    for (name, best, records, bytes) in [
        ("memchr line count", best[0], RECORDS, bytes),
        ("serde_json to Value", best[1], RECORDS, bytes),
        ("first delivery", best[2], RECORDS, bytes),
        ("overwrite, 9/10 of the lines known", best[3], RECORDS, bytes),
        ("known lines", best[4], KNOWN, known_bytes),
    ] {
        let (secs, records) = (best.as_secs_f64(), records as f64);
        let ns = secs * 1e9 / records;
        println!(
            "{name:<44} {ns:>10.0} {:>12.0} {:>9.0} {:>9.2}",
            records / secs,
            bytes / 1e6 / secs,
            value_ns / ns
        );
    }
    let ratio = best[2].as_secs_f64() / RECORDS as f64 / (best[4].as_secs_f64() / KNOWN as f64);
    println!("known lines are {ratio:.1} times as fast as a first delivery");
}

fn parse_values(content: &[u8]) -> u64 {
    let mut from = 0;
    let mut members = 0;
    for end in memchr::memchr_iter(b'\n', content) {
        let value: serde_json::Value = serde_json::from_slice(&content[from..end]).unwrap();
        members += value.as_object().unwrap().len() as u64;
        from = end + 1;
    }
    members
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
    let object = ObjectId::new("audit-logs", "workspaceId=1234567890123456/date=2024-01-15/auditlogs_1.json");
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
                black_box(&encoded[0].bytes);
                encoded[0].clear();
            }
        }
        comparison.pass(&block);
    }
    comparison.progress_passed()
}
