//! The body of a version while it is read: in pieces, slowly, cut off, or never ending.

use std::time::Duration;

use auditferry::testing::notification::ObjectId;
use auditferry::testing::object::{Answer, Chunks, ReadError};
use bytes::Bytes;

use crate::world::place::{Mode, Place, TIMEOUT, unavailable};
use crate::world::{State, World};

/// The time that a slow place takes for one byte.
const BYTE_TIME: Duration = Duration::from_secs(1);

/// A body that is being read.
#[derive(Debug)]
pub struct Coming {
    world: World,
    object: ObjectId,
    key: (&'static str, String),
    index: usize,
    bytes: Bytes,
    chunk_bytes: usize,
    /// The time that each chunk takes.
    each: Duration,
    /// The offset at which the body breaks off, and whether it first sends nothing until the reader's timeout.
    breaks_at: Option<(usize, bool)>,
    at: usize,
    is_over: bool,
}

impl Coming {
    pub fn new(place: &Place, object: &ObjectId, key: (&'static str, String), index: usize, bytes: Bytes) -> Self {
        let mut state = place.world.state();
        let (rate, length) = (state.rates.body, bytes.len().max(1));
        let chunk_bytes = if rate == 0 { length } else { 1 + state.chance.below(length) };
        let each =
            if state.happens(rate) { Duration::from_millis(state.chance.below(5000) as u64) } else { Duration::ZERO };
        let breaks_at = state.happens(rate).then(|| (state.chance.below(length), state.chance.below(4) == 0));
        state.opens_body();
        drop(state);
        let world = place.world.clone();
        Self { world, object: object.clone(), key, index, bytes, chunk_bytes, each, breaks_at, at: 0, is_over: false }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        self.world.gate("body").await.map_err(|_| unavailable(&self.object, "the connection was reset"))?;
        if self.world.state().rates.body == 0 {
            // The world is healed, and so are bodies that were being read.
            (self.each, self.breaks_at, self.chunk_bytes) = (Duration::ZERO, None, self.bytes.len().max(1));
        }
        let is_slow = self.world.state().mode_of_place(self.key.0) == Mode::Slow;
        let (each, chunk_bytes) = if is_slow { (BYTE_TIME, 1) } else { (self.each, self.chunk_bytes) };
        if !each.is_zero() {
            tokio::time::sleep(each).await;
        }
        let mut end = self.bytes.len().min(self.at + chunk_bytes);
        if let Some((breaks_at, in_silence)) = self.breaks_at {
            if self.at >= breaks_at {
                if in_silence {
                    tokio::time::sleep(TIMEOUT).await;
                }
                let mut state = self.world.state();
                state.tally.fault(if in_silence { "body never ends" } else { "body is cut" });
                state.note(format!("the body of {} breaks off at byte {breaks_at}", self.key.1));
                drop(state);
                return Err(unavailable(&self.object, "the body broke off"));
            }
            end = end.min(breaks_at);
        }
        let chunk = self.bytes.slice(self.at..end);
        self.at = end;
        if self.at == self.bytes.len() {
            self.world.state().was_read(&self.key, self.index);
        }
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}

impl Chunks for Coming {
    fn next(&mut self) -> Answer<'_, Option<Result<Bytes, ReadError>>> {
        Box::pin(async move {
            if self.is_over {
                return None;
            }
            let chunk = self.chunk().await.transpose();
            self.is_over = !matches!(chunk, Some(Ok(_)));
            chunk
        })
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.world.state().bodies -= 1;
    }
}

impl State {
    /// Counts an open body. There may be one for each job, one for each sink that completes a batch, and one slow one
    /// for each feed.
    fn opens_body(&mut self) {
        self.bodies += 1;
        let (feeds, sinks) = (self.setting.buckets().len(), self.setting.sinks.len());
        let most = self.setting.objects_at_once.max(feeds) + feeds + sinks;
        if self.bodies > most {
            self.violate(format!("{} bodies are open, and {most} may be", self.bodies));
        }
    }
}
