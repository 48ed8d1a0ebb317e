//! Splits a line of a server access log into fields, even if a client put quotes into it.

use std::borrow::Cow;

use crate::event::Text;
use crate::family::redaction::{HASHED, MASKED};
use crate::family::refusal::Refusal;
use crate::family::s3_access::field::{FIELDS, Field, NAMES};
use crate::family::s3_access::reading::{NO_READING, Reading, search};
use crate::family::s3_access::tail::Tail;
use crate::family::s3_access::token::{
    Cursor, MIDDLE, OWNER_DIGITS, ends_in_owner, holds_operation, holds_quote, holds_record, holds_time, is_plain,
    owner_digits, trimmed, value,
};

/// The fields that hold text sent by a client.
pub(super) const SENT: [Field; 3] = [Field::RequestUri, Field::Referrer, Field::UserAgent];

/// One record, split into fields. `None` is a field without a value: `-`, `"-"`, or not part of the format when the
/// line was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line<'a> {
    fields: [Option<&'a str>; FIELDS],
    /// The fields after the last known one.
    pub extra: Vec<Option<&'a str>>,
    /// Whether the line can be read in several ways, since S3 does not escape quotes that a client sent.
    pub ambiguous: bool,
    /// Whether no field holds a character that JSON escapes.
    is_plain: bool,
}

impl<'a> Line<'a> {
    /// Reads a line from left to right. S3 escapes nothing: a quoted field ends at the first quote after which the rest
    /// of the line fits the format.
    pub(super) fn read(text: &'a str) -> Result<Self, Refusal> {
        const TWO: Refusal = Refusal { reason: Cow::Borrowed("the line holds the beginning of another record") };
        let is_plain = is_plain(text.as_bytes());
        if !is_plain && memchr::memchr(0, text.as_bytes()).is_some() {
            return Err(Refusal::new("the line holds a NUL byte"));
        }
        if text.starts_with(['{', '[']) {
            return Err(Refusal::new("the line is JSON"));
        }
        let text = trimmed(text);
        let mut line = Self { fields: [None; FIELDS], extra: Vec::new(), ambiguous: false, is_plain: false };
        let mut cursor = Cursor::new(text, 0);
        let time_end = line.head(&mut cursor)?;
        let holds_another_time = text.get(time_end..).is_some_and(holds_time);
        if holds_another_time && holds_record(text, time_end) {
            return Err(TWO);
        }
        let at = cursor.at();
        let tail = if let Some(tail) = line.straight(text, cursor) {
            // `straight` succeeds only if the fields after `at` hold no quotes.
            line.is_plain = is_plain && !holds_quote(&text[..at]);
            tail
        } else if text.get(at..).is_some_and(holds_operation) {
            return Err(TWO);
        } else {
            let reading = search(text, at)?;
            line.ambiguous = reading.ambiguous;
            line.fill(text, at, &reading).ok_or(NO_READING)?
        };
        let (owner, bucket) = (line.get(Field::BucketOwner), line.get(Field::Bucket));
        // The oldest logs end with the user agent or with one field after it. A second record that runs into such a
        // line appends its owner's id to that field.
        let is_bare = !text.ends_with('"');
        let mut last = text.rsplit(' ').take(if is_bare { 2 } else { 0 });
        let is_torn = owner.is_some_and(|owner| last.any(|field| ends_in_owner(field, owner)));
        if is_torn || tail.runs_on(owner, bucket) {
            return Err(TWO);
        }
        line.set_tail(&tail);
        line.check()?;
        if holds_another_time {
            line.ambiguous |= SENT.into_iter().filter_map(|field| line.get(field)).any(holds_time);
        }
        Ok(line)
    }

