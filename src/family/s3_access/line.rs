//! Takes a line of a server access log apart, whoever's quotes it holds.

use crate::family::Refusal;

/// The fields in the order in which a line has them (S3 user guide, "Amazon S3 server access log format").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(super) enum Field {
    BucketOwner,
    Bucket,
    Time,
    RemoteIp,
    Requester,
    RequestId,
    Operation,
    Key,
    RequestUri,
    HttpStatus,
    ErrorCode,
    BytesSent,
    ObjectSize,
    TotalTime,
    TurnAroundTime,
    Referrer,
    UserAgent,
    VersionId,
    HostId,
    SignatureVersion,
    CipherSuite,
    AuthenticationType,
    HostHeader,
    TlsVersion,
    AccessPointArn,
    AclRequired,
}

pub(super) const FIELDS: usize = 26;

/// What each field is called.
const NAMES: [(Field, &str); FIELDS] = [
    (Field::BucketOwner, "bucket_owner"),
    (Field::Bucket, "bucket"),
    (Field::Time, "time"),
    (Field::RemoteIp, "remote_ip"),
    (Field::Requester, "requester"),
    (Field::RequestId, "request_id"),
    (Field::Operation, "operation"),
    (Field::Key, "key"),
    (Field::RequestUri, "request_uri"),
    (Field::HttpStatus, "http_status"),
    (Field::ErrorCode, "error_code"),
    (Field::BytesSent, "bytes_sent"),
    (Field::ObjectSize, "object_size"),
    (Field::TotalTime, "total_time"),
    (Field::TurnAroundTime, "turn_around_time"),
    (Field::Referrer, "referrer"),
    (Field::UserAgent, "user_agent"),
    (Field::VersionId, "version_id"),
    (Field::HostId, "host_id"),
    (Field::SignatureVersion, "signature_version"),
    (Field::CipherSuite, "cipher_suite"),
    (Field::AuthenticationType, "authentication_type"),
    (Field::HostHeader, "host_header"),
    (Field::TlsVersion, "tls_version"),
    (Field::AccessPointArn, "access_point_arn"),
    (Field::AclRequired, "acl_required"),
];

/// S3 takes at most 8 KB of headers, so that no line it writes has more quotes than this many.
const QUOTES_MAX: usize = 10_000;

/// Fields after the last that is known. A line with more is not understood.
const EXTRA_MAX: usize = 64;

/// Of the places where the request may end, and of those of one rank where the user agent may, as many are looked at.
const ENDS_MAX: usize = 8;

/// One record, taken apart. Fields without a value (`-`, `"-"`, or not written by that age of the log) are none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line<'a> {
    fields: [Option<&'a str>; FIELDS],
    /// What stands after the last field that is known.
    pub extra: Vec<Option<&'a str>>,
    /// The line can be read in several ways, since quotes in what a client sent are not escaped.
    pub ambiguous: bool,
}

impl<'a> Line<'a> {
    /// Reads a line from left to right. S3 escapes nothing: a quoted field ends at the first quote after which the
    /// rest of the line is what the format says.
    pub(super) fn read(text: &'a str) -> Result<Self, Refusal> {
        if memchr::memchr(0, text.as_bytes()).is_some() {
            return Err(Refusal::new("the line holds a NUL byte"));
        }
        let text = trimmed(text);
        let mut line = Self { fields: [None; FIELDS], extra: Vec::new(), ambiguous: false };
        let at = line.head(text)?;
        if !line.straight(text, at) {
            let reading = search(text, at)?;
            line.ambiguous = reading.ambiguous;
            line.fill(text, at, &reading);
        }
        line.check()
    }

