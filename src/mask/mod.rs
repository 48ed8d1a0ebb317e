//! Masks secrets in records: values that their names mark as secrets, secrets in addresses, queries and command lines,
//! and secrets with a known shape. It scans a record's text from left to right, whatever notations are nested in it.

mod address;

mod bounds;

mod flag;

mod literal;

mod name;

mod names;

mod search;

mod shape;

mod sight;

mod sql;

mod unit;

mod value;

use std::cell::OnceCell;
use std::ops::Range;

use name::Name;
use search::{Ends, Found, next_beginning};

/// Written in place of a secret.
pub(crate) const MASK: &str = "***";

/// Marks that sources put at the end of a value that they truncated: Databricks, and YDB's monitoring. They are not
/// masked.
const CUT_SHORT: &[&[u8]] = &[b"... truncated", b"**TRUNCATED_BY_YDB**"];

/// The record with `***` in place of its secrets. `None` if it has none. JSON stays JSON, and one line stays one line.
/// The work is linear in the record's length, whatever it contains.
pub fn masked(record: &[u8]) -> Option<Vec<u8>> {
    let mut scan = Scan::of(record);
    scan.run();
    (!scan.cuts.is_empty()).then(|| scan.applied())
}

/// The position of a secret. If its mask must be a string, also the number of backslashes before each of the mask's
/// quotes.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Cut {
    at: Range<usize>,
    quotes: Option<usize>,
}

/// How values end in a text.
#[derive(Clone, Copy)]
struct Form {
    /// Whether a double quote without a backslash ends the text that contains a value.
    is_quoted: bool,
    /// Whether the text has fields without quotes, of which `, name=` begins the next.
    has_fields: bool,
}

/// One scan of a text, from left to right.
struct Scan<'t> {
    bytes: &'t [u8],
    form: OnceCell<Form>,
    /// Whether the text begins with a time.
    is_timed: bool,
    /// Whether the text is a line of an access log, in which only quoted fields contain blanks.
    is_access: bool,
    /// The position up to which quotes were counted, and their number.
    counted: (usize, usize),
    /// The end of the unquoted field in which a value was last searched.
    field_end: usize,
    /// The position up to which rows of an insertion were read.
    rows_end: usize,
    cuts: Vec<Cut>,
    /// The position after the last secret.
    floor: usize,
    /// Bytes that were examined besides the search: for tests of linear work.
    steps: usize,
}

