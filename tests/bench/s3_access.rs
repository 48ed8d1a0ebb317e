//! How fast access logs go from bytes in memory to events, beside the regular expression that Hadoop's documentation gives.
//!
//! Each figure is the best of several rounds, and the rounds of all figures take turns, so that a busy machine slows all of
//! them alike.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;
use std::time::Instant;

use auditferry::delta::RecordHash;
use auditferry::event::Encoded;
use auditferry::event::Encoder;
use auditferry::event::EncodingName;
use auditferry::event::Options;
use auditferry::event::Scope;
use auditferry::family;
use auditferry::family::Context;
use auditferry::notification::ObjectId;
use auditferry::records::Framing;
use auditferry::records::Record;
use auditferry::records::lines::Item;
use auditferry::records::lines::Lines;
use auditferry::records::lines::Start;
use regex::bytes::Regex;

const RECORDS: usize = 20_000;

const ROUNDS: usize = 9;

/// "Parsing AWS S3 Logs to extract the referrer header", Hadoop's S3A auditing documentation.
const DOCUMENTED: &str = r#"(?<owner>[^ ]*) (?<bucket>[^ ]*) (?<timestamp>\[(.*?)\]) (?<remoteip>[^ ]*) (?<requester>[^ ]*) (?<requestid>[^ ]*) (?<operation>[^ ]*) (?<key>[^ ]*) (?<requesturi>(-|"[^"]*")) (?<http>(-|[0-9]*)) (?<awserrorcode>[^ ]*) (?<bytessent>[^ ]*) (?<objectsize>[^ ]*) (?<totaltime>[^ ]*) (?<turnaroundtime>[^ ]*) (?<referrer>(-|"[^"]*")) (?<useragent>(-|"[^"]*")) (?<version>[^ ]*) (?<hostid>[^ ]*) (?<sigv>[^ ]*) (?<cypher>[^ ]*) (?<auth>[^ ]*) (?<endpoint>[^ ]*) (?<tls>[^ ]*)*$"#;

fn main() {
    let expression = Regex::new(DOCUMENTED).unwrap();
    for (name, referrer) in [("plain", false), ("with S3A referrers", true)] {
        let content = content(referrer);
        let figures: [(&str, &dyn Fn() -> u64); 5] = [
            ("documented regular expression", &|| matches(&expression, &content)),
            ("frame, decode to raw", &|| deliver(&content, EncodingName::Raw, false, Options::default())),
            ("frame, decode to OCSF", &|| deliver(&content, EncodingName::Ocsf, false, Options::default())),
            ("first delivery (frame, hash, decode, OCSF)", &|| {
                deliver(&content, EncodingName::Ocsf, true, Options::default())
            }),
            ("first delivery without observables", &|| {
                deliver(&content, EncodingName::Ocsf, true, Options { observables: false, ..Options::default() })
            }),
        ];
        let mut best = [Duration::MAX; 5];
        for _ in 0..ROUNDS {
            for ((_, run), best) in figures.iter().zip(&mut best) {
                let began = Instant::now();
                black_box(run());
                *best = began.elapsed().min(*best);
            }
        }
        println!("s3_access, {name}: {RECORDS} records, {} bytes each", content.len() / RECORDS);
        println!("{:<44} {:>10} {:>12} {:>9} {:>10}", "", "ns/record", "records/s", "MB/s", "x regex");
        for ((name, _), time) in figures.iter().zip(&best) {
            let secs = time.as_secs_f64();
            println!(
                "{name:<44} {:>10.0} {:>12.0} {:>9.0} {:>10.2}",
                secs * 1e9 / RECORDS as f64,
                RECORDS as f64 / secs,
                content.len() as f64 / 1e6 / secs,
                best[0].as_secs_f64() / secs,
            );
        }
    }
}

