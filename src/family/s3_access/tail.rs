//! The fields after the user agent, of which there are more the younger a log is.

use crate::family::s3_access::field::{FIELDS, Field};
use crate::family::s3_access::token::{Cursor, begins_time, holds_quote, value};

/// Fields after the last that is known. A line with more is not understood.
const EXTRA_MAX: usize = 64;

/// How well the fields after the user agent are what the format says, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Rank {
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

/// The fields after the user agent, with their quotes.
pub(super) struct Tail<'a> {
    pub rank: Rank,
    /// Whether there is a quote anywhere among them.
    pub has_quote: bool,
    known: [&'a str; TAIL + 1],
    count: usize,
    pub extra: Vec<&'a str>,
}

/// From the version id to whether an ACL was required.
const TAIL: usize = FIELDS - Field::VersionId as usize;

impl<'a> Tail<'a> {
    /// What stands from `at` on, which is behind the space after the user agent, or the end of the line.
    pub(super) fn read(text: &'a str, at: usize) -> Option<Self> {
        let quote = memchr::memchr(b'"', &text.as_bytes()[at.min(text.len())..]).map(|far| at + far);
        let has_quote = quote.is_some();
        let mut tail = Self { rank: Rank::NoVersion, has_quote, known: [""; TAIL + 1], count: 0, extra: Vec::new() };
        let mut cursor = Cursor::new(text, if at < text.len() { at } else { text.len() + 1 });
        while !cursor.is_at_end() && tail.count <= TAIL {
            let field = cursor.field()?;
            let is_quoted = quote.is_some_and(|quote| quote < cursor.at());
            if value(field).is_some_and(|bare| begins_time(bare) || is_quoted && holds_quote(bare)) {
                return None;
            }
            tail.known[tail.count] = field;
            tail.count += 1;
        }
        while !cursor.is_at_end() {
            let start = cursor.at();
            let bare = cursor.first_end()?;
            if tail.extra.len() == EXTRA_MAX || bare.is_some_and(begins_time) {
                return None;
            }
            tail.extra.push(&text[start..cursor.at() - 1]);
        }
        tail.judge(text, at)?;
        Some(tail)
    }

    /// Ranks the reading, and closes a host id that a space parts.
    fn judge(&mut self, text: &'a str, at: usize) -> Option<()> {
        const SINCE_2019: usize = 7;
        let total = self.count + self.extra.len();
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
                if total - 1 <= TAIL { Rank::SplitHostId } else { Rank::Extra }
            }
            _ => Rank::Strange,
        };
        // There is room for one more than there are fields, for a host id of two parts.
        if self.count > TAIL {
            self.count = TAIL;
            self.extra.insert(0, self.known[TAIL]);
        }
        Some(())
    }

    /// Whether signature version, authentication type and TLS version are, `shift` fields late, what S3 writes there.
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
}
