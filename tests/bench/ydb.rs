//! YDB: the audit stream as JSON, and both text forms, which are compared with regular expressions that find their
//! labels.

use regex::bytes::Regex;

use crate::content;
use crate::delivery::{Delivery, count_lines, name_events, parse_values};
use crate::measure::{Figure, Subject};

const RECORDS: usize = 5_000;

/// The labels of the audit stream's text form.
const STREAM_LABELS: &str = r"(?:Z: |[,;] )(?<label>[a-z_]+)=";

/// The labels of the schemeshard's lines.
const SCHEME_LABELS: &str = r"(?:AUDIT: |, )(?<label>txId|database|subject|status|reason|operation|path|src path|dst path|set owner|add access|remove access|protobuf request): ";

pub(crate) fn measure() {
    measure_json();
    measure_text("ydb, audit stream as text", STREAM_LABELS, &content::ydb_text(RECORDS));
    measure_text("ydb, lines of the schemeshard", SCHEME_LABELS, &content::ydb_scheme(RECORDS));
}

fn measure_json() {
    let content = content::ydb_json(RECORDS);
    let delivery = Delivery::of("ydb", "audit/ydb.log");
    let subject = Subject {
        title: "ydb, audit stream as JSON".to_owned(),
        records: RECORDS,
        bytes: content.len(),
        rounds: 60,
        yardstick: "serde_json to Value",
    };
    subject.measure(&[
        Figure::new("memchr line count", || count_lines(&content)),
        Figure::new("serde_json to Value", || parse_values(&content)),
        Figure::new("frame, identity", || name_events(delivery, &content)),
        Figure::new("frame, decode to OCSF", || delivery.unhashed().run(&content)),
        Figure::new("first delivery", || delivery.run(&content)),
    ]);
}

fn measure_text(title: &str, labels: &str, content: &[u8]) {
    let expression = Regex::new(labels).unwrap();
    let delivery = Delivery::of("ydb", "audit/ydb.log");
    let subject = Subject {
        title: title.to_owned(),
        records: RECORDS,
        bytes: content.len(),
        rounds: 30,
        yardstick: "regular expression that finds the labels",
    };
    subject.measure(&[
        Figure::new("memchr line count", || count_lines(content)),
        Figure::new("regular expression that finds the labels", || found(&expression, content)),
        Figure::new("frame, identity", || name_events(delivery, content)),
        Figure::new("frame, decode to OCSF", || delivery.unhashed().run(content)),
        Figure::new("first delivery", || delivery.run(content)),
    ]);
}

/// Finds each label of each line, and the value up to the next label.
fn found(expression: &Regex, content: &[u8]) -> u64 {
    let mut sum = 0;
    for line in content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let mut labels = 0;
        let mut from = 0;
        for captures in expression.captures_iter(line) {
            let label = captures.name("label").unwrap();
            sum += (label.start() - from) as u64;
            from = label.end();
            labels += 1;
        }
        assert!(labels > 4, "{}", String::from_utf8_lossy(line));
    }
    sum
}