/// Lines of 24 fields, which is as many as the documented expression knows, the same in every run.
fn content(referrer: bool) -> Vec<u8> {
    const OWNER: &str = "183c9826b45486e485693808f38e2c4071004bf5dfd4c3ab210f0a21a4000000";
    const OPERATIONS: [&str; 5] =
        ["REST.GET.OBJECT", "REST.PUT.OBJECT", "REST.HEAD.OBJECT", "REST.DELETE.OBJECT", "REST.COPY.OBJECT"];
    let mut text = String::new();
    for number in 0..RECORDS {
        let operation = OPERATIONS[number % OPERATIONS.len()];
        let method = operation.split('.').nth(1).unwrap();
        let key = format!("warehouse/sales/year%253D2024/month%253D02/part-{number:05}.parquet");
        let uri = key.replace("%253D", "%3D");
        let span = format!("e8ede3c7-8506-4a43-8268-fe8fcbb510a4-{number:08}");
        let told = format!(
            "https://audit.example.org/hadoop/1/op_open/{span}/?op=op_open&p1=s3a://bucket-london/warehouse/sales/year=2024/month=02/part-{number:05}.parquet&pr=alice&ps=2eac5a04-2153-48db-896a-09bc9a2fd132&id={span}&t0=154&fs=e8ede3c7-8506-4a43-8268-fe8fcbb510a4&t1=156&ts=1620905165700"
        );
        writeln!(
            text,
            "{OWNER} bucket-london [13/May/2021:11:{:02}:{:02} +0000] 192.0.2.{} arn:aws:sts::123456789012:assumed-role/etl/i-04b64e15519efb678 M7ZB7C4R{number:08} {operation} {key} \"{method} /{uri} HTTP/1.1\" 200 - {} {} {} {} \"{}\" \"Hadoop 3.4.1, aws-sdk-java/2.23.19 Linux/5.10.0 OpenJDK_64-Bit_Server_VM/11.0.22\" - TrIqtEYGWAwvu0h1N9WJKyoqM0TyHUaY+ZZBwP2yNf2qQp1Z/0= SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader bucket-london.s3.eu-west-2.amazonaws.com TLSv1.2",
            number / 60 % 60,
            number % 60,
            number % 256,
            number * 37 % 100_000,
            number * 41,
            number % 300,
            number % 90,
            if referrer { told.as_str() } else { "-" },
        )
        .unwrap();
    }
    text.into_bytes()
}

fn matches(expression: &Regex, content: &[u8]) -> u64 {
    let mut sum = 0;
    for line in content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let captures = expression.captures(line).unwrap();
        sum += captures.name("referrer").unwrap().len() as u64 + captures.name("tls").unwrap().len() as u64;
    }
    sum
}

/// As the collector does it, into a sink that counts.
fn deliver(content: &[u8], encoding: EncodingName, hashed: bool, options: Options) -> u64 {
    const BATCH_BYTES: usize = 1 << 20;
    let object = ObjectId::new("audit-logs", "logs/2024-02-12-08-00-00-0A1B2C3D4E5F6789");
    let family = family::named("s3_access").unwrap();
    let context = Context::new(family, &object, Scope::Object(&object), Some(1_705_300_000_000), "bench");
    let encoders = [Encoder::new(encoding, options)];
    let mut encoded = [Encoded::default()];
    let fixed = RecordHash([0; 32]);
    let mut sunk = 0;
    each_record(content, |record| {
        let hash = if hashed { RecordHash::of(record.bytes) } else { fixed };
        let events = family::encode_record(&context, &record, &hash, record.ordinal, &encoders, &mut encoded).unwrap();
        sunk += u64::from(events);
        if encoded[0].bytes.len() > BATCH_BYTES {
            sunk += encoded[0].bytes.len() as u64;
            encoded[0].clear();
        }
    });
    sunk
}

fn each_record(content: &[u8], mut each: impl FnMut(Record<'_>)) {
    let Framing::Lines(role) = family::named("s3_access").unwrap().framing else { return };
    let mut lines = Lines::new(role, 16 << 20, Start::Beginning);
    let mut source = content;
    while let Some(block) = lines.next_block(&mut source).unwrap() {
        for item in block.items() {
            if let Item::Whole { record, .. } | Item::Unended { record, .. } = item {
                each(record);
            }
        }
    }
}
