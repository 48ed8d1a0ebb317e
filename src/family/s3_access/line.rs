//! Takes a line of a server access log apart, whoever's quotes it holds.

use std::borrow::Cow;

use crate::event::Text;
use crate::family::redaction::{HASHED, MASKED};
use crate::family::refusal::Refusal;
use crate::family::s3_access::field::{FIELDS, Field, NAMES};
use crate::family::s3_access::reading::{Reading, search};
use crate::family::s3_access::tail::Tail;
use crate::family::s3_access::token::{Cursor, MIDDLE, holds_head, holds_quote, holds_time, is_plain, trimmed, value};

/// One record, taken apart. Fields without a value (`-`, `"-"`, or not written by that age of the log) are none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line<'a> {
    fields: [Option<&'a str>; FIELDS],
    /// What stands after the last field that is known.
    pub extra: Vec<Option<&'a str>>,
    /// The line can be read in several ways, since quotes in what a client sent are not escaped.
    pub ambiguous: bool,
    /// No field holds what JSON escapes.
    is_plain: bool,
}

impl<'a> Line<'a> {
    /// Reads a line from left to right. S3 escapes nothing: a quoted field ends at the first quote after which the
    /// rest of the line is what the format says.
    pub(super) fn read(text: &'a str) -> Result<Self, Refusal> {
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
        line.head(&mut cursor)?;
        let at = cursor.at();
        if line.straight(text, cursor) {
            // The fields behind `at` hold no quotes then.
            line.is_plain = is_plain && !holds_quote(&text[..at]);
        } else {
            let reading = search(text, at)?;
            line.ambiguous = reading.ambiguous;
            line.fill(text, at, &reading);
        }
        line.check()?;
        Ok(line)
    }

    pub(super) fn get(&self, field: Field) -> Option<&'a str> {
        self.fields[field as usize]
    }

    /// A part of one of the fields as text, which is written without a look at its bytes where that can be.
    pub(super) fn text(&self, part: &'a str) -> Text<'a> {
        if self.is_plain { Text::Escaped(part) } else { Text::from(part) }
    }

    /// The same of what may no longer be as it stands in the line.
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

    /// The eight fields that a client cannot write spaces into, which something follows.
    fn head(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Refusal> {
        const FEW: Refusal = Refusal { reason: Cow::Borrowed("the line has fewer than 17 fields") };
        for index in Field::BucketOwner as usize..=Field::Key as usize {
            self.fields[index] = if index == Field::Time as usize {
                cursor.time().ok_or(Refusal::new("the third field is no time"))?
            } else {
                value(cursor.field().ok_or(FEW)?)
            };
            if cursor.is_at_end() {
                return Err(FEW);
            }
        }
        let operation = self.get(Field::Operation).unwrap_or_default();
        if !operation.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
            return Err(Refusal::new("the seventh field is no operation"));
        }
        Ok(())
    }

    /// Reads the rest as if no client had sent a quote. False when one may have.
    fn straight(&mut self, text: &'a str, mut cursor: Cursor<'a>) -> bool {
        let Some(uri) = cursor.first_end() else { return false };
        let Some(middle) = cursor.middle() else { return false };
        let Some(referrer) = cursor.first_end() else { return false };
        let Some(agent) = cursor.first_end() else { return false };
        let Some(tail) = Tail::read(text, cursor.at()).filter(|tail| !tail.has_quote) else { return false };
        self.fields[Field::RequestUri as usize] = uri;
        self.set_middle(middle);
        self.fields[Field::Referrer as usize] = referrer;
        self.fields[Field::UserAgent as usize] = agent;
        self.set_tail(&tail);
        true
    }

    fn fill(&mut self, text: &'a str, at: usize, reading: &Reading) {
        self.fields[Field::RequestUri as usize] = value(&text[at..reading.uri_end]);
        let mut cursor = Cursor::new(text, reading.uri_end + 1);
        if let Some(middle) = cursor.middle() {
            self.set_middle(middle);
            self.fields[Field::Referrer as usize] = value(&text[cursor.at()..reading.referrer_end]);
            self.fields[Field::UserAgent as usize] = value(&text[reading.referrer_end + 1..reading.agent_end]);
        }
        let from = (reading.agent_end + 1).min(text.len());
        if let Some(tail) = Tail::read(text, from) {
            self.set_tail(&tail);
        }
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

    /// Refuses what only looks like a record, and flags what may be one only in part.
    fn check(&mut self) -> Result<(), Refusal> {
        if let Some(uri) = self.get(Field::RequestUri) {
            if holds_time(uri) {
                return Err(Refusal::new("the request holds the beginning of another record"));
            }
            // A method alone, or whatever stands before a space, is what a client may have sent.
            let is_redacted = uri == MASKED || uri.starts_with(HASHED);
            if !uri.is_empty() && !is_redacted && !uri.bytes().any(|byte| byte == b' ' || byte.is_ascii_uppercase()) {
                return Err(Refusal::new("the request names no method"));
            }
        }
        for sent in [self.get(Field::Referrer), self.get(Field::UserAgent)].into_iter().flatten() {
            if holds_head(sent) {
                return Err(Refusal::new("what the client sent holds the beginning of another record"));
            }
            self.ambiguous |= holds_time(sent);
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
        // A reading that needs no fields that nobody knows is taken.
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

    #[test]
    fn two_records_in_one_line_are_refused() {
        let whole = line("\"GET / HTTP/1.1\"", "\"-\"", "\"agent\"", TAIL_2019);
        let referrer = whole.find("\"-\"").unwrap();
        // A cut in the first field leaves what looks like one record.
        let second = whole.find(' ').unwrap() + 1;
        for cut in second..whole.len() {
            let spliced = format!("{}{whole}", &whole[..cut]);
            match Line::read(&spliced) {
                Err(_) => {}
                // From the referrer on it may be what a client sent.
                Ok(line) => assert!(cut >= referrer && line.ambiguous, "{spliced}"),
            }
        }
        let real = "9221 sra-pub-run-7 [05/Jan/2020:23:48:44 +0000] 130.14.28.32 rn:aws:iam::7839719221 sra-pub-run-6 [05/Jan/2020:23:10:20 +0000] 130.14.28.140 arn:aws:iam::651740271041:user/v A5D9D5749E3175C8 REST.GET.BUCKET - \"GET /?prefix=S HTTP/1.1\" 403 AccessDenied 243 - 14 - \"-\" \"aws-cli/1.16.87\" - kgI+= SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader b.s3.amazonaws.com TLSv1.2";
        assert_eq!(refused(real), "the seventh field is no operation");
    }

    #[test]
    fn what_is_no_record_is_refused_with_the_reason() {
        assert_eq!(refused("line1 blah"), "the line has fewer than 17 fields");
        assert_eq!(refused("a b c d"), "the third field is no time");
        assert_eq!(refused("line1 \u{7}"), "the line has fewer than 17 fields");
        assert_eq!(refused(&line("-", "-", "-", "\0")), "the line holds a NUL byte");
        assert_eq!(refused(&line("\"url\"", "-", "-", "-")), "the request names no method");
        assert_eq!(refused(&line("-", "-", "-", "a b c")), "the fields after the key are none of an access log");
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
                // Nothing is made up: each value stands in the line.
                for (_, _, value) in line.iter() {
                    prop_assert!(value.is_none_or(|value| text.contains(value)));
                }
            }
        }
    }
}
