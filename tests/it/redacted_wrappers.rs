//! Redacted values do not leave in a wrapper, a second record or an unreadable rest.

use auditferry::testing::family::{self, Action};
use serde_json::{Value, json};

use super::redaction::{Key, leaving, records_of, text_of, uids};
use super::support::wrappers::{CASES, SECRET, immuta, lines_of, value};

/// Lines that hide a second record, or a part of one, each with a name.
fn hiding(record: fn(u32) -> String) -> Vec<(&'static str, String)> {
    let records = [0, 1, 2].map(record).to_vec();
    let [first, second] = [&records[0], &records[1]];
    let (begin, end) = second.split_at(second.len() / 2);
    let wrapped = |text: &str| json!({"date": 1.5, "log": text}).to_string();
    let mut lines = lines_of(&records);
    lines.extend([
        ("bare", first.clone()),
        ("two without a line end", records.concat()),
        ("two in one text", wrapped(&records.concat())),
        ("two lines in one text", wrapped(&records.join("\n"))),
        ("garbage behind a wrapper", format!("{}{SECRET}", wrapped(first))),
        ("garbage before", format!("{SECRET} {first}")),
        ("garbage before a wrapper", format!("{SECRET} {}", wrapped(first))),
        ("torn", begin.to_owned()),
        ("torn behind another", format!("{first}{begin}")),
        ("the rest of a torn one before", format!("{end}{first}")),
        ("torn before another", format!("{begin}{first}")),
        ("torn in a text", json!({"log": first, "rest": begin}).to_string()),
        ("torn in a text first", json!({"rest": begin, "log": first}).to_string()),
        ("torn wrapper behind", format!("{}{}", wrapped(first), wrapped(second).split_at(wrapped(second).len() - 9).0)),
        ("text in a text in a text", json!({"log": first, "more": wrapped(&wrapped(second))}).to_string()),
        ("text in a text alone", wrapped(&wrapped(first))),
        ("beside as a part", json!({"log": first, "read": {"again": value(second)}}).to_string()),
        ("deep beside", json!({"log": first, "a": {"b": {"c": {"d": {"e": [second, value(second)]}}}}}).to_string()),
        ("deep alone", json!({"a": {"b": {"c": {"d": {"e": [first, value(first)]}}}}}).to_string()),
        (
            "another name",
            json!({"timestamp": 1_747_037_350_123_u64, "detail": value(first), "text": first}).to_string(),
        ),
        ("half a surrogate pair", wrapped(first).replace("1.5", "\"\\ud800\"")),
        (
            "half a surrogate pair and another",
            format!("{}{}", wrapped(first), wrapped(second).replace("1.5", "\"\\ud800\"")),
        ),
    ]);
    let log = |text: &str| json!(format!("{text}\n"));
    lines.push(("the log twice", format!("{{\"log\":{},\"log\":{},\"stream\":\"stdout\"}}", log(first), log(first))));
    lines.push(("two logs of one name", format!("{{\"log\":{},\"log\":{}}}", log(first), log(second))));
    if first.ends_with('}') {
        lines.push(("the rest of a torn one in a text", json!({"log": first, "rest": end}).to_string()));
        lines.push(("the rest of a torn one in a text first", json!({"rest": end, "log": first}).to_string()));
        // In the forms without escapes, text behind the record is part of its last value.
        lines.push(("garbage behind", format!("{first} {SECRET}")));
    }
    if let Some(Value::Object(mut copy)) = value(first) {
        copy.insert("original".to_owned(), json!(second));
        lines.push(("copy in the record", Value::Object(copy.clone()).to_string()));
        copy.insert("original".to_owned(), json!({"deep": [second]}));
        lines.push(("deep copy in the record", Value::Object(copy.clone()).to_string()));
        copy.insert("original".to_owned(), json!(with_escaped_names(second)));
        lines.push(("copy of escaped names in the record", Value::Object(copy.clone()).to_string()));
        copy.insert("original".to_owned(), json!(value(second)));
        lines.push(("read copy in the record", Value::Object(copy.clone()).to_string()));
        copy.insert("original".to_owned(), json!({"deep": [{"deeper": value(second)}]}));
        lines.push(("deep read copy in the record", Value::Object(copy.clone()).to_string()));
        let surrogate = format!(r#"{{"x":"\ud800","another":{second}}}"#);
        lines.push(("read record behind half a surrogate pair", surrogate));
        let field = json!({"log": first, "fields": copy});
        lines.push(("fields beside", field.to_string()));
    }
    lines
}

/// The record with the first letter of each member's name written as a JSON escape.
fn with_escaped_names(record: &str) -> String {
    let names = regex::Regex::new(r#""([a-z])([A-Za-z_]*)":"#).unwrap();
    let escaped =
        |found: &regex::Captures<'_>| format!("\"\\u{:04x}{}\":", u32::from(found[1].as_bytes()[0]), &found[2]);
    names.replace_all(record, escaped).into_owned()
}

/// YDB writes records in several forms. Two of them have no escapes: what follows them on the line belongs to their
/// last value.
#[test]
fn a_record_of_another_form_behind_one_that_escapes_nothing_is_refused() {
    let key = Key::new();
    let family = family::named("ydb").unwrap();
    let records: Vec<String> = CASES.iter().filter(|(name, ..)| *name == "ydb").map(|(.., record)| record(1)).collect();
    let wrapped = records.iter().map(|record| json!({"date": 1.5, "log": record}).to_string());
    let behind: Vec<String> = records.iter().cloned().chain(wrapped).collect();
    for first in records.iter().filter(|record| !record.ends_with('}')) {
        for second in &behind {
            for between in ["", " ", ",", "\t", "\r"] {
                let line = format!("{first}{between}{second}");
                let out = leaving(family, line.as_bytes(), Some(&key.config(Action::Mask, &["subject"])));
                assert!(out.is_err(), "{line}\nleaves as\n{}", text_of(&out.unwrap()[0]));
            }
        }
    }
}

/// A redacted field must not leave in a wrapper, a second record or an unreadable rest: not in OCSF of any version,
/// ECS, raw, or raw data. What cannot be read is refused.
#[test]
fn no_redacted_value_leaves_by_any_wrapper_second_record_or_unreadable_rest() {
    let key = Key::new();
    let (mut judged, mut without) = (0, 0);
    for (name, path, record) in CASES {
        let family = family::named(name).unwrap();
        for (wrapper, line) in hiding(*record) {
            // Judge each record that the framing finds, and the whole line as if it were one record.
            let mut records = records_of(family, line.as_bytes());
            records.push(line.clone().into_bytes());
            for bytes in &records {
                let plain = leaving(family, bytes, None).is_ok_and(|out| text_of(&out[3]).contains(SECRET));
                without += u32::from(plain);
                for action in [Action::Drop, Action::Hash, Action::Mask] {
                    judged += 1;
                    let Ok(out) = leaving(family, bytes, Some(&key.config(action, &[path]))) else { continue };
                    for out in out.iter().map(text_of) {
                        let case = format!("{name} {path} {action:?} in {wrapper}: {}", String::from_utf8_lossy(bytes));
                        assert!(!out.contains(SECRET), "{case}\nleaves in\n{out}");
                    }
                }
            }
        }
    }
    // Without redaction, enough of the cases must reveal the secret.
    assert!(judged > 1000 && without > 200, "{judged}, {without}");
}

#[test]
fn a_redacted_record_keeps_its_place_and_id_in_its_wrapper() {
    let key = Key::new();
    for (name, path, record) in CASES.iter().filter(|(name, ..)| *name != "s3_access") {
        let family = family::named(name).unwrap();
        for (wrapper, line) in lines_of(&[0, 1, 2].map(record)) {
            let plain = leaving(family, line.as_bytes(), None).unwrap();
            let config = key.config(Action::Mask, &[path]);
            let redacted = leaving(family, line.as_bytes(), Some(&config));
            let redacted = redacted.unwrap_or_else(|refusal| panic!("{name} in {wrapper}: {refusal}: {line}"));
            let raw = text_of(&redacted[5]);
            assert_eq!(uids(&plain[5]), uids(&redacted[5]), "{name} in {wrapper}");
            assert_eq!(raw.matches("***").count(), 3, "{name} in {wrapper}: {raw}");
        }
    }
}

#[test]
fn a_text_beside_the_record_that_names_what_is_redacted_is_masked_and_others_are_not() {
    let key = Key::new();
    let line = json!({
        "log": immuta(0), "stream": "stdout", "host": "h1", "pod": {"userId": SECRET, "name": "p", "note": "userIds: none"},
        "torn": "\"userId\":\"kim", "escaped": json!(json!({"userId": "kim"}).to_string()).to_string(),
    });
    let out = leaving(
        family::named("immuta").unwrap(),
        line.to_string().as_bytes(),
        Some(&key.config(Action::Drop, &["userId"])),
    );
    let raw: Value = serde_json::from_str(&text_of(&out.unwrap()[5])).unwrap();
    let shown = json!({
        "stream": "stdout", "host": "h1", "pod": {"userId": null, "name": "p", "note": "userIds: none"},
        "torn": "***", "escaped": "***",
    });
    for (name, shown) in shown.as_object().unwrap() {
        assert_eq!(&raw[name], shown, "{name}");
    }
    assert!(!raw["log"].as_str().unwrap().contains("userId"));
}