impl<'t> Scan<'t> {
    fn of(bytes: &'t [u8]) -> Self {
        let is_timed = bytes.first().is_some_and(u8::is_ascii_digit) && bytes.get(10) == Some(&b'T');
        let is_json = matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['));
        Self {
            bytes,
            form: OnceCell::new(),
            is_timed,
            is_access: !is_timed && !is_json,
            counted: (0, 0),
            field_end: 0,
            rows_end: 0,
            cuts: Vec::new(),
            floor: 0,
            steps: 0,
        }
    }

    /// How values end in this text. Determined when the first value needs it.
    fn form(&self) -> &Form {
        self.form.get_or_init(|| {
            let head = &self.bytes[..self.bytes.len().min(value::HEAD_MAX)];
            let find = |text: &[u8]| memchr::memmem::find(head, text);
            let fields = find(b"component=").or_else(|| find(b"AUDIT: "));
            // If an object comes before the fields, the fields are inside it.
            let is_object = || find(b"{\"").is_some_and(|object| fields.is_none_or(|fields| object < fields));
            Form { is_quoted: !self.is_timed || is_object(), has_fields: fields.is_some() }
        })
    }

    fn run(&mut self) {
        // No name ends before the text's first byte, but a scheme or an escaped sign may be there.
        if matches!(self.bytes.first(), Some(b':' | b'%')) {
            self.end_of_name(0);
        }
        let mut ends = Ends::of(self.bytes);
        let mut end = ends.next(self.floor);
        let mut beginning = next_beginning(self.bytes, self.floor);
        loop {
            match (end, beginning) {
                (Some(place), found) if found.is_none_or(|(beginning, _)| place <= beginning) => {
                    if place >= self.floor {
                        self.end_of_name(place);
                    }
                    end = ends.next((place + 1).max(self.floor));
                }
                (_, Some((place, index))) => {
                    if place >= self.floor {
                        self.beginning((place, index));
                    }
                    beginning = next_beginning(self.bytes, (place + 1).max(self.floor));
                }
                _ => return,
            }
        }
    }

    /// Handles a position before which a name may end.
    #[inline]
    fn end_of_name(&mut self, end: usize) {
        if !self.is_access || self.is_within_quotes(end) {
            return self.value_behind(end);
        }
        let whole = self.bytes;
        if whole[end..].starts_with(b"=\"") {
            return self.quoted_field(end);
        }
        // A value in a field ends with the field.
        if end >= self.field_end {
            let rest = &whole[end..];
            let length = memchr::memchr2(b' ', b'"', rest).unwrap_or(rest.len());
            self.steps += length;
            self.field_end = end + length;
        }
        self.bytes = &whole[..self.field_end];
        self.value_behind(end);
        self.bytes = whole;
    }

    /// Masks the quoted value of a field whose name is a secret's: `name="x"`.
    fn quoted_field(&mut self, end: usize) {
        let name = Name::before(self.bytes, end, self.floor).filter(|name| name.kind == names::Kind::Secret);
        let from = end + 2;
        let ends = |at: &usize| unit::slashes_before(self.bytes, from + at, from).is_multiple_of(2);
        if name.is_some()
            && let Some(length) = memchr::memchr_iter(b'"', &self.bytes[from..]).find(ends)
        {
            self.steps += length;
            self.cut(from..from + length);
        }
    }

    /// Whether the position in a line of an access log is within quotes.
    fn is_within_quotes(&mut self, at: usize) -> bool {
        let (from, quotes) = self.counted;
        if at > from {
            self.steps += at - from;
            // Servers that write `time="..."` escape quotes. S3 does not.
            let escapes = self.bytes.starts_with(b"time=");
            let is_quote =
                |quote: &usize| !escapes || unit::slashes_before(self.bytes, from + quote, 0).is_multiple_of(2);
            let more = memchr::memchr_iter(b'"', &self.bytes[from..at]).filter(is_quote).count();
            self.counted = (at, quotes + more);
        }
        self.counted.1 % 2 == 1
    }

    fn value_behind(&mut self, end: usize) {
        let bytes = self.bytes;
        let Some(&sign) = bytes.get(end) else { return };
        match sign {
            b':' if matches!(bytes.get(end + 1), Some(b'/' | b'\\')) && self.is_scheme(end) => {
                self.userinfo(end);
                return;
            }
            b'%' => {
                self.encoded_sign(end);
                return;
            }
            _ => {}
        }
        if name::may_matter(bytes, end, self.floor)
            && let Some(name) = Name::before(bytes, end, self.floor)
        {
            self.value_of(&name);
        }
        if sign == b':' && end > self.floor && bytes[end - 1].is_ascii_alphabetic() {
            self.user_of_flag(end);
        }
    }

    fn beginning(&mut self, (at, index): Found) {
        match search::BEGINNINGS[index] {
            "\"--" | "'--" => self.flag_in_list(at),
            beginning => self.shape(at, beginning),
        }
    }

    /// Masks a part of the text, unless it is masked already or says that there is no value.
    fn cut(&mut self, at: Range<usize>) {
        self.cut_as(at, None);
    }

    fn cut_as(&mut self, at: Range<usize>, quotes: Option<usize>) {
        let Some(value) = self.bytes.get(at.clone()) else { return };
        self.floor = self.floor.max(at.end);
        if value.is_empty() || value::says_nothing(value) {
            return;
        }
        let mark = CUT_SHORT.iter().find(|mark| value.ends_with(mark)).map_or(0, |mark| mark.len());
        // A request line ends with the protocol version, which stays.
        let version = value.len().saturating_sub(b" HTTP/1.1".len());
        let mark = if self.is_access && value[version..].starts_with(b" HTTP/") { value.len() - version } else { mark };
        let end = if quotes.is_none() { at.end - mark } else { at.end };
        if self.cuts.last().is_some_and(|last| last.at.end > at.start) || at.start == end {
            return;
        }
        self.cuts.push(Cut { at: at.start..end, quotes });
    }

    fn applied(&self) -> Vec<u8> {
        let mut masked = Vec::with_capacity(self.bytes.len());
        let mut from = 0;
        for cut in &self.cuts {
            masked.extend_from_slice(&self.bytes[from..cut.at.start]);
            let quote = |masked: &mut Vec<u8>| {
                if let Some(slashes) = cut.quotes {
                    masked.extend(std::iter::repeat_n(b'\\', slashes));
                    masked.push(b'"');
                }
            };
            quote(&mut masked);
            masked.extend_from_slice(MASK.as_bytes());
            quote(&mut masked);
            from = cut.at.end;
        }
        masked.extend_from_slice(&self.bytes[from..]);
        masked
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pairs of lines: a text, and the same text masked.
    const MASKED: &str = include_str!("../../tests/fixtures/secrets/masked.txt");

    const HARMLESS: &str = include_str!("../../tests/fixtures/secrets/harmless.txt");

    fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
        text.lines().filter(|line| !line.is_empty() && !line.starts_with("# "))
    }

    fn pairs() -> Vec<(&'static str, &'static str)> {
        let lines: Vec<&str> = lines(MASKED).collect();
        assert!(lines.len() >= 300 && lines.len().is_multiple_of(2), "{}", lines.len());
        lines.chunks(2).map(|pair| (pair[0], pair[1])).collect()
    }

    fn text(record: &str) -> String {
        masked(record.as_bytes()).map_or_else(|| record.to_owned(), |masked| String::from_utf8(masked).unwrap())
    }

    /// The text as a string in a record, in a record within a string, and in forms that escape nothing.
    fn records(text: &str) -> Vec<String> {
        let string = |text: &str| serde_json::Value::from(text).to_string();
        let object = |text: &str| format!(r#"{{"version":"2.0","custom":{},"x":"y"}}"#, string(text));
        let line = format!("2024-01-15T08:00:00.000000Z: component=grpc, query_text={text}, status=SUCCESS");
        let access =
            format!(r#"79a5 b [06/Feb/2019:00:00:38 +0000] 192.0.2.3 - "GET /a HTTP/1.1" 200 - "-" "{text}" - s9l="#);
        let fits = !text.contains('"');
        [object(text), object(&object(text)), line].into_iter().chain(fits.then_some(access)).collect()
    }

    #[test]
    fn of_a_secret_three_stars_are_left_and_what_stands_around_it_stays() {
        for (secret, expected) in pairs() {
            for (record, expected) in records(secret).iter().zip(records(expected)) {
                assert_eq!(text(record), expected, "{record}");
            }
        }
    }

    #[test]
    fn what_only_looks_like_a_secret_stays() {
        assert!(lines(HARMLESS).count() >= 60);
        for harmless in lines(HARMLESS) {
            for record in records(harmless) {
                assert_eq!(text(&record), record);
            }
        }
    }

    #[test]
    fn what_a_source_writes_behind_a_value_that_it_cut_short_stays() {
        for (record, expected) in [
            (r#"{"commandText":"dbutils.x() ... truncated"}"#, r#"{"commandText":"***... truncated"}"#),
            (r#"{"body":"password: S**TRUNCATED_BY_YDB**"}"#, r#"{"body":"password: *****TRUNCATED_BY_YDB**"}"#),
        ] {
            assert_eq!(text(record), expected);
        }
    }

    #[test]
    fn in_lines_of_fields_a_quoted_value_is_masked_to_its_quote() {
        let line = r#"time="2024-01-15T08:00:00Z" level=info client_secret="a b\"c" msg="Bearer S3cr3tV4lu3" path="/x?token=S&a=b" user=u"#;
        let left = r#"time="2024-01-15T08:00:00Z" level=info client_secret="***" msg="Bearer ***" path="/x?token=***&a=b" user=u"#;
        assert_eq!(text(line), left);
    }

    /// Otherwise the writer of one value could rename the next member.
    #[test]
    fn what_ends_a_text_begins_no_value() {
        for record in [
            r#"{"agent":"--token","user":"u"}"#,
            r#"{"agent":"token:","user":"u"}"#,
            r#"{"agent":"PASSWORD ","user":"u"}"#,
            r#"{"agent":"PASSWORD /*","user":"*/ 'u'"}"#,
            r#"{"agent":"password=","user":"u"}"#,
            r#"{"log":"{\"agent\":\"token:\",\"user\":\"u\"}"}"#,
            r#"o b x/cookie: "GET /a HTTP/1.1" 200"#,
            r#"o b x/PASSWORD'a "GET /a HTTP/1.1" 200"#,
        ] {
            let left = text(record).replace("x/PASSWORD'***", "x/PASSWORD'a");
            assert_eq!(left, record);
        }
    }

    #[test]
    fn a_secret_that_does_not_end_takes_no_other_field_with_it() {
        for (record, expected) in [
            (r#"{"q":"SET PASSWORD 'cut short","user":"it's"}"#, r#"{"q":"SET PASSWORD '***","user":"it's"}"#),
            (r#"{"q":"PASSWORD \"cut short","user":"u"}"#, r#"{"q":"PASSWORD \"***","user":"u"}"#),
            (r#"{"q":"PASSWORD $$cut short","user":"$$"}"#, r#"{"q":"PASSWORD $$***","user":"$$"}"#),
            (r#"{"q":"{\"password\":\"cut short","user":"u"}"#, r#"{"q":"{\"password\":\"***","user":"u"}"#),
            (r#"{"q":"{\"credentials\":{\"a\":[","user":"u"}"#, r#"{"q":"{\"credentials\":\"***\"","user":"u"}"#),
            (r#"x "PASSWORD 'cut" 200 "it's""#, r#"x "PASSWORD '***" 200 "it's""#),
            (
                "2024-01-15T08:00:00Z: component=grpc, query_text=PASSWORD 'cut, subject=bob, reason=it's",
                "2024-01-15T08:00:00Z: component=grpc, query_text=PASSWORD '***, subject=bob, reason=it's",
            ),
        ] {
            assert_eq!(text(record), expected, "{record}");
        }
    }

    const PIECES: &[&str] = &[
        "password",
        "token",
        "secret",
        "key",
        "code",
        "://",
        ":",
        "=",
        "'",
        "\"",
        "\\",
        "\\\"",
        "%3D",
        "%25",
        "%22",
        "&",
        ";",
        "?",
        " ",
        ", ",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "PASSWORD '",
        "IDENTIFIED BY ",
        "VALUES (",
        "(password) VALUES (",
        "$$",
        "$a$",
        "/*",
        "--",
        "\"--token\",\"",
        "Bearer ",
        "eyJhbGciOi.",
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN PRIVATE KEY-----",
        "\\u0061",
        "\n",
        "value=",
        "TYPE SECRET",
        "@",
        "é",
        "a1B2c3D4",
    ];

    fn any_piece() -> impl Strategy<Value = &'static str> {
        let texts: Vec<&str> = lines(MASKED).chain(lines(HARMLESS)).collect();
        prop_oneof![
            4 => prop::sample::select(PIECES),
            2 => prop::sample::select(search::BEGINNINGS),
            2 => prop::sample::select(USUAL_PIECES),
            1 => prop::sample::select(texts),
        ]
    }

    /// Pieces of most records, and of their surroundings.
    const USUAL_PIECES: &[&str] = &[
        "\"statusCode\":",
        "\"sessionId\":\"",
        "\"operation\":\"",
        "_database=",
        "query_text=",
        "user:",
        "-u ",
        "LIMIT 1",
        "Token2: ",
        "pass1=",
        "\\\"secret\\\":",
        "%22token%22%3A%22",
        "pass_word=",
        "12:30:45 ",
        "https:\\/\\/",
    ];

    /// The cuts of a scan that examines every position.
    fn cuts_of_all_places(record: &[u8]) -> Vec<Cut> {
        let mut scan = Scan::of(record);
        let mut at = 0;
        while at < record.len() {
            let is_behind_letter = at > 0 && record[at - 1] > b'@';
            let is_end = match record[at] {
                b':' | b'=' => true,
                b'%' => matches!(record.get(at + 1), Some(b'2' | b'3')),
                b'\'' | b'(' | b'\\' | b'>' | ..=b' ' => is_behind_letter,
                _ => false,
            };
            if is_end {
                scan.end_of_name(at);
            }
            if scan.floor <= at
                && let Some(index) =
                    search::BEGINNINGS.iter().position(|text| record[at..].starts_with(text.as_bytes()))
            {
                scan.beginning((at, index));
            }
            at = scan.floor.max(at + 1);
        }
        scan.cuts
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

        #[test]
        fn json_stays_json_and_a_masked_text_has_no_more_secrets(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12),
            more in prop::collection::vec(prop::sample::select(PIECES), 0..6),
        ) {
            let value = serde_json::json!({ "a": pieces.concat(), more.concat(): [pieces.concat(), 1, { "token": more.concat() }] });
            for record in [value.to_string(), serde_json::json!({ "log": value.to_string(), "b": "c" }).to_string()] {
                let once = text(&record);
                prop_assert!(serde_json::from_str::<serde_json::Value>(&once).is_ok(), "{}\n{}", record, once);
            }
        }

        /// A value must not hide fields that others wrote beside it.
        #[test]
        fn no_value_takes_another_field_with_it(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..8),
            more in prop::collection::vec(prop::sample::select(PIECES), 0..8),
        ) {
            let value = |pieces: &[&str]| pieces.concat().replace(['"', '\n'], "");
            let (one, two) = (value(&pieces), value(&more));
            let key = one.replace(' ', "+");
            let access = format!(
                "79a5 b [06/Feb/2019:00:00:38 +0000] 192.0.2.3 arn:aws:iam::1:user/m ABC REST.GET.OBJECT {key} \"GET /{key} HTTP/1.1\" 200 - 113 1718 10 9 \"{one}\" \"{two}\" - s9lz= SigV4 - h TLSv1.2 - -"
            );
            let left = text(&access);
            for part in [" REST.GET.OBJECT ", "\" 200 - 113 1718 10 9 \"", "\" - s9lz= SigV4 - h TLSv1.2 - -", " HTTP/1.1\""] {
                prop_assert!(left.contains(part), "{}\n{}", access, left);
            }
            let value = |text: &str| text.replace(',', "");
            let fields = format!(
                "2024-01-15T08:00:00.000000Z: component=grpc, query_text={}, subject=bob, body={}, status=SUCCESS", value(&one), value(&two),
            );
            let left = text(&fields);
            for part in [", query_text=", ", subject=bob, body=", ", status=SUCCESS"] {
                prop_assert!(left.contains(part), "{}\n{}", fields, left);
            }
        }

        /// The quick search must not skip a secret.
        #[test]
        fn as_much_is_masked_as_where_each_place_is_looked_at(
            shift in 0..70usize,
            pieces in prop::collection::vec(any_piece(), 0..12),
            bytes in prop::collection::vec(any::<u8>(), 0..8),
            more in prop::collection::vec(any_piece(), 0..6),
        ) {
            let value = [&vec![b'x'; shift][..], pieces.concat().as_bytes(), &bytes, more.concat().as_bytes()].concat();
            let string = serde_json::Value::from(String::from_utf8_lossy(&value)).to_string();
            let records = [
                value.clone(),
                format!("{{\"a\":{string}}}").into_bytes(),
                [b"2024-01-15T08:00:00Z: component=grpc, body=", &value[..], b", status=SUCCESS"].concat(),
                [b"time=\"2024-01-15T08:00:00Z\" msg=\"", &value[..], b"\""].concat(),
            ];
            for record in records {
                let mut quick = Scan::of(&record);
                quick.run();
                prop_assert_eq!(quick.cuts, cuts_of_all_places(&record), "{}", String::from_utf8_lossy(&record));
            }
        }

        #[test]
        fn any_bytes_are_masked_or_left(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in prop::sample::select(PIECES)) {
            let _ = masked(&[&bytes[..], piece.as_bytes(), &bytes].concat());
        }
    }

    /// Each piece repeated four times as often takes at most four times the steps, and a few more.
    #[test]
    fn the_work_is_in_proportion_to_the_record() {
        let steps = |text: &str| {
            let mut scan = Scan::of(text.as_bytes());
            scan.run();
            scan.steps
        };
        let fillers = ["", "x", "\",\"", "=", " 'a' ", "':"];
        for piece in
            PIECES.iter().chain(&["?token=", "params=", "a:b@", "\"password\":{", "password=(", "it's password '"])
        {
            for filler in fillers {
                for around in ["{\"a\":\"", "2024: a=", "x "] {
                    let [small, large] = [500, 2000]
                        .map(|times| steps(&format!("{around}{}", format!("{piece}{filler}").repeat(times))));
                    let bytes = (piece.len() + filler.len()) * 2000;
                    assert!(large <= 8 * bytes, "{piece} {filler} {around}: {large} steps of {bytes} bytes");
                    assert!(large * 10 <= small * 44 + 10_000, "{piece} {filler} {around}: {small} and {large} steps");
                }
            }
        }
    }
}