    pub(super) fn get(&self, field: Field) -> Option<&'a str> {
        self.fields[field as usize]
    }

    /// A part of a field as text. If the line is plain, its bytes are never searched for characters to escape.
    pub(super) fn text(&self, part: &'a str) -> Text<'a> {
        if self.is_plain { Text::Escaped(part) } else { Text::from(part) }
    }

    /// As [`text`](Self::text), for a part that may be a changed copy.
    pub(super) fn text_of(&self, text: Cow<'a, str>) -> Text<'a> {
        match text {
            Cow::Borrowed(part) => self.text(part),
            Cow::Owned(text) => Text::from(text),
        }
    }

    /// Each field with its name and value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Field, &'static str, Option<&'a str>)> {
        NAMES.iter().zip(&self.fields).map(|((field, name), value)| (*field, *name, *value))
    }

    /// Reads the eight fields into which a client cannot write spaces; another field must follow. Returns where the
    /// time ends.
    fn head(&mut self, cursor: &mut Cursor<'a>) -> Result<usize, Refusal> {
        const FEW: Refusal = Refusal { reason: Cow::Borrowed("the line has fewer than 17 fields") };
        let mut time_end = 0;
        for index in Field::BucketOwner as usize..=Field::Key as usize {
            self.fields[index] = if index == Field::Time as usize {
                let time = cursor.time().ok_or(Refusal::new("the third field is no time"))?;
                time_end = cursor.at();
                time
            } else {
                value(cursor.field().ok_or(FEW)?)
            };
            if cursor.is_at_end() {
                return Err(FEW);
            }
        }
        let is_torn = |owner: &str| owner.len() > OWNER_DIGITS && owner_digits(owner) >= OWNER_DIGITS;
        if self.get(Field::BucketOwner).is_some_and(|owner| is_torn(owner) && !owner.starts_with(HASHED)) {
            return Err(Refusal::new(
                "the first field is longer than an owner's id, as where one line runs into another",
            ));
        }
        let operation = self.get(Field::Operation).unwrap_or_default();
        if !operation.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
            return Err(Refusal::new("the seventh field is no operation"));
        }
        Ok(time_end)
    }

    /// Reads the rest as if no client had sent a quote. Returns its tail, or `None` if a client may have sent one.
    fn straight(&mut self, text: &'a str, mut cursor: Cursor<'a>) -> Option<Tail<'a>> {
        let uri = cursor.first_end()?;
        let middle = cursor.middle()?;
        let referrer = cursor.first_end()?;
        let agent = cursor.first_end()?;
        let tail = Tail::read(text, cursor.at()).filter(|tail| !tail.has_quote)?;
        self.fields[Field::RequestUri as usize] = uri;
        self.set_middle(middle);
        self.fields[Field::Referrer as usize] = referrer;
        self.fields[Field::UserAgent as usize] = agent;
        Some(tail)
    }

    fn fill(&mut self, text: &'a str, at: usize, reading: &Reading) -> Option<Tail<'a>> {
        self.fields[Field::RequestUri as usize] = value(&text[at..reading.uri_end]);
        let mut cursor = Cursor::new(text, reading.uri_end + 1);
        if let Some(middle) = cursor.middle() {
            self.set_middle(middle);
            self.fields[Field::Referrer as usize] = value(&text[cursor.at()..reading.referrer_end]);
            self.fields[Field::UserAgent as usize] = value(&text[reading.referrer_end + 1..reading.agent_end]);
        }
        Tail::read(text, (reading.agent_end + 1).min(text.len()))
    }

    fn set_middle(&mut self, middle: [Option<&'a str>; MIDDLE]) {
        let first = Field::HttpStatus as usize;
        self.fields[first..first + MIDDLE].copy_from_slice(&middle);
    }

    fn set_tail(&mut self, tail: &Tail<'a>) {
        let first = Field::VersionId as usize;
        for (own, field) in self.fields[first..].iter_mut().zip(tail.known()) {
            *own = value(field);
        }
        self.extra = tail.extra.iter().map(|field| value(field)).collect();
    }

    /// Refuses lines that only look like a record.
    fn check(&self) -> Result<(), Refusal> {
        if let Some(uri) = self.get(Field::RequestUri) {
            // A client may send a method alone, or any text before a space.
            let is_redacted = uri == MASKED || uri.starts_with(HASHED);
            if !uri.is_empty() && !is_redacted && !uri.bytes().any(|byte| byte == b' ' || byte.is_ascii_uppercase()) {
                return Err(Refusal::new("the request names no method"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::family::s3_access::reading::QUOTES_MAX;

    const HEAD: &str =
        "79a5 bucket [06/Feb/2019:00:00:38 +0000] 192.0.2.3 arn:aws:iam::123456789012:user/x ABC REST.GET.OBJECT a/b";
    const NUMBERS: &str = "200 - 113 1718 10 9";
    const TAIL_2019: &str = "- s9lz= SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader b.s3.amazonaws.com TLSv1.2";

    fn line(uri: &str, referrer: &str, agent: &str, tail: &str) -> String {
        format!("{HEAD} {uri} {NUMBERS} {referrer} {agent} {tail}")
    }

    fn read(text: &str) -> Line<'_> {
        Line::read(text).unwrap_or_else(|refusal| panic!("{refusal}: {text}"))
    }

    fn refused(text: &str) -> String {
        Line::read(text).unwrap_err().to_string()
    }

    #[test]
    fn every_field_is_found_in_its_place() {
        let text = line("\"GET /a/b HTTP/1.1\"", "\"-\"", "\"agent 1\"", &format!("{TAIL_2019} arn:aws:s3:::ap Yes"));
        let values: Vec<_> = read(&text).iter().map(|(_, _, value)| value.unwrap_or("none")).collect();
        let expected = [
            "79a5",
            "bucket",
            "06/Feb/2019:00:00:38 +0000",
            "192.0.2.3",
            "arn:aws:iam::123456789012:user/x",
            "ABC",
            "REST.GET.OBJECT",
            "a/b",
            "GET /a/b HTTP/1.1",
            "200",
            "none",
            "113",
            "1718",
            "10",
            "9",
            "none",
            "agent 1",
            "none",
            "s9lz=",
            "SigV4",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "AuthHeader",
            "b.s3.amazonaws.com",
            "TLSv1.2",
            "arn:aws:s3:::ap",
            "Yes",
        ];
        assert_eq!(values, expected);
    }

    #[test]
    fn logs_of_every_age_are_read() {
        for (tail, last, extra) in [
            ("", Field::UserAgent, 0),
            ("v1", Field::VersionId, 0),
            (TAIL_2019, Field::TlsVersion, 0),
            (&format!("{TAIL_2019} -"), Field::TlsVersion, 0),
            (&format!("{TAIL_2019} - Yes"), Field::AclRequired, 0),
            (&format!("{TAIL_2019} - Yes - \"two words\""), Field::AclRequired, 2),
            (&format!("{TAIL_2019} - Yes x - y"), Field::AclRequired, 3),
        ] {
            let text = line("-", "-", "\"agent\"", tail);
            let line = read(text.trim_end());
            assert!(line.get(last).is_some(), "{text}");
            assert_eq!((line.extra.len(), line.ambiguous), (extra, false), "{text}");
        }
        assert_eq!(read(&line("-", "-", "-", &format!("{TAIL_2019} - - - \"a b\""))).extra, [None, Some("a b")]);
    }

    #[test]
    fn a_hyphen_is_no_value_bare_or_quoted_in_any_field() {
        let bare = ["-"; 24].join(" ");
        assert!(read(&bare).iter().all(|(_, _, value)| value.is_none()));
        let quoted = ["\"-\""; 24].join(" ");
        assert!(read(&quoted).iter().all(|(_, _, value)| value.is_none()));
        let text = line("\"-\"", "\"\"", "bare", "-");
        let line = read(&text);
        assert_eq!(line.get(Field::RequestUri), None);
        assert_eq!((line.get(Field::Referrer), line.get(Field::UserAgent)), (Some(""), Some("bare")));
    }

    #[test]
    fn quotes_that_a_client_sent_stay_in_the_field_they_stand_in() {
        for (uri, referrer, agent) in [
            ("GET /\" HTTP/1.1", "-", "Mozilla"),
            ("GET / HTTP/1.1", "-", "AppleWebKit/537.36 (KHTML) Safari/604.1\""),
            ("GET / HTTP/1.1", "-", "\"linux64\" sra-toolkit fastq-dump.2.9.1 (phid=noc,libc=2.17)"),
            ("GET / HTTP/1.1", "https://example.com/\"", "a"),
            ("GET / HTTP/1.1", "say \"hi\" to", "the \"agent"),
            ("GET / HTTP/1.1", "-", "back\\\"slash"),
        ] {
            for tail in ["-", TAIL_2019] {
                let quoted = |text: &str| format!("\"{text}\"");
                let text = line(&quoted(uri), &quoted(referrer), &quoted(agent), tail);
                let line = read(&text);
                let found = [Field::RequestUri, Field::Referrer, Field::UserAgent].map(|field| line.get(field));
                let referrer = (referrer != "-").then_some(referrer);
                assert_eq!(found, [Some(uri), referrer, Some(agent)], "{text}");
                assert_eq!(line.get(Field::VersionId), None, "{text}");
            }
        }
    }

    #[test]
    fn a_line_with_several_readings_is_flagged_and_none_of_them_lost() {
        let forged = format!("\"x\" \"forged\" {TAIL_2019} - - \"y\"");
        let text = line("\"GET / HTTP/1.1\"", &forged, "\"agent\"", &format!("{TAIL_2019} - -"));
        let line = read(&text);
        assert!(line.ambiguous);
        // A reading without unknown fields is preferred.
        assert!(line.extra.is_empty());
        assert_eq!(line.get(Field::Referrer), Some("x"));
        assert!(line.get(Field::UserAgent).is_some_and(|agent| agent.ends_with("agent")));
        let plain = self::line("\"GET / HTTP/1.1\"", "\"a\" \"b\"", "\"c\"", "-");
        assert!(read(&plain).ambiguous);
    }

    #[test]
    fn a_host_id_may_hold_a_space() {
        let text = line("-", "-", "-", "- AIDAISBTT LzYG= SigV4 ECDHE AuthHeader s3.amazonaws.com TLSv1.2 - -");
        let line = read(&text);
        assert_eq!(line.get(Field::HostId), Some("AIDAISBTT LzYG="));
        assert_eq!(line.get(Field::TlsVersion), Some("TLSv1.2"));
        assert_eq!(line.get(Field::AclRequired), None);
        let old = "- AIDAISBTT LzYG= - - - - -";
        let text = self::line("-", "-", "-", old);
        assert_eq!(read(&text).get(Field::HostId), Some("AIDAISBTT LzYG="));
        let more = format!("{} - - extra", "- AIDAISBTT LzYG= SigV4 ECDHE AuthHeader s3.amazonaws.com TLSv1.2");
        let text = self::line("-", "-", "-", &more);
        assert_eq!(read(&text).extra, [Some("extra")]);
    }

    const OWNER: &str = "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be";

    /// Records of each age and shape of the format.
    fn records() -> Vec<String> {
        let tail = format!("{TAIL_2019} arn:aws:s3:eu-west-2:123456789012:accesspoint/ap Yes");
        let of = |operation: &str, request: &str, sent: &str, tail: &str| {
            format!(
                "{OWNER} b [06/Feb/2019:00:00:38 +0000] 192.0.2.3 arn:aws:iam::123456789012:user/x R1 {operation} a/b {request} 200 - 113 1718 10 9 {sent} {tail}"
            )
        };
        vec![
            of("REST.GET.OBJECT", "\"GET /a/b HTTP/1.1\"", "\"-\" \"aws-cli/2.15.0 exec-env/x\"", &tail),
            of(
                "REST.PUT.OBJECT",
                "\"PUT /a?x=1 HTTP/1.1\"",
                "\"https://h/?a=b\" \"-\"",
                &format!("{TAIL_2019} - - \"a b\""),
            ),
            of("REST.PUT.PART", "\"PUT /\" HTTP/1.1\"", "\"say \"hi\"\" \"the \"agent\"", TAIL_2019),
            of("BATCH.DELETE.OBJECT", "-", "- -", &tail),
            of("S3.EXPIRE.OBJECT", "\"-\"", "\"-\" \"-\"", &tail),
            of("SOAP.ListAllMyBuckets", "\"POST /soap HTTP/1.1\"", "- \"S3Console/0.4\"", "-"),
        ]
    }

    /// `config/s3_access.md` promises that no record becomes a part of another.
    #[test]
    fn a_record_that_runs_into_another_is_refused_wherever_it_ends() {
        for first in records() {
            assert!(Line::read(&first).is_ok(), "{first}");
            for (number, second) in records().iter().enumerate() {
                for cut in 1..=first.len() {
                    let separators: &[&str] = if number == 0 { &["", " ", "\r", "\u{2028}"] } else { &[""] };
                    for separator in separators {
                        let torn = format!("{}{separator}{second}", &first[..cut]);
                        assert!(Line::read(&torn).is_err(), "{torn:?}");
                    }
                }
            }
        }
        let real = "9221 sra-pub-run-7 [05/Jan/2020:23:48:44 +0000] 130.14.28.32 rn:aws:iam::7839719221 sra-pub-run-6 [05/Jan/2020:23:10:20 +0000] 130.14.28.140 arn:aws:iam::651740271041:user/v A5D9D5749E3175C8 REST.GET.BUCKET - \"GET /?prefix=S HTTP/1.1\" 403 AccessDenied 243 - 14 - \"-\" \"aws-cli/1.16.87\" - kgI+= SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader b.s3.amazonaws.com TLSv1.2";
        assert_eq!(refused(real), "the seventh field is no operation");
    }

    /// The second record has lost its beginning as well.
    #[test]
    fn a_record_that_runs_into_the_middle_of_anothers_head_is_refused() {
        let whole = records().remove(0).replace(" R1 ", " D4CC66AB2DA5F4C9 ");
        let (request, id) = (whole.find(" \"GET").unwrap() + 1, whole.find(" D4CC").unwrap());
        for cut in request..whole.len() {
            for from in 1..id {
                let torn = format!("{}{}", &whole[..cut], &whole[from..]);
                assert!(Line::read(&torn).is_err(), "{torn:?}");
            }
        }
    }

    const SEPARATORS: [&str; 20] = [
        "", " ", "  ", "\t", "\r", "\0", "\u{b}", "\u{c}", "\u{1c}", "\u{85}", "\u{a0}", "\u{2028}", "\u{2029}",
        "\u{feff}", ",", ";", "\\n", "\\r\\n", " | ", "\",\"",
    ];

    /// From the oldest logs, which end with the user agent, to some of a future format.
    fn records_of_every_age() -> Vec<String> {
        let of = |agent: &str, tail: &str| line("-", "-", agent, tail).replacen("79a5", OWNER, 1).trim_end().to_owned();
        let mut all = records();
        all.extend([of("-", ""), of("\"a b\"", ""), of("-", "-"), of("-", "v1")]);
        for more in ["", " -", " - -", " - Yes", " - - new", " - - \"a b\"", " - - [a b]", " - - {\"a\": \"b c\"}"] {
            all.extend([of("-", &format!("{TAIL_2019}{more}")), of("\"a b\"", &format!("{TAIL_2019}{more}"))]);
        }
        all.push(of("-", &format!("{TAIL_2019} - -{}", " x".repeat(100))));
        all
    }

    /// Fewer than eight digits of the owner's id are not recognized.
    #[test]
    fn a_record_with_a_piece_of_the_next_is_refused_wherever_the_piece_ends() {
        let second = line("-", "-", "-", TAIL_2019).replacen("79a5 bucket", &format!("{OWNER} other-bucket"), 1);
        for first in records_of_every_age() {
            assert!(Line::read(&first).is_ok(), "{first}");
            for separator in SEPARATORS {
                for cut in 8..=second.len() {
                    let torn = format!("{first}{separator}{}", &second[..cut]);
                    assert!(Line::read(&torn).is_err(), "{torn:?}");
                }
            }
        }
    }

    const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_piece_of_another_owners_record_is_refused_once_it_holds_the_bucket_or_a_part_of_the_time() {
        let first = line("-", "-", "\"agent\"", &format!("{TAIL_2019} - Yes"));
        let next = format!("{SHA256} other [06/Feb/2019:00:00:38 +0000]");
        for cut in next.find('[').unwrap() + 1..next.len() {
            assert!(Line::read(&format!("{first} {}", &next[..cut])).is_err(), "{cut}");
        }
        for separator in ["", " ", "\t", "\u{2028}"] {
            assert!(Line::read(&format!("{first}{separator}{SHA256} bucket")).is_err(), "{separator:?}");
        }
        assert_eq!(read(&format!("{first} {SHA256} other")).extra, [Some(SHA256), Some("other")]);
    }

    /// The first record has lost its beginning.
    #[test]
    fn a_record_behind_what_is_left_of_another_is_refused_wherever_that_begins() {
        for first in records_of_every_age() {
            for second in records() {
                for from in 0..first.len() {
                    // All separators only for some cuts: they take as long as all other cases together, and behave
                    // alike.
                    let separators =
                        if from % 16 == 0 || from + 16 > first.len() { &SEPARATORS[..] } else { &["", " "] };
                    for separator in separators {
                        let torn = format!("{}{separator}{second}", &first[from..]);
                        assert!(Line::read(&torn).is_err(), "{torn:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn two_records_in_one_line_are_refused_whatever_stands_between_them() {
        for (first, second) in
            records().iter().flat_map(|first| records().into_iter().map(move |second| (first, second)))
        {
            for separator in SEPARATORS {
                let joined = format!("{first}{separator}{second}");
                assert!(Line::read(&joined).is_err(), "{joined:?}");
            }
            // The second record is cut off as well, after its time.
            let end = second.find(']').unwrap() + 1;
            for end in end..second.len() {
                let joined = format!("{first} {}", &second[..end]);
                assert!(Line::read(&joined).is_err(), "{joined:?}");
            }
        }
    }

    #[test]
    fn a_time_that_a_client_sent_is_flagged_and_loses_no_record() {
        let time = "[06/Feb/2019:00:00:38 +0000]";
        for (uri, referrer, agent) in [
            (format!("GET /{time} HTTP/1.1"), "-", "-"),
            ("GET / HTTP/1.1".to_owned(), time, "a"),
            ("-".to_owned(), "-", time),
        ] {
            let text = line(&format!("\"{uri}\""), &format!("\"{referrer}\""), &format!("\"{agent}\""), TAIL_2019);
            assert!(read(&text).ambiguous, "{text}");
        }
    }

    /// AWS: "we might extend the access log record format by adding new fields to the end of each line".
    #[test]
    fn the_next_fields_leave_the_known_ones_as_they_are() {
        let known = |line: &Line<'_>| -> Vec<Option<String>> {
            line.iter().map(|(.., value)| value.map(str::to_owned)).collect()
        };
        let time = "[12/May/2025:08:09:10 +0000]";
        for agent in ["\"aws-cli/2.15.0\"", "\"a \"b\" c\"", "\"AppleWebKit/537.36 (KHTML) Safari/604.1\"\"", "-"] {
            for host_id in ["s9lz=", "AIDAISBTT LzYG="] {
                let tail = format!(
                    "- {host_id} SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader b.s3.amazonaws.com TLSv1.2 - Yes"
                );
                let today = line("\"GET / HTTP/1.1\"", "\"-\"", agent, &tail);
                let expected = known(&read(&today));
                for (more, extra) in [
                    ("new", &["new"][..]),
                    ("\"new field with space\"", &["new field with space"]),
                    ("\"\"", &[""]),
                    ("\"one field\" \"another field\"", &["one field", "another field"]),
                    ("\"one field\" x", &["one field", "x"]),
                    ("x \"one field\" y", &["x", "one field", "y"]),
                    ("\"say \"hi\", he said\"", &["say \"hi\", he said"]),
                    (time, &[time]),
                    ("[a b c] d", &["[a b c]", "d"]),
                    ("[\"a ] b\", {\"c\": [1, 2]}]", &["[\"a ] b\", {\"c\": [1, 2]}]"]),
                    ("{\"k\": \"v w\"}", &["{\"k\": \"v w\"}"]),
                    ("{\"k\" : \"v } w\" , \"l\": {}} x", &["{\"k\" : \"v } w\" , \"l\": {}}", "x"]),
                    ("{k: v w} x", &["{k: v w}", "x"]),
                    ("[open ]x", &["[open", "]x"]),
                    ("d41d8cd98f00b204e9800998ecf8427e 79a59d", &["d41d8cd98f00b204e9800998ecf8427e", "79a59d"]),
                    (SHA256, &[SHA256]),
                    (
                        &format!("\"{OWNER}\" {{\"owner\": \"{OWNER}\"}}"),
                        &[OWNER, &format!("{{\"owner\": \"{OWNER}\"}}")],
                    ),
                    ("{\"open\": x", &["{\"open\":", "x"]),
                    ("a=b key=\"v\"", &["a=b", "key=\"v\""]),
                ] {
                    let text = format!("{today} {more}");
                    let line = read(&text);
                    assert_eq!(known(&line), expected, "{text}");
                    let found: Vec<_> = line.extra.iter().map(|field| field.unwrap_or("-")).collect();
                    assert_eq!(found, extra, "{text}");
                    assert!(!line.ambiguous, "{text}");
                }
            }
        }
    }

    #[test]
    fn more_new_fields_than_are_told_apart_lose_neither_the_record_nor_themselves() {
        let more = ["x"; 100].join(" ");
        let text = format!("{} - - {more}", line("-", "-", "-", TAIL_2019));
        let extra = read(&text).extra;
        assert_eq!(extra.iter().flatten().copied().collect::<Vec<_>>().join(" "), more);
    }

    #[test]
    fn what_is_no_record_is_refused_with_the_reason() {
        assert_eq!(refused("line1 blah"), "the line has fewer than 17 fields");
        assert_eq!(refused("a b c d"), "the third field is no time");
        assert_eq!(refused("line1 \u{7}"), "the line has fewer than 17 fields");
        assert_eq!(refused(&line("-", "-", "-", "\0")), "the line holds a NUL byte");
        assert_eq!(refused(&line("\"url\"", "-", "-", "-")), "the request names no method");
        assert_eq!(refused(&line("-", "-", "-", "a b c")), "the fields after the key are none of an access log");
        let doubled = line("-", "-", "\"a\"", &format!("{TAIL_2019} - Yes new  field"));
        assert_eq!(refused(&doubled), "the fields after the key are none of an access log");
        let quotes = "\" ".repeat(QUOTES_MAX + 1);
        assert_eq!(refused(&line("-", "-", &quotes, "-")), "the line has more quotes than S3 takes");
    }

    #[test]
    fn what_follows_a_record_is_no_part_of_it() {
        for end in [" ", "\";", "  ", "\"; "] {
            let text = format!("{}{end}", line("-", "-", "-", TAIL_2019));
            assert_eq!(read(&text).get(Field::TlsVersion), Some("TLSv1.2"), "{end:?}");
        }
    }

    #[test]
    fn words_that_nobody_knows_yet_do_not_lose_the_record() {
        let text = line("-", "-", "-", "- host V5 CIPHER Auth-2 b.s3.amazonaws.com QUIC");
        assert_eq!(read(&text).get(Field::TlsVersion), Some("QUIC"));
    }

    #[test]
    fn a_line_of_quotes_is_read_in_bounded_time() {
        let text = line("\"GET / HTTP/1.1\"", &"\" ".repeat(QUOTES_MAX / 2), "\"a\"", "-");
        assert!(Line::read(&text).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_a_line_or_refused(text in "\\PC*") {
            let _ = Line::read(&text);
        }

        #[test]
        fn pieces_of_lines_are_lines_or_refused(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("-"), Just("\"-\""), Just("\""), Just("\"a"), Just("a\""), Just("200"), Just(HEAD), Just(NUMBERS),
                    Just(TAIL_2019), Just(""), Just("[06/Feb/2019:00:00:38 +0000]"), Just("é")
                ],
                0..40,
            )
        ) {
            let text = parts.join(" ");
            if let Ok(line) = Line::read(&text) {
                // No value is invented: each stands in the line.
                for (_, _, value) in line.iter() {
                    prop_assert!(value.is_none_or(|value| text.contains(value)));
                }
            }
        }
    }
}
