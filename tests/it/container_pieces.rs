//! Lines that a container runtime cut into pieces, and the mixed lines of its two streams, stdout and stderr.

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, Options, Scope};
use auditferry::testing::family::{self, Context, Redaction, RedactionConfig};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::Record;
use auditferry::testing::records::lines::{Item, Lines, Start};
use serde_json::{Value, json};

use super::container_logs::{fixture, read, wrapped};

const CUT: &str = "the container runtime cut the line, and its rest does not follow";

const RESPONSE: &str = r#"{"id":"r","level":"info","timestamp":"2021-08-09T16:02:27.023Z","method":"get","path":"/x","statusCode":200,"message":"Response Sent"}"#;

/// A record without a type: only its members identify it.
const BARE: &str = r#"{"id":"b","dateTime":1628524947022,"action":"x","profileId":2,"userId":"john@example.com","dataSourceId":7,"sqlUser":"john"}"#;

/// A line as a Kubernetes runtime (CRI) writes it.
fn cri(stream: &str, tag: &str, piece: &[u8]) -> Vec<u8> {
    [b"2024-01-15T08:00:00.1Z ", stream.as_bytes(), b" ", tag.as_bytes(), b" ", piece, b"\n"].concat()
}

fn docker(stream: &str, piece: &str) -> Vec<u8> {
    format!("{}\n", json!({"log": piece, "stream": stream, "time": "2024-01-15T08:00:00Z"})).into_bytes()
}

/// Each record of a file with its source's own field names, or its decode error.
fn parsed(family: &str, content: &[u8]) -> Vec<Result<Value, String>> {
    let object = ObjectId::new("logs", "audit.log");
    let family = family::named(family).unwrap();
    let context = Context::new(family, &object, Scope::Object(&object), Some(1_705_305_600_000), "test");
    let mut lines = Lines::new(family.framing.role(false), 1 << 20, Start::Beginning);
    let (mut source, mut found) = (content, Vec::new());
    while let Some(block) = lines.next_block(&mut source).unwrap() {
        for item in block.items() {
            let (Item::Whole { record, .. } | Item::Unended { record, .. }) = item else { panic!("too long") };
            let mut out = Vec::new();
            let written = (family.parsed)(&context, &record, &mut out);
            found.push(written.map(|()| serde_json::from_slice(&out).unwrap()).map_err(|refusal| refusal.to_string()));
        }
    }
    found
}

/// The text member `name` of each record; `None` for a refused record.
fn named<'v>(found: &'v [Result<Value, String>], name: &str) -> Vec<Option<&'v str>> {
    found.iter().map(|record| record.as_ref().ok().and_then(|record| record[name].as_str())).collect()
}

/// CRI lines on stdout, each cut in two at byte `at`, with `between` after its first piece.
fn cut_at(lines: &[&[u8]], at: usize, between: &[u8]) -> Vec<u8> {
    let cut = |line: &&[u8]| {
        let (first, rest) = line.split_at(at.min(line.len()));
        [cri("stdout", "P", first), between.to_vec(), cri("stdout", "F", rest)].concat()
    };
    lines.iter().flat_map(cut).collect()
}

#[test]
fn a_line_cut_at_any_byte_is_the_record_that_it_was() {
    let bare = format!("{RESPONSE}\n{BARE}\n").into_bytes();
    let cases = [
        ("immuta", fixture("immuta/mixed.log")),
        ("immuta", bare),
        ("ydb", fixture("ydb/common.log")),
        ("ydb", fixture("ydb/stream.log")),
        ("lakefs", fixture("lakefs/server.log")),
    ];
    let noise = cri("stderr", "F", b"npm warn deprecated");
    for (family, content) in cases {
        let expected = parsed(family, &content);
        assert!(!expected.is_empty() && expected.iter().all(Result::is_ok));
        let lines: Vec<&[u8]> = content.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n').collect();
        let longest = lines.iter().map(|line| line.len()).max().unwrap();
        for at in 0..=longest {
            for between in [&b""[..], &noise] {
                let found = parsed(family, &cut_at(&lines, at, between));
                assert_eq!(found, expected, "{family} at {at}");
            }
        }
    }
}

#[test]
fn a_line_cut_at_any_byte_in_its_envelope_is_the_record_that_it_was() {
    for (family, line) in [("immuta", RESPONSE), ("immuta", BARE)] {
        let enveloped = json!({"host": "h", "message": line}).to_string();
        let expected: Vec<Result<Value, String>> = vec![Ok(serde_json::from_str(line).unwrap())];
        for at in 0..=enveloped.len() {
            assert_eq!(parsed(family, &cut_at(&[enveloped.as_bytes()], at, b"")), expected, "{at}");
        }
    }
}