    pub(super) fn get(&self, field: Field) -> Option<&'a str> {
        self.fields[field as usize]
    }

    /// Each field with its name and value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Field, &'static str, Option<&'a str>)> {
        NAMES.into_iter().zip(self.fields).map(|((field, name), value)| (field, name, value))
    }

    /// The eight fields that a client cannot write spaces into. Returns where the request begins.
    fn head(&mut self, text: &'a str) -> Result<usize, Refusal> {
        let mut at = 0;
        for index in Field::BucketOwner as usize..=Field::Key as usize {
            let (value, next) = if index == Field::Time as usize {
                time(text, at).ok_or(Refusal::new("the third field is no time"))?
            } else {
                token(text, at).ok_or(Refusal::new("the line has fewer than 17 fields"))?
            };
            self.fields[index] = value;
            at = next.ok_or(Refusal::new("the line has fewer than 17 fields"))?;
        }
        let operation = self.get(Field::Operation).unwrap_or_default();
        if !operation.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
            return Err(Refusal::new("the seventh field is no operation"));
        }
        Ok(at)
    }

    /// Reads the rest as if no client had sent a quote. False when one may have.
    fn straight(&mut self, text: &'a str, at: usize) -> bool {
        let Some((uri, next)) = first_end(text, at) else { return false };
        let Some((middle, next)) = next.and_then(|next| middle(text, next)) else { return false };
        let Some((referrer, next)) = first_end(text, next) else { return false };
        let Some((agent, next)) = next.and_then(|next| first_end(text, next)) else { return false };
        let from = next.unwrap_or(text.len());
        if memchr::memchr(b'"', &text.as_bytes()[from..]).is_some() {
            return false;
        }
        let Some(tail) = Tail::read(text, from) else { return false };
        self.fields[Field::RequestUri as usize] = uri;
        self.set_middle(middle);
        self.fields[Field::Referrer as usize] = referrer;
        self.fields[Field::UserAgent as usize] = agent;
        self.set_tail(text, tail);
        true
    }

    fn fill(&mut self, text: &'a str, at: usize, reading: &Reading) {
        self.fields[Field::RequestUri as usize] = value(&text[at..reading.uri_end]);
        if let Some((middle, referrer)) = middle(text, reading.uri_end + 1) {
            self.set_middle(middle);
            self.fields[Field::Referrer as usize] = value(&text[referrer..reading.referrer_end]);
            self.fields[Field::UserAgent as usize] = value(&text[reading.referrer_end + 1..reading.agent_end]);
        }
        let from = (reading.agent_end + 1).min(text.len());
        if let Some(tail) = Tail::read(text, from) {
            self.set_tail(text, tail);
        }
    }

    fn set_middle(&mut self, middle: [Option<&'a str>; MIDDLE]) {
        let first = Field::HttpStatus as usize;
        self.fields[first..first + MIDDLE].copy_from_slice(&middle);
    }

    fn set_tail(&mut self, text: &'a str, tail: Tail) {
        let first = Field::VersionId as usize;
        for (field, (start, end)) in self.fields[first..].iter_mut().zip(tail.known()) {
            *field = value(&text[*start..*end]);
        }
        self.extra = tail.extra.iter().map(|(start, end)| value(&text[*start..*end])).collect();
    }

    /// Refuses what only looks like a record, and flags what may be one only in part.
    fn check(mut self) -> Result<Self, Refusal> {
        if let Some(uri) = self.get(Field::RequestUri) {
            if holds_time(uri) {
                return Err(Refusal::new("the request holds the beginning of another record"));
            }
            // A method alone, or whatever stands before a space, is what a client may have sent.
            if !uri.is_empty() && !uri.bytes().any(|byte| byte == b' ' || byte.is_ascii_uppercase()) {
                return Err(Refusal::new("the request names no method"));
            }
        }
        let sent = [Field::Referrer, Field::UserAgent];
        if sent.into_iter().filter_map(|field| self.get(field)).any(holds_time) {
            self.ambiguous = true;
        }
        Ok(self)
    }
}

/// A field's value, without its quotes; none for `-` and `"-"`.
fn value(field: &str) -> Option<&str> {
    let bare = field.strip_prefix('"').and_then(|open| open.strip_suffix('"')).unwrap_or(field);
    (bare != "-").then_some(bare)
}

