//! A reading's requests and their answers: the only state that it shares with its driver.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::{Buf as _, Bytes, BytesMut};

use crate::delta::Fingerprint;
use crate::object::compression::InflateError;
use crate::reading::counts::Counts;
use crate::reading::input::{Input, Need};
use crate::records::lines::LinesError;
use crate::records::rows::{Ranges, RowsError};
use crate::room::Room;

/// Ranges up to this length are kept, since they may be read again: a footer is read again from its beginning once the
/// rest of it has come.
const KEPT_RANGE_BYTES_MAX: usize = 1 << 20;

/// How many ranges are kept.
const KEPT_RANGES_MAX: usize = 3;

/// The reading returns control to its driver after emitting this many bytes. Each such turn costs about ten futex
/// calls.
const OUT_BYTES: usize = 3 << 19;

/// Connects a reading, which asks and awaits, with its driver, which answers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Supply {
    state: Arc<Mutex<State>>,
    /// The memory that the reading may take.
    pub(super) room: Room,
}

#[derive(Default)]
struct State {
    need: Option<Need>,
    answer: Option<Input>,
    body: Body,
    /// The range that a [`RangeReader`] needs next, and the ranges that have come.
    wanted: Option<(u64, usize)>,
    ranges: VecDeque<(u64, Bytes)>,
    /// Outputs that the driver has ended and the reading has not noticed yet.
    without: Vec<usize>,
    is_stopped: bool,
    /// Bytes emitted since the driver last took everything.
    out_bytes: usize,
    so_far: SoFar,
}

/// The counts of a reading so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SoFar {
    /// Bytes of content, counted once more each time they are read.
    pub content_bytes: u64,
    /// The counts when the last part was emitted.
    pub counts: Counts,
}

/// Bytes of the open body that have come and are not read yet.
#[derive(Default)]
struct Body {
    chunks: VecDeque<Bytes>,
    has_ended: bool,
}

impl Supply {
    pub(super) fn new(room: Room) -> Self {
        Self { state: Arc::default(), room }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an input from the driver: an answer, or a notice that was not asked for.
    pub(super) fn give(&self, input: Input) {
        let mut state = self.state();
        match input {
            Input::WithoutSink(at) => state.without.push(at),
            Input::Stop => state.is_stopped = true,
            answer => state.answer = Some(answer),
        }
    }

    /// The open request. `None` if the reading waits only for its items to be taken.
    pub(super) fn need(&self) -> Option<Need> {
        self.state().need.clone()
    }

    /// Notes that the driver has taken everything emitted.
    pub(super) fn count_anew(&self) {
        self.state().out_bytes = 0;
    }

    pub(super) fn count_out(&self, bytes: usize) {
        self.state().out_bytes += bytes;
    }

    /// What the reading came to so far.
    pub(super) fn so_far(&self) -> SoFar {
        self.state().so_far
    }

    pub(super) fn count_content(&self, bytes: usize) {
        self.state().so_far.content_bytes += bytes as u64;
    }

    pub(super) fn show(&self, counts: &Counts) {
        self.state().so_far.counts = *counts;
    }

    /// Makes a request, or with `None` only returns control to the driver, and waits for the answer.
    async fn ask(&self, need: Option<Need>) -> Input {
        {
            let mut state = self.state();
            state.need = need;
            state.answer = None;
        }
        poll_fn(|_| match self.state().answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        })
        .await
    }

    /// Returns control to the driver if [`OUT_BYTES`] were emitted since it last took everything.
    pub(super) async fn emit(&self) {
        if self.state().out_bytes >= OUT_BYTES {
            self.ask(None).await;
        }
    }

    /// Asks for the body from its beginning.
    pub(super) async fn reopen(&self) {
        while !matches!(self.ask(Some(Need::Reopen)).await, Input::Reopened) {}
        self.state().body = Body::default();
    }

    /// Accepted fingerprints from place `from` on, some or all of the rest.
    pub(super) async fn fingerprints(&self, from: u64) -> Vec<Fingerprint> {
        loop {
            if let Input::Fingerprints(fingerprints) = self.ask(Some(Need::Fingerprints { from })).await {
                return fingerprints;
            }
        }
    }

    /// Awaits what the last `WouldBlock` was about: memory, a range, or more of the body.
    async fn feed(&self) {
        if let Some(bytes) = self.room.wanted() {
            while !matches!(self.ask(Some(Need::Room(bytes))).await, Input::Room) {}
            return self.room.grant(bytes);
        }
        let wanted = self.state().wanted.take();
        let Some((start, length)) = wanted else { return self.more().await };
        loop {
            if let Input::Range(bytes) = self.ask(Some(Need::Range { start, length })).await {
                let mut state = self.state();
                while state.ranges.len() >= KEPT_RANGES_MAX {
                    state.ranges.pop_front();
                }
                return state.ranges.push_back((start, bytes));
            }
        }
    }

