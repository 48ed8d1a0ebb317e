//! What a reading asks for, and what it may be given.

use bytes::Bytes;

use crate::delta::Fingerprint;

/// What a reading may be given.
#[derive(Debug)]
pub enum Input {
    /// The next bytes of the body, in pieces.
    Bytes(Vec<Bytes>),
    /// The body has no more.
    End,
    /// The bytes of the range that was asked for.
    Range(Bytes),
    /// Accepted fingerprints in order, from the number that was asked for: some or all of them.
    Fingerprints(Vec<Fingerprint>),
    /// The body of the same version, from its beginning.
    Reopened,
    /// The memory that was asked for may be taken.
    Room,
    /// What was emitted has been taken.
    GoOn,
    /// The output takes nothing more. The open request stays open.
    WithoutSink(usize),
    /// The reading is to end: at once where it waits for an answer, else at its next block.
    Stop,
}

/// What a reading asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Need {
    /// More of the body: [`Input::Bytes`] or [`Input::End`].
    More,
    /// Bytes of this version by their place: [`Input::Range`].
    Range { start: u64, length: usize },
    /// Accepted fingerprints: [`Input::Fingerprints`].
    Fingerprints { from: u64 },
    /// The same version from its beginning once more: [`Input::Reopened`].
    Reopen,
    /// So many bytes of memory: [`Input::Room`].
    Room(usize),
}