/// Spaces at the end, and the `";` after records that were copied out of source code, are no part of the line.
fn trimmed(text: &str) -> &str {
    let text = text.trim_end();
    text.strip_suffix("\";").unwrap_or(text)
}

/// A value, and where the next field begins, unless the line ends here.
type Read<'a> = (Option<&'a str>, Option<usize>);

/// The field up to the next space.
fn token(text: &str, at: usize) -> Option<Read<'_>> {
    let rest = text.get(at..)?;
    let (field, next) = match memchr::memchr(b' ', rest.as_bytes()) {
        Some(length) => (&rest[..length], Some(at + length + 1)),
        None => (rest, None),
    };
    (!field.is_empty()).then(|| (value(field), next))
}

/// `[06/Feb/2019:00:00:38 +0000]`, without the brackets, or nothing.
fn time(text: &str, at: usize) -> Option<Read<'_>> {
    const LENGTH_MAX: usize = 40;
    let bytes = text.as_bytes();
    if bytes.get(at) != Some(&b'[') {
        return token(text, at).filter(|(value, _)| value.is_none());
    }
    let inside = &bytes[at + 1..bytes.len().min(at + LENGTH_MAX)];
    let end = at + 1 + memchr::memchr(b']', inside)?;
    let next = (bytes.get(end + 1) == Some(&b' ')).then_some(end + 2);
    let time = text.get(at + 1..end)?;
    (!time.contains('[')).then_some((Some(time), next))
}

/// A field that may be quoted, up to its first quote that a space or the line's end follows.
fn first_end(text: &str, at: usize) -> Option<Read<'_>> {
    let bytes = text.as_bytes();
    if bytes.get(at) != Some(&b'"') {
        return token(text, at).filter(|(value, _)| value.is_none_or(|bare| !bare.contains('"')));
    }
    let end = at + 1 + memchr::memchr(b'"', &bytes[at + 1..])?;
    let next = match bytes.get(end + 1) {
        None => None,
        Some(b' ') => Some(end + 2),
        Some(_) => return None,
    };
    Some((value(&text[at..=end]), next))
}

/// Status, error, bytes sent, object size, total time, turn-around time.
const MIDDLE: usize = 6;

/// The six fields between request and referrer, and where the referrer begins.
fn middle(text: &str, mut at: usize) -> Option<([Option<&str>; MIDDLE], usize)> {
    let mut fields = [None; MIDDLE];
    for (index, field) in fields.iter_mut().enumerate() {
        let (value, next) = token(text, at)?;
        let fits = match (index, value) {
            (_, None) => true,
            (0, Some(status)) => status.len() == 3 && is_number(status),
            (1, Some(error)) => !error.contains('"'),
            (_, Some(number)) => is_number(number),
        };
        if !fits {
            return None;
        }
        *field = value;
        at = next?;
    }
    Some((fields, at))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// How well the fields after the user agent are what the format says, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Rank {
    /// Seven fields, eight or nine.
    Exact,
    /// As before, with a space in the host id, as real logs have it.
    SplitHostId,
    /// More fields than are known today.
    Extra,
    /// One field, as until 2019.
    Old,
    /// So many fields, but what stands for the signature, the authentication or the protocol is none that is known.
    Strange,
    /// Nothing at all: logs from before versions were kept.
    NoVersion,
}

/// The fields after the user agent, by their places in the line.
struct Tail {
    rank: Rank,
    places: [(usize, usize); TAIL + 1],
    count: usize,
    extra: Vec<(usize, usize)>,
}

/// From the version id to whether an ACL was required.
const TAIL: usize = FIELDS - Field::VersionId as usize;

