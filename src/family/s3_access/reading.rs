//! Finds all readings of a line in which a client may have put quotes, and the best of them.

use std::borrow::Cow;

use crate::family::refusal::Refusal;
use crate::family::s3_access::tail::{Rank, Tail};
use crate::family::s3_access::token::Cursor;

/// The most quotes in a line. S3 takes at most 8 KB of headers, so it writes no line with more.
pub(super) const QUOTES_MAX: usize = 10_000;

/// The most ends of the request that are tried, and the most ends of the user agent for each rank.
const ENDS_MAX: usize = 8;

/// Where the three fields end into which a client may have written quotes and spaces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub uri_end: usize,
    pub referrer_end: usize,
    pub agent_end: usize,
    rank: Rank,
    pub ambiguous: bool,
}

pub(super) const NO_READING: Refusal =
    Refusal { reason: Cow::Borrowed("the fields after the key are none of an access log") };

/// Tries each reading of the line from the request on. The best rank wins; among equals, the reading whose fields end
/// first.
pub(super) fn search(text: &str, at: usize) -> Result<Reading, Refusal> {
    let ends = quote_ends(text, at).ok_or(Refusal::new("the line has more quotes than S3 takes"))?;
    let agents = agent_ends(text, &ends);
    let mut best: Option<Reading> = None;
    let (mut readings, mut young) = (0, 0);
    let referrer_after = |uri_end: usize| {
        let mut cursor = Cursor::new(text, uri_end + 1);
        cursor.middle().map(|_| cursor.at())
    };
    let requests = field_ends(text, at, &ends).filter_map(|uri_end| Some((uri_end, referrer_after(uri_end)?)));
    for (uri_end, referrer) in requests.take(ENDS_MAX) {
        for referrer_end in field_ends(text, referrer, &ends) {
            let agent = referrer_end + 1;
            // S3 quotes both referrer and user agent, or neither.
            let is_mixed = is_quoted(text, referrer) != is_quoted(text, agent);
            for (agent_end, rank) in agents_from(text, agent, &agents) {
                let rank = if is_mixed { rank.max(Rank::Strange) } else { rank };
                readings += u32::from(rank < Rank::Strange);
                young += u32::from(rank < Rank::Old);
                if best.is_none_or(|best| rank < best.rank) {
                    best = Some(Reading { uri_end, referrer_end, agent_end, rank, ambiguous: false });
                }
            }
        }
    }
    let best = best.ok_or(NO_READING)?;
    // A line with all fields since 2019 is not from an older log, so quotes after these fields belong to a new field.
    let rivals = if best.rank < Rank::Old { young } else { readings };
    Ok(Reading { ambiguous: rivals > 1, ..best })
}

/// The offsets after quotes that a space or the end of the line follows. `None` if there are too many quotes.
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

/// Where the field that begins at `at` may end: after any of the quotes if it is quoted, else at the next space.
fn field_ends(text: &str, at: usize, ends: &[usize]) -> impl Iterator<Item = usize> {
    let is_quoted = is_quoted(text, at);
    let from = ends.partition_point(|end| *end < at + 2);
    let quoted = ends[if is_quoted { from } else { ends.len() }..].iter().copied();
    quoted.chain((!is_quoted).then(|| bare_end(text, at)).flatten())
}

fn is_quoted(text: &str, at: usize) -> bool {
    text.as_bytes().get(at) == Some(&b'"')
}

fn bare_end(text: &str, at: usize) -> Option<usize> {
    let rest = text.as_bytes().get(at..)?;
    let length = memchr::memchr2(b' ', b'"', rest).unwrap_or(rest.len());
    (length > 0 && rest.get(length) != Some(&b'"')).then_some(at + length)
}

/// The offsets after quotes at which the user agent may end, with the rank of the fields that follow.
fn agent_ends(text: &str, ends: &[usize]) -> Vec<(usize, Rank)> {
    let mut taken: Vec<(usize, Rank)> = Vec::new();
    for end in ends {
        let Some(tail) = Tail::known_of(text, (end + 1).min(text.len())) else { continue };
        if taken.iter().filter(|(_, rank)| *rank == tail.rank).count() < ENDS_MAX {
            taken.push((*end, tail.rank));
        }
    }
    taken
}

/// Where the user agent that begins at `at` may end, with the rank of the fields that follow.
fn agents_from(text: &str, at: usize, agents: &[(usize, Rank)]) -> impl Iterator<Item = (usize, Rank)> {
    let is_quoted = is_quoted(text, at);
    let quoted = agents.iter().copied().filter(move |(end, _)| is_quoted && *end >= at + 2);
    let bare = (!is_quoted).then(|| bare_end(text, at)).flatten();
    let bare = bare.and_then(|end| Tail::known_of(text, (end + 1).min(text.len())).map(|tail| (end, tail.rank)));
    quoted.chain(bare)
}