#[test]
fn a_line_of_the_other_stream_touches_no_piece() {
    let (first, rest) = RESPONSE.as_bytes().split_at(60);
    let content = [cri("stdout", "P", first), cri("stderr", "F", b"warn: x"), cri("stdout", "F", rest)].concat();
    let found = read("immuta", &content);
    assert_eq!(found.parsed, [Ok(serde_json::from_str(RESPONSE).unwrap())]);
    assert_eq!(found.others, 1);
}

#[test]
fn records_of_both_streams_come_out_of_their_pieces() {
    let scheme = |name: &str| {
        format!(
            "2022-08-03T22:41:43.895591Z node 1 :FLAT_TX_SCHEMESHARD NOTICE: AUDIT: txId: {name}, database: /Root, subject: u@b, status: StatusSuccess, operation: CREATE TABLE, path: /Root/{name}"
        )
    };
    let cases = [("immuta", RESPONSE.to_owned(), RESPONSE.replace(r#""id":"r""#, r#""id":"s""#), "id", ["r", "s"])]
        .into_iter()
        .chain([("ydb", scheme("7"), scheme("8"), "txId", ["7", "8"])]);
    for (family, one, other, id, expected) in cases {
        for at in [1, 40, 100] {
            let (first, rest) = one.as_bytes().split_at(at);
            let (other_first, other_rest) = other.as_bytes().split_at(at);
            let inside =
                [cri("stdout", "P", first), cri("stderr", "F", other.as_bytes()), cri("stdout", "F", rest)].concat();
            let across = [
                cri("stdout", "P", first),
                cri("stderr", "P", other_first),
                cri("stdout", "F", rest),
                cri("stderr", "F", other_rest),
            ]
            .concat();
            for content in [inside, across] {
                assert_eq!(named(&parsed(family, &content), id), expected.map(Some), "{family} at {at}");
            }
        }
    }
}

#[test]
fn a_whole_record_after_a_piece_without_its_rest_is_a_record() {
    let two = |id: &str| format!(r#"{{"recordType":"apiKey","dateTime":1504188066580,"id":"{id}"}}"#);
    let lines = [cri("stdout", "F", two("A").as_bytes()), cri("stdout", "F", two("B").as_bytes())].concat();
    let after = |piece: &str| parsed("immuta", &[cri("stdout", "P", piece.as_bytes()), lines.clone()].concat());
    let found = after(r#"{"recordType":"apiKey","dateTime":15041"#);
    assert_eq!(named(&found, "id"), [None, Some("A"), Some("B")]);
    assert_eq!(found[0], Err(CUT.to_owned()));
    // The cut line was no record, so nothing is refused.
    assert_eq!(named(&after(r#"{"level":"info","message":"hel"#), "id"), [Some("A"), Some("B")]);
    let time = "2023-03-13T20:07:30.927210Z";
    let ydb = format!("{time}: {{\"component\":\"x\",\"operation\":\"y\",\"reason\":\"A\"}}");
    let lines = [cri("stderr", "F", ydb.as_bytes()), cri("stderr", "F", ydb.as_bytes())].concat();
    for piece in
        [format!("{time}: component=x, operation=z"), format!("{time}: {{\"component\":\"x\",\"operation\":\"z")]
    {
        let found = parsed("ydb", &[cri("stderr", "P", piece.as_bytes()), lines.clone()].concat());
        assert_eq!(named(&found, "reason"), [None, Some("A"), Some("A")], "{piece}");
        assert_eq!(found[0], Err(CUT.to_owned()), "{piece}");
    }
}

#[test]
fn what_stands_in_a_records_own_text_is_no_record_wherever_it_is_cut() {
    let time = "2023-03-13T20:07:30.927210Z";
    let forged = format!("{time}: component=x, operation=FORGED");
    let line = format!(r#"{time}: {{"component":"x","operation":"y","query_text":"{forged}"}}"#);
    let at = line.find(&forged).unwrap();
    let found = parsed("ydb", &cut_at(&[line.as_bytes()], at, b""));
    assert_eq!(named(&found, "operation"), [Some("y")]);
    let inner = r#"{"recordType":"apiKey","dateTime":1504188066580}"#;
    let line = format!(r#"{{"recordType":"x","record":{inner}}}"#);
    let found = parsed("immuta", &cut_at(&[line.as_bytes()], line.find(inner).unwrap(), b""));
    assert_eq!(named(&found, "recordType"), [Some("x")]);
}

#[test]
fn a_docker_line_of_the_other_stream_touches_no_piece() {
    let record = json!({"recordType": "sqlQuery", "dateTime": 1_504_188_066_580_i64, "query": "q".repeat(20_000)});
    let line = record.to_string();
    let (first, rest) = line.split_at(16_384);
    let content =
        [docker("stdout", first), docker("stderr", "oops\n"), docker("stdout", &format!("{rest}\n"))].concat();
    assert_eq!(parsed("immuta", &content), [Ok(record)]);
}

#[test]
fn a_line_of_the_other_stream_goes_on_with_no_record() {
    let open = "2023-03-13T20:05:19.776132Z: component=console, operation=REPLACE DYNCONFIG, new_config=x: y";
    let dockers =
        [docker("stdout", &format!("{open}\n")), docker("stderr", "[INFO] other\n"), docker("stdout", "z: 1\n")];
    let cris = [cri("stdout", "F", open.as_bytes()), cri("stderr", "F", b"[INFO] other"), cri("stdout", "F", b"z: 1")];
    for content in [dockers.concat(), cris.concat()] {
        assert_eq!(named(&parsed("ydb", &content), "new_config"), [Some("x: y\nz: 1")]);
    }
}

#[test]
fn lakefs_lines_are_records_in_every_wrapper() {
    let lines = String::from_utf8(fixture("lakefs/server.log")).unwrap();
    for line in lines.lines() {
        let bare = read("lakefs", format!("{line}\n").as_bytes());
        for (wrapper, content) in wrapped(line) {
            let read = read("lakefs", content.as_bytes());
            assert_eq!((read.others, &read.parsed), (bare.others, &bare.parsed), "{wrapper}: {line}");
            let events = read.records.into_iter().flat_map(Result::unwrap);
            for (event, bare) in events.zip(bare.records.iter().flat_map(|record| record.as_ref().unwrap())) {
                let around = if wrapper == "docker" || wrapper == "cri" { "container" } else { "envelope" };
                assert!(event["unmapped"][around].is_object(), "{event:#}");
                assert_eq!(event["api"], bare["api"], "{wrapper}");
            }
        }
    }
}

#[test]
fn what_lakefs_tells_of_another_line_is_no_record() {
    let told = r#"{"level":"info","msg":"{\"log_audit\":true,\"operation_id\":\"x\"}","time":"2023-01-01T00:00:00Z"}"#;
    let found = read("lakefs", format!("{told}\n").as_bytes());
    assert!(found.records.is_empty() && found.others == 1);
    for (wrapper, content) in wrapped(told).into_iter().filter(|(wrapper, _)| matches!(*wrapper, "docker" | "cri")) {
        assert!(read("lakefs", content.as_bytes()).records.is_empty(), "{wrapper}");
    }
}

#[test]
fn a_record_shows_nothing_of_the_other_stream() {
    let secret = r#"{"recordType":"apiKey","dateTime":1628524947022,"userId":"s3cr3t@example.com","record":{"secret":"s3cr3t"}}"#;
    let (first, rest) = RESPONSE.as_bytes().split_at(60);
    let content = [cri("stdout", "P", first), cri("stderr", "F", secret.as_bytes()), cri("stdout", "F", rest)].concat();
    let object = ObjectId::new("logs", "audit.log");
    let family = family::named("immuta").unwrap();
    let config = RedactionConfig { mask: vec!["userId".to_owned()], ..RedactionConfig::default() };
    let redaction = Redaction::new(&config).unwrap();
    let options = Options { raw_data: true, ..Options::default() };
    for (encoding, redaction) in
        [(EncodingName::Ocsf, None), (EncodingName::Ocsf, Some(&redaction)), (EncodingName::Raw, Some(&redaction))]
    {
        let context = Context::new(family, &object, Scope::Object(&object), None, "test").with_redaction(redaction);
        let mut lines = Lines::new(family.framing.role(false), 1 << 20, Start::Beginning);
        let mut source = &content[..];
        let block = lines.next_block(&mut source).unwrap().unwrap();
        let Some(Item::Whole { record, .. }) = block.items().next() else { panic!("no record") };
        assert!(record.text.unwrap().contains("s3cr3t"));
        let mut out = [Encoded::default()];
        let encoders = [Encoder::new(encoding, options)];
        let record = Record::new(record.ordinal, record.bytes);
        family::encode_record(&context, &record, &RecordHash::of(record.bytes), 0, &encoders, &mut out).unwrap();
        let shown = String::from_utf8(out[0].bytes.clone()).unwrap();
        assert!(shown.contains("Response Sent") && !shown.contains("s3cr3t"), "{shown}");
    }
}