impl Tail {
    /// What stands from `at` on, which is behind the space after the user agent, or the end of the line.
    fn read(text: &str, at: usize) -> Option<Self> {
        let mut tail = Self { rank: Rank::NoVersion, places: [(0, 0); TAIL + 1], count: 0, extra: Vec::new() };
        let mut next = (at < text.len()).then_some(at);
        while let (Some(start), true) = (next, tail.count <= TAIL) {
            let (bare, after) = token(text, start)?;
            if bare.is_some_and(|bare| begins_time(bare) || memchr::memchr(b'"', bare.as_bytes()).is_some()) {
                return None;
            }
            tail.places[tail.count] = (start, after.map_or(text.len(), |after| after - 1));
            tail.count += 1;
            next = after;
        }
        while let Some(start) = next {
            let (bare, after) = first_end(text, start)?;
            let end = after.map_or(text.len(), |after| after - 1);
            if tail.extra.len() == EXTRA_MAX || bare.is_some_and(begins_time) {
                return None;
            }
            tail.extra.push((start, end));
            next = after;
        }
        tail.judge(text)?;
        Some(tail)
    }

    /// Ranks the reading, and closes a host id that a space parts.
    fn judge(&mut self, text: &str) -> Option<()> {
        const SINCE_2019: usize = 7;
        let total = self.count + self.extra.len();
        self.rank = match total {
            0 => Rank::NoVersion,
            1 => Rank::Old,
            2..SINCE_2019 => return None,
            SINCE_2019..=TAIL if self.speaks(text, 0) => Rank::Exact,
            _ if self.speaks(text, 0) => Rank::Extra,
            _ if total > SINCE_2019 && self.speaks(text, 1) => {
                const HOST_ID: usize = Field::HostId as usize - Field::VersionId as usize;
                self.places[HOST_ID].1 = self.places[HOST_ID + 1].1;
                self.places.copy_within(HOST_ID + 2.., HOST_ID + 1);
                self.count -= 1;
                if total - 1 <= TAIL { Rank::SplitHostId } else { Rank::Extra }
            }
            _ => Rank::Strange,
        };
        // The places hold one more than there are fields, for a host id of two parts.
        if self.count > TAIL {
            self.count = TAIL;
            self.extra.insert(0, self.places[TAIL]);
        }
        Some(())
    }

    /// Whether signature version, authentication type and TLS version are, `shift` fields late, what S3 writes there.
    fn speaks(&self, text: &str, shift: usize) -> bool {
        let field = |field: Field| {
            let (start, end) = self.places[field as usize - Field::VersionId as usize + shift];
            value(&text[start..end])
        };
        let begins = |text: &str, word: &str| {
            text.as_bytes().get(..3).is_some_and(|first| first.eq_ignore_ascii_case(word.as_bytes()))
        };
        field(Field::SignatureVersion).is_none_or(|version| begins(version, "sig"))
            && field(Field::AuthenticationType)
                .is_none_or(|kind| !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphabetic()))
            && field(Field::TlsVersion).is_none_or(|version| begins(version, "tls") || begins(version, "ssl"))
    }

    fn known(&self) -> &[(usize, usize)] {
        &self.places[..self.count]
    }
}

/// Where the three fields end that a client may have written quotes and spaces into.
#[derive(Clone, Copy, Debug)]
struct Reading {
    uri_end: usize,
    referrer_end: usize,
    agent_end: usize,
    rank: Rank,
    ambiguous: bool,
}