    /// Awaits more of the body.
    async fn more(&self) {
        loop {
            match self.ask(Some(Need::More)).await {
                Input::Bytes(chunks) => {
                    self.state().body.chunks.extend(chunks.into_iter().filter(|chunk| !chunk.is_empty()));
                    return;
                }
                Input::End => {
                    self.state().body.has_ended = true;
                    return;
                }
                _ => {}
            }
        }
    }

    /// Calls `what` until it does not fail for want of bytes, and awaits bytes in between.
    pub(super) async fn fed<T, E: Starved>(&self, mut what: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        loop {
            match what() {
                Err(error) if error.is_starved() => self.feed().await,
                outcome => return outcome,
            }
        }
    }

    /// The body's first bytes, which stay unread. Fewer than `count` only if the body is shorter.
    pub(super) async fn peek(&self, count: usize) -> Vec<u8> {
        loop {
            {
                let State { body, .. } = &*self.state();
                let first: Vec<u8> = body.chunks.iter().flatten().copied().take(count).collect();
                if first.len() == count || body.has_ended {
                    return first;
                }
            }
            self.more().await;
        }
    }

    /// The whole body. The caller must have checked the object's size.
    pub(super) async fn whole(&self) -> Bytes {
        while !self.state().body.has_ended {
            self.more().await;
        }
        let chunks = std::mem::take(&mut self.state().body.chunks);
        if let (1, Some(only)) = (chunks.len(), chunks.front()) {
            return only.clone();
        }
        let mut whole = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
        chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
        whole.freeze()
    }

    /// The outputs that the driver has ended since the last call.
    pub(super) fn without(&self) -> Vec<usize> {
        std::mem::take(&mut self.state().without)
    }

    /// Whether the driver has stopped the reading.
    pub(super) fn is_stopped(&self) -> bool {
        self.state().is_stopped
    }

    /// Whether the reading was stopped while it waits for an answer.
    pub(super) fn ends_waiting(&self) -> bool {
        let state = self.state();
        state.is_stopped && state.need.is_some()
    }

    fn chunk(&self) -> io::Result<Option<Bytes>> {
        let body = &mut self.state().body;
        match body.chunks.pop_front() {
            Some(chunk) => Ok(Some(chunk)),
            None if body.has_ended => Ok(None),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn range(&self, start: u64, length: usize) -> io::Result<Bytes> {
        let mut state = self.state();
        let Some(at) = state.ranges.iter().position(|(from, bytes)| *from == start && bytes.len() == length) else {
            // The driver gave a range of another length here. It would do so again if asked again.
            if state.ranges.iter().any(|(from, _)| *from == start) {
                state.ranges.retain(|(from, _)| *from != start);
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            state.wanted = Some((start, length));
            return Err(io::ErrorKind::WouldBlock.into());
        };
        if length <= KEPT_RANGE_BYTES_MAX {
            return Ok(state.ranges[at].1.clone());
        }
        Ok(state.ranges.remove(at).map(|(_, bytes)| bytes).unwrap_or_default())
    }
}

/// An error that may mean only that bytes have not come yet.
pub(super) trait Starved {
    fn is_starved(&self) -> bool;
}

impl Starved for io::Error {
    fn is_starved(&self) -> bool {
        self.kind() == io::ErrorKind::WouldBlock
    }
}

impl Starved for InflateError {
    fn is_starved(&self) -> bool {
        matches!(self, Self::Source(error) if error.is_starved())
    }
}

impl Starved for LinesError {
    fn is_starved(&self) -> bool {
        matches!(self, Self::Source(error) if error.is_starved())
    }
}

impl Starved for RowsError {
    fn is_starved(&self) -> bool {
        matches!(self, Self::Source(error) if error.is_starved())
    }
}

/// A body as a reader. It returns [`WouldBlock`](io::ErrorKind::WouldBlock) where it has no bytes yet.
pub(super) enum BodyReader {
    /// The whole body in memory.
    Kept(Bytes),
    Open {
        supply: Supply,
        chunk: Bytes,
    },
}

impl Read for BodyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let chunk = match self {
            Self::Kept(bytes) => bytes,
            Self::Open { supply, chunk } => {
                if chunk.is_empty() {
                    *chunk = supply.chunk()?.unwrap_or_default();
                }
                chunk
            }
        };
        let count = into.len().min(chunk.len());
        chunk.copy_to_slice(&mut into[..count]);
        if chunk.is_empty() {
            // Release the chunk, so that its memory can be used again.
            *chunk = Bytes::new();
        }
        Ok(count)
    }
}

/// The bytes of one version by range. It returns [`WouldBlock`](io::ErrorKind::WouldBlock) while a range has not come.
pub(super) struct RangeReader {
    pub(super) supply: Supply,
    pub(super) size_bytes: u64,
    pub(super) kept: Option<Bytes>,
}

impl Ranges for RangeReader {
    fn room(&self) -> Room {
        self.supply.room.clone()
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(&mut self, start: u64, length: usize) -> io::Result<Bytes> {
        match &mut self.kept {
            Some(kept) => Ranges::read(kept, start, length),
            None if length == 0 => Ok(Bytes::new()),
            None => self.supply.range(start, length),
        }
    }
}
