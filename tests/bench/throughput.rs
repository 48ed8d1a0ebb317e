//! How fast records go from bytes in memory to events, beside two yardsticks measured in the same run.
//!
//! Absolute numbers differ from machine to machine, ratios travel. Each figure is the best of several rounds in
//! time on a core, and the rounds of all figures take turns, so that a busy machine slows all of them alike.

#![allow(clippy::unwrap_used)]

mod lines;

use std::hint::black_box;
use std::time::Duration;

use auditferry::delta::RecordHash;
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
use rustix::time::ClockId;
use rustix::time::clock_gettime;

const RECORDS: usize = 2_000;

const ROUNDS: usize = 150;

/// One thing that is timed: what it is called, and what it does with the content; it returns a number that depends on
/// all of its work.
struct Figure {
    name: &'static str,
    run: fn(&[u8]) -> u64,
}

const FIGURES: &[Figure] = &[
    Figure { name: "memchr line count", run: count_lines },
    Figure { name: "serde_json to Value", run: parse_values },
    Figure { name: "frame", run: frame },
    Figure { name: "frame, hash", run: hash },
    Figure {
        name: "frame, decode to raw",
        run: |content| deliver(content, EncodingName::Raw, false, Options::default()),
    },
    Figure {
        name: "frame, decode to OCSF",
        run: |content| deliver(content, EncodingName::Ocsf, false, Options::default()),
    },
    Figure { name: "first delivery (frame, hash, decode, OCSF)", run: first_delivery },
    Figure { name: "first delivery with raw_data", run: first_delivery_with_raw_data },
];

fn main() {
    let content = lines::databricks(RECORDS);
    let mut best = vec![Duration::MAX; FIGURES.len()];
    for _ in 0..ROUNDS {
        for (figure, best) in FIGURES.iter().zip(&mut best) {
            let began = worked();
            black_box((figure.run)(black_box(&content)));
            *best = (worked() - began).min(*best);
        }
    }
    let yardstick = best[1].as_secs_f64();
    println!("databricks: {RECORDS} records, {} bytes each", content.len() / RECORDS);
    println!("{:<44} {:>10} {:>12} {:>9} {:>10}", "", "ns/record", "records/s", "MB/s", "x Value");
    for (figure, best) in FIGURES.iter().zip(&best) {
        let secs = best.as_secs_f64();
        println!(
            "{:<44} {:>10.0} {:>12.0} {:>9.0} {:>10.2}",
            figure.name,
            secs * 1e9 / RECORDS as f64,
            RECORDS as f64 / secs,
            content.len() as f64 / 1e6 / secs,
            yardstick / secs,
        );
    }
}

/// How long this thread has had a core.
fn worked() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

fn count_lines(content: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', content).count() as u64
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

fn frame(content: &[u8]) -> u64 {
    each_record(content, |record| record.bytes.len() as u64)
}

fn hash(content: &[u8]) -> u64 {
    each_record(content, |record| u64::from(RecordHash::of(record.bytes).0[0]))
}

fn first_delivery(content: &[u8]) -> u64 {
    deliver(content, EncodingName::Ocsf, true, Options::default())
}

fn first_delivery_with_raw_data(content: &[u8]) -> u64 {
    deliver(content, EncodingName::Ocsf, true, Options { raw_data: true, ..Options::default() })
}

/// As the collector does it, into a sink that counts.
fn deliver(content: &[u8], encoding: EncodingName, hashed: bool, options: Options) -> u64 {
    const BATCH_BYTES: usize = 1 << 20;
    let object = ObjectId::new("audit-logs", "workspaceId=1234567890123456/date=2024-01-15/auditlogs_1.json");
    let family = family::named("databricks").unwrap();
    let context = Context::new(family, &object, Scope::Object(&object), Some(1_705_300_000_000), "bench");
    let encoders = [Encoder::new(encoding, options)];
    let mut encoded = [Encoded::default()];
    let fixed = RecordHash([0; 32]);
    let mut sunk = 0;
    each_record(content, |record| {
        let hash = if hashed { RecordHash::of(record.bytes) } else { fixed };
        let events = family::encode_record(&context, &record, &hash, 0, &encoders, &mut encoded).unwrap();
        if encoded[0].bytes.len() > BATCH_BYTES {
            sunk += encoded[0].bytes.len() as u64;
            encoded[0].clear();
        }
        u64::from(events)
    }) + sunk
}

fn each_record(content: &[u8], mut each: impl FnMut(auditferry::records::Record<'_>) -> u64) -> u64 {
    let mut lines = Lines::new(|_, _| LineRole::Record, 16 << 20, Start::Beginning);
    let mut source = content;
    let mut sum = 0u64;
    while let Some(block) = lines.next_block(&mut source).unwrap() {
        for item in block.items() {
            if let Item::Whole { record, .. } | Item::Unended { record, .. } = item {
                sum = sum.wrapping_add(each(record));
            }
        }
    }
    sum
}
