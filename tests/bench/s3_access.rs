//! S3 server access logs, compared with the regular expression in Hadoop's documentation.

use std::fmt::Write as _;

use auditferry::testing::event::Options;
use regex::bytes::Regex;

use crate::delivery::{Delivery, count_lines, name_events};
use crate::measure::{Figure, Subject};

const RECORDS: usize = 5_000;

/// From "Parsing AWS S3 Logs to extract the referrer header" in Hadoop's S3A auditing documentation.
const DOCUMENTED: &str = r#"(?<owner>[^ ]*) (?<bucket>[^ ]*) (?<timestamp>\[(.*?)\]) (?<remoteip>[^ ]*) (?<requester>[^ ]*) (?<requestid>[^ ]*) (?<operation>[^ ]*) (?<key>[^ ]*) (?<requesturi>(-|"[^"]*")) (?<http>(-|[0-9]*)) (?<awserrorcode>[^ ]*) (?<bytessent>[^ ]*) (?<objectsize>[^ ]*) (?<totaltime>[^ ]*) (?<turnaroundtime>[^ ]*) (?<referrer>(-|"[^"]*")) (?<useragent>(-|"[^"]*")) (?<version>[^ ]*) (?<hostid>[^ ]*) (?<sigv>[^ ]*) (?<cypher>[^ ]*) (?<auth>[^ ]*) (?<endpoint>[^ ]*) (?<tls>[^ ]*)*$"#;

pub(crate) fn measure() {
    let expression = Regex::new(DOCUMENTED).unwrap();
    let delivery = Delivery::of("s3_access", "logs/2024-02-12-08-00-00-0A1B2C3D4E5F6789");
    for (name, referrer) in [("plain", false), ("with S3A referrers", true)] {
        let content = content(referrer);
        let subject = Subject {
            title: format!("s3_access, {name}"),
            records: RECORDS,
            bytes: content.len(),
            rounds: 30,
            yardstick: "documented regular expression",
        };
        subject.measure(&[
            Figure::new("memchr line count", || count_lines(&content)),
            Figure::new("documented regular expression", || matches(&expression, &content)),
            Figure::new("frame, decode to raw", || delivery.raw().unhashed().run(&content)),
            Figure::new("frame, identity", || name_events(delivery, &content)),
            Figure::new("frame, decode to OCSF", || delivery.unhashed().run(&content)),
            Figure::new("first delivery", || delivery.run(&content)),
            Figure::new("first delivery without observables", || {
                delivery.with(Options { observables: false, ..Options::default() }).run(&content)
            }),
        ]);
    }
}

/// Lines of 24 fields, as many as the documented expression has. The same in every run.
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
