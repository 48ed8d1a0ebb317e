//! The pairs of a referrer's query, and which of them the S3A client wrote.

use std::ops::Range;

/// The keys that S3A writes itself, in the order in which it writes them: that of a hash table with 16 slots.
pub(super) const KNOWN: [&str; 15] =
    ["op", "p1", "pr", "p2", "ps", "rg", "ks", "cm", "id", "t0", "fs", "ta", "t1", "ts", "ji"];

/// [`KNOWN`] as numbers, which are compared in one step.
const KNOWN_BYTES: [u16; KNOWN.len()] = {
    let mut numbers = [0; KNOWN.len()];
    let mut rank = 0;
    while rank < KNOWN.len() {
        let letters = KNOWN[rank].as_bytes();
        numbers[rank] = u16::from_le_bytes([letters[0], letters[1]]);
        rank += 1;
    }
    numbers
};

/// The order if there are more than twelve attributes, and the hash table has 32 slots: the position of each key of
/// [`KNOWN`].
const GROWN: [u8; 15] = [0, 1, 2, 3, 4, 9, 5, 6, 10, 11, 7, 8, 12, 13, 14];

pub(super) const P1: u8 = 1;
pub(super) const PR: u8 = 2;
pub(super) const P2: u8 = 3;
pub(super) const ID: u8 = 8;
pub(super) const TS: u8 = 13;
pub(super) const JI: u8 = 14;

/// A pair of the query.
#[derive(Clone, Debug)]
pub(super) struct Piece<'a> {
    pub key: &'a str,
    /// The position of the key in [`KNOWN`]. `None` for an application's own attribute.
    pub rank: Option<u8>,
    /// The offset of the value in the query.
    pub value: usize,
    pub at: Range<usize>,
}

impl Piece<'_> {
    /// Whether the value is a path, which may hold any text, `&` and `=` included.
    pub(super) fn is_path(&self) -> bool {
        matches!(self.rank, Some(P1 | P2))
    }
}

/// The position of the key in [`KNOWN`].
pub(super) fn rank(key: &str) -> Option<u8> {
    let key = u16::from_le_bytes(key.as_bytes().try_into().ok()?);
    KNOWN_BYTES.iter().zip(0..).find(|(known, _)| **known == key).map(|(_, rank)| rank)
}

/// Whether the known keys come in one of the orders in which S3A writes them.
pub(super) fn is_ordered(pieces: &[Piece<'_>]) -> bool {
    let ranks = || pieces.iter().filter_map(|piece| piece.rank);
    ranks().is_sorted() || ranks().map(|rank| GROWN[usize::from(rank)]).is_sorted()
}

/// Which pieces to keep so that the known keys come in order, each once, with the greatest total weight. Pieces with
/// other keys are always kept.
pub(super) fn ordered(pieces: &[Piece<'_>], weigh: &dyn Fn(&Piece<'_>) -> u32) -> Vec<bool> {
    let plain = heaviest(pieces, weigh, |rank| rank);
    let grown = heaviest(pieces, weigh, |rank| GROWN[usize::from(rank)]);
    if grown.0 > plain.0 { grown.1 } else { plain.1 }
}

/// The greatest total weight of pieces in ascending order, and which pieces that keeps. Among equal pieces of one key,
/// the first is kept for a path and for keys before it, the last for all other keys: pieces between them may be part of
/// the path.
fn heaviest(pieces: &[Piece<'_>], weigh: &dyn Fn(&Piece<'_>) -> u32, order: fn(u8) -> u8) -> (u32, Vec<bool>) {
    let known: Vec<(usize, u8, u32)> = pieces
        .iter()
        .enumerate()
        .filter_map(|(index, piece)| piece.rank.map(|rank| (index, order(rank), weigh(piece))))
        .collect();
    let mut best = vec![0; known.len()];
    for at in (0..known.len()).rev() {
        let (_, rank, weight) = known[at];
        let after = known.iter().zip(&best).skip(at + 1).filter(|((_, next, _), _)| *next > rank);
        let most = after.map(|(_, best)| *best).max().unwrap_or(0);
        // A value that the path contradicts is never kept, whatever could follow it.
        best[at] = if weight == 0 { 0 } else { weight + most };
    }
    let mut kept: Vec<bool> = pieces.iter().map(|piece| piece.rank.is_none()).collect();
    let total = best.iter().copied().max().unwrap_or(0);
    let (mut wanted, mut from, mut floor) = (total, 0, None);
    while wanted > 0 {
        let fits = |at: &usize| best[*at] == wanted && floor.is_none_or(|floor| known[*at].1 > floor);
        let mut candidates = (from..known.len()).filter(fits);
        let Some(first) = candidates.next() else { break };
        let rank = known[first].1;
        let at =
            if rank <= P2 && rank != PR { first } else { candidates.rfind(|at| known[*at].1 == rank).unwrap_or(first) };
        kept[known[at].0] = true;
        (wanted, from, floor) = (wanted - known[at].2, at + 1, Some(rank));
    }
    (total, kept)
}