/// Tries each way to read the line from the request on. The best rank counts, and in it the first ends.
fn search(text: &str, at: usize) -> Result<Reading, Refusal> {
    let no_reading = Refusal::new("the fields after the key are none of an access log");
    let ends = quote_ends(text, at).ok_or(Refusal::new("the line has more quotes than S3 takes"))?;
    let agents = agent_ends(text, &ends);
    let mut best: Option<Reading> = None;
    let mut readings = 0;
    let requests = field_ends(text, at, &ends)
        .filter_map(|uri_end| middle(text, uri_end + 1).map(|(_, referrer)| (uri_end, referrer)));
    for (uri_end, referrer) in requests.take(ENDS_MAX) {
        for referrer_end in field_ends(text, referrer, &ends) {
            let agent = referrer_end + 1;
            for (agent_end, rank) in agents_from(text, agent, &agents) {
                readings += u32::from(rank < Rank::Strange);
                if best.is_none_or(|best| rank < best.rank) {
                    best = Some(Reading { uri_end, referrer_end, agent_end, rank, ambiguous: false });
                }
            }
        }
    }
    let best = best.ok_or(no_reading)?;
    Ok(Reading { ambiguous: readings > 1, ..best })
}

/// The places just behind quotes that a space or the line's end follows.
fn quote_ends(text: &str, at: usize) -> Option<Vec<usize>> {
    let bytes = text.as_bytes();
    let mut ends = Vec::new();
    for (count, quote) in memchr::memchr_iter(b'"', bytes.get(at..)?).enumerate() {
        if count == QUOTES_MAX {
            return None;
        }
        let end = at + quote + 1;
        if bytes.get(end).is_none_or(|next| *next == b' ') {
            ends.push(end);
        }
    }
    Some(ends)
}

/// Where the field that begins at `at` may end: at any of the quotes when it is quoted, else at the next space.
fn field_ends(text: &str, at: usize, ends: &[usize]) -> impl Iterator<Item = usize> {
    let is_quoted = text.as_bytes().get(at) == Some(&b'"');
    let from = ends.partition_point(|end| *end < at + 2);
    let quoted = ends[if is_quoted { from } else { ends.len() }..].iter().copied();
    quoted.chain((!is_quoted).then(|| bare_end(text, at)).flatten())
}

fn bare_end(text: &str, at: usize) -> Option<usize> {
    let rest = text.as_bytes().get(at..)?;
    let length = memchr::memchr2(b' ', b'"', rest).unwrap_or(rest.len());
    (length > 0 && rest.get(length) != Some(&b'"')).then_some(at + length)
}

/// The quotes after which the line may go on as it does after the user agent.
fn agent_ends(text: &str, ends: &[usize]) -> Vec<(usize, Rank)> {
    let mut taken: Vec<(usize, Rank)> = Vec::new();
    for end in ends {
        let Some(tail) = Tail::read(text, (end + 1).min(text.len())) else { continue };
        if taken.iter().filter(|(_, rank)| *rank == tail.rank).count() < ENDS_MAX {
            taken.push((*end, tail.rank));
        }
    }
    taken
}

/// Where the user agent that begins at `at` may end.
fn agents_from(text: &str, at: usize, agents: &[(usize, Rank)]) -> impl Iterator<Item = (usize, Rank)> {
    let is_quoted = text.as_bytes().get(at) == Some(&b'"');
    let quoted = agents.iter().copied().filter(move |(end, _)| is_quoted && *end >= at + 2);
    let bare = (!is_quoted).then(|| bare_end(text, at)).flatten();
    let bare = bare.and_then(|end| Tail::read(text, (end + 1).min(text.len())).map(|tail| (end, tail.rank)));
    quoted.chain(bare)
}

/// Whether a field is the first half of a record's time: then two records stand in one line.
fn begins_time(field: &str) -> bool {
    field.starts_with('[') && field.contains('/')
}

/// Whether the text holds what only the third field of a record looks like.
fn holds_time(text: &str) -> bool {
    const LENGTH: usize = "[06/Feb/2019:00:00:38 +0000]".len();
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'[', bytes).filter_map(|at| bytes.get(at..at + LENGTH)).any(|time| {
        time.iter().zip(b"[00/Xxx/0000:00:00:00 +0000]").all(|(byte, like)| match like {
            b'0' => byte.is_ascii_digit(),
            b'X' | b'x' => byte.is_ascii_alphabetic(),
            b'+' => matches!(byte, b'+' | b'-'),
            other => byte == other,
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
