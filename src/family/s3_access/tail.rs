//! The fields after the user agent. Younger logs have more of them.

use crate::family::s3_access::field::{FIELDS, Field};
use crate::family::s3_access::token::{Cursor, OWNER_DIGITS, Value, ends_in_owner, holds_quote, owner_digits, value};

/// The most fields after the last known one that are split. The rest of the line is one more field.
const EXTRA_MAX: usize = 64;

/// How well the fields after the user agent fit the format, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Rank {
    /// Seven, eight or nine fields.
    Exact,
    /// Seven, eight or nine fields with a space in the host id, as in real logs.
    SplitHostId,
    /// More fields than are known today.
    Extra,
    /// One field, as in logs until 2019.
    Old,
    /// As many fields as in the better ranks, but an unknown word as signature version, authentication type or TLS
    /// version.
    Strange,
    /// No field: logs from before objects had versions.
    NoVersion,
}

/// The fields after the user agent, with their quotes.
pub(super) struct Tail<'a> {
    pub rank: Rank,
    /// Whether there is a quote anywhere among them.
    pub has_quote: bool,
    known: [&'a str; TAIL + 1],
    count: usize,
    extra_at: usize,
    pub extra: Vec<&'a str>,
}

/// The number of known fields, from the version id to whether an ACL was required.
const TAIL: usize = FIELDS - Field::VersionId as usize;

impl<'a> Tail<'a> {
    /// Reads the known fields from `at` on, and leaves out those after the last known one. `at` is the byte after the
    /// space behind the user agent, or the end of the line.
    pub(super) fn known_of(text: &'a str, at: usize) -> Option<Self> {
        let quote = memchr::memchr(b'"', &text.as_bytes()[at.min(text.len())..]).map(|far| at + far);
        let has_quote = quote.is_some();
        let mut tail =
            Self { rank: Rank::NoVersion, has_quote, known: [""; TAIL + 1], count: 0, extra: Vec::new(), extra_at: 0 };
        let mut cursor = Cursor::new(text, if at < text.len() { at } else { text.len() + 1 });
        while !cursor.is_at_end() && tail.count < TAIL {
            let field = cursor.field()?;
            let is_quoted = quote.is_some_and(|quote| quote < cursor.at());
            if is_quoted && value(field).is_some_and(holds_quote) {
                return None;
            }
            tail.known[tail.count] = field;
            tail.count += 1;
        }
        tail.extra_at = cursor.at();
        // `known` has room for one more field, for a host id in two parts.
        if !cursor.is_at_end() {
            tail.known[TAIL] = cursor.field()?;
            tail.count += 1;
        }
        let total = tail.count + usize::from(!cursor.is_at_end());
        if tail.judge(text, at, total)? {
            tail.extra_at = cursor.at();
        }
        tail.count = tail.count.min(TAIL);
        Some(tail)
    }

    /// As [`known_of`](Self::known_of), with the fields after the last known one.
    pub(super) fn read(text: &'a str, at: usize) -> Option<Self> {
        let mut tail = Self::known_of(text, at)?;
        let mut cursor = Cursor::new(text, tail.extra_at);
        while !cursor.is_at_end() {
            let start = cursor.at();
            let field = cursor.new_field()?;
            if tail.extra.len() == EXTRA_MAX {
                tail.extra.push(&text[start..]);
                break;
            }
            tail.extra.push(field);
        }
        Some(tail)
    }

    /// Ranks a reading with `total` fields, and joins a host id that a space parts. Returns whether it did.
    fn judge(&mut self, text: &'a str, at: usize, total: usize) -> Option<bool> {
        const SINCE_2019: usize = 7;
        self.rank = match total {
            0 => Rank::NoVersion,
            1 => Rank::Old,
            2..SINCE_2019 => return None,
            SINCE_2019..=TAIL if self.speaks(0) => Rank::Exact,
            _ if self.speaks(0) => Rank::Extra,
            _ if total > SINCE_2019 && self.speaks(1) => {
                const HOST_ID: usize = Field::HostId as usize - Field::VersionId as usize;
                let from = at + self.known[..HOST_ID].iter().map(|field| field.len() + 1).sum::<usize>();
                let bytes = self.known[HOST_ID].len() + 1 + self.known[HOST_ID + 1].len();
                self.known[HOST_ID] = &text[from..from + bytes];
                self.known.copy_within(HOST_ID + 2.., HOST_ID + 1);
                self.count -= 1;
                self.rank = if total - 1 <= TAIL { Rank::SplitHostId } else { Rank::Extra };
                return Some(true);
            }
            _ => Rank::Strange,
        };
        Some(false)
    }

    /// Whether signature version, authentication type and TLS version, `shift` fields later than usual, hold what S3
    /// writes there.
    fn speaks(&self, shift: usize) -> bool {
        let field = |field: Field| value(self.known[field as usize - Field::VersionId as usize + shift]);
        let begins = |text: &str, word: &str| {
            text.as_bytes().get(..3).is_some_and(|first| first.eq_ignore_ascii_case(word.as_bytes()))
        };
        field(Field::SignatureVersion).is_none_or(|version| begins(version, "sig"))
            && field(Field::AuthenticationType)
                .is_none_or(|kind| !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphabetic()))
            && field(Field::TlsVersion).is_none_or(|version| begins(version, "tls") || begins(version, "ssl"))
    }

    pub(super) fn known(&self) -> &[&'a str] {
        &self.known[..self.count]
    }

    /// Whether a record of this owner or bucket begins among the fields that not every log has, and breaks off within
    /// its time. Its owner (maybe appended to another field), its bucket and its unfinished time then look like fields
    /// of their own.
    pub(super) fn runs_on(&self, owner: Value<'_>, bucket: Value<'_>) -> bool {
        const NOT_IN_ALL: usize = Field::TlsVersion as usize - Field::VersionId as usize;
        let (told_apart, rest) = self.extra.split_at(self.extra.len().min(EXTRA_MAX));
        let known = self.known().iter().skip(NOT_IN_ALL);
        let fields = known.chain(told_apart).copied().chain(rest.iter().flat_map(|rest| rest.split(' ')));
        let (mut before, mut is_open) = ("", false);
        for field in fields {
            let is_bucket = bucket == Some(field) && owner_digits(before) >= OWNER_DIGITS;
            if is_bucket || owner.is_some_and(|owner| ends_in_owner(field, owner)) {
                return true;
            }
            is_open = (is_open || field.starts_with('[')) && !field.contains(']');
            before = field;
        }
        is_open
    }
}
