//! What a reading asks for, and what its driver may answer.

use bytes::Bytes;

use crate::delta::Fingerprint;

/// What the driver gives a reading.
#[derive(Debug)]
pub enum Input {
    /// The next bytes of the body, in pieces.
    Bytes(Vec<Bytes>),
    /// The body has ended.
    End,
    /// The bytes of the range that was asked for.
    Range(Bytes),
    /// Accepted fingerprints in order, from the place that was asked for: some or all of the rest.
    Fingerprints(Vec<Fingerprint>),
    /// The body of the same version, from its beginning.
    Reopened,
    /// The memory that was asked for is granted.
    Room,
    /// What was emitted has been taken.
    GoOn,
    /// Nothing more is emitted to this output. The reading's open request stays open.
    WithoutSink(usize),
    /// Ends the reading: at once if it waits for an answer, else at its next block.
    Stop,
}

/// What a reading asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Need {
    /// More of the body: [`Input::Bytes`] or [`Input::End`].
    More,
    /// A range of this version's bytes: [`Input::Range`].
    Range { start: u64, length: usize },
    /// Accepted fingerprints, from this place on: [`Input::Fingerprints`].
    Fingerprints { from: u64 },
    /// The body of the same version, from its beginning again: [`Input::Reopened`].
    Reopen,
    /// This many bytes of memory: [`Input::Room`].
    Room(usize),
}
