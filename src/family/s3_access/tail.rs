//! The fields after the user agent, of which there are more the younger a log is.

use crate::family::s3_access::field::FIELDS;
use crate::family::s3_access::field::Field;
use crate::family::s3_access::token::begins_time;
use crate::family::s3_access::token::first_end;
use crate::family::s3_access::token::token;
use crate::family::s3_access::token::value;

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

/// The fields after the user agent, by their places in the line.
pub(super) struct Tail {
    pub rank: Rank,
    places: [(usize, usize); TAIL + 1],
    count: usize,
    pub extra: Vec<(usize, usize)>,
}

/// From the version id to whether an ACL was required.
const TAIL: usize = FIELDS - Field::VersionId as usize;

impl Tail {
    /// What stands from `at` on, which is behind the space after the user agent, or the end of the line.
    pub(super) fn read(text: &str, at: usize) -> Option<Self> {
        let mut tail = Self { rank: Rank::NoVersion, places: [(0, 0); TAIL + 1], count: 0, extra: Vec::new() };
        let mut next = (at < text.len()).then_some(at);
        let quote = next.and_then(|at| memchr::memchr(b'"', &text.as_bytes()[at..])).map_or(text.len(), |far| at + far);
        while let (Some(start), true) = (next, tail.count <= TAIL) {
            let (bare, after) = token(text, start)?;
            let end = after.map_or(text.len(), |after| after - 1);
            if bare.is_some_and(|bare| begins_time(bare) || quote < end && bare.contains('"')) {
                return None;
            }
            tail.places[tail.count] = (start, end);
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

    pub(super) fn known(&self) -> &[(usize, usize)] {
        &self.places[..self.count]
    }
}
