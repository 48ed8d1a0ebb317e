//! Whatever an object's form, an overwrite delivers exactly its new records.

use std::io::Write as _;

use super::support::records::{object, records};
use super::support::world::World;

/// A form of lines, and of the object that holds them.
struct Form {
    /// Its name, from which its objects' keys are made.
    name: &'static str,
    /// What precedes each line.
    head: &'static str,
    content: fn(&[String]) -> Vec<u8>,
}

const fn form(name: &'static str, content: fn(&[String]) -> Vec<u8>) -> Form {
    Form { name, head: "", content }
}

const fn headed(name: &'static str, head: &'static str) -> Form {
    Form { name, head, content: object }
}

const FORMS: &[Form] = &[
    form("plain", object),
    form("gzip", |lines| gzip(&object(lines))),
    form("gzip in gzip", |lines| gzip(&gzip(&object(lines)))),
    form("a gzip member for each line", |lines| {
        lines.iter().flat_map(|line| gzip(&object(std::slice::from_ref(line)))).collect()
    }),
    form("zstd in gzip", |lines| gzip(&zstd(&object(lines)))),
    form("bzip2", |lines| bzip2(&object(lines))),
    form("xz", |lines| xz(&object(lines))),
    form("bzip2 in xz", |lines| xz(&bzip2(&object(lines)))),
    form("UTF-16LE", |lines| utf16(lines, u16::to_le_bytes)),
    form("UTF-16BE", |lines| utf16(lines, u16::to_be_bytes)),
    form("UTF-16LE in gzip", |lines| gzip(&utf16(lines, u16::to_le_bytes))),
    form("a list", |lines| format!("[{}]", lines.join(",")).into_bytes()),
    form("a list over several lines", |lines| format!("[\n{}\n]\n", lines.join(",\n")).into_bytes()),
    form("a list that is not closed yet", |lines| format!("[{},\n", lines.join(",\n")).into_bytes()),
    form("a list in bzip2", |lines| bzip2(format!("[{}]\n", lines.join(", ")).as_bytes())),
];

const HEADS: &[Form] = &[
    headed("CloudWatch's export", "2026-01-01T00:00:00.000Z "),
    headed("docker logs -t", "2026-01-01T00:00:00.123456789Z "),
    headed("Fluentd", "2026-01-01T00:00:00+00:00\tdatabricks.audit\t"),
    headed("Logstash", "2026-01-01T00:00:00.000Z host1 "),
    headed("syslog by RFC 3164", "<14>Jan  1 00:00:00 host1 databricks[12]: "),
    headed("a file of RFC 3164", "Jan  1 00:00:00 host1 databricks: "),
    headed("syslog by RFC 5424", "<14>1 2026-01-01T00:00:00.000Z host1 databricks 12 - - "),
    headed("rsyslog's file", "2026-01-01T00:00:00+00:00 host1 databricks: "),
];

impl Form {
    /// The lines with these numbers, for form number `index`.
    fn lines(&self, index: usize, numbers: std::ops::Range<u64>) -> Vec<String> {
        let base = 100 * index as u64;
        let lines = records(numbers.map(|number| base + number));
        lines.into_iter().map(|line| format!("{}{line}", self.head)).collect()
    }
}

fn key(form: &Form) -> String {
    format!("workspaceId=1/date=2026-01-01/{}.json", form.name)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(content, 3).unwrap()
}

fn bzip2(content: &[u8]) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn xz(content: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn utf16(lines: &[String], bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let text = format!("\u{feff}{}", String::from_utf8(object(lines)).unwrap());
    text.encode_utf16().flat_map(bytes).collect()
}

#[test]
fn an_overwrite_of_every_form_delivers_what_is_new_in_it_and_once() {
    let world = World::fed_by_directory();
    let forms: Vec<&Form> = FORMS.iter().chain(HEADS).collect();
    // New; with lines appended; unchanged; with lines before and between the known ones.
    let steps: [(&[(u64, u64)], _); 4] =
        [(&[(1, 3)], 1..3), (&[(1, 6)], 1..6), (&[(1, 6)], 1..6), (&[(0, 2), (6, 8), (2, 6)], 0..8)];
    for (order, delivered) in steps {
        let mut expected = Vec::new();
        for (index, form) in forms.iter().enumerate() {
            let lines: Vec<String> = order.iter().flat_map(|&(from, to)| form.lines(index, from..to)).collect();
            world.write(&key(form), &(form.content)(&lines));
            expected.extend(form.lines(index, delivered.clone()));
        }
        world.once_expecting(&["object was rewritten"]);
        world.delivered_once_each(&expected);
    }
}

#[test]
fn an_overwrite_in_another_form_delivers_what_is_new_in_it_and_once() {
    let world = World::fed_by_directory();
    for step in 0..FORMS.len() {
        let known = 0..2 + step as u64;
        let mut expected = Vec::new();
        for (index, form) in FORMS.iter().enumerate() {
            let form_then = &FORMS[(index + step) % FORMS.len()];
            world.write(&key(form), &(form_then.content)(&form.lines(index, known.clone())));
            expected.extend(form.lines(index, known.clone()));
        }
        world.once_expecting(&["object was rewritten"]);
        world.delivered_once_each(&expected);
    }
}
