//! A receiver in memory, for tests: it keeps what it is given and its own cursor, and can be told to fail or to wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::batch::{Batch, Manifest};
use crate::event::Head;
use crate::sink::{Asked, Delivery, DeliveryError, LaneState, Moved, Receipt, Resumed, Sink};

/// A memory sink's receiver. It outlives the sink, as a real one does, and is shared with whoever looks on.
#[derive(Clone)]
pub struct Delivered {
    received: Arc<Mutex<Received>>,
    /// Whether a delivery is answered.
    answers: watch::Sender<bool>,
}

#[derive(Default)]
struct Received {
    lines: Vec<Vec<u8>>,
    heads: Vec<Head>,
    /// How many events each batch had.
    batches: Vec<usize>,
    /// The id of the last batch.
    cursor: Option<Box<str>>,
    failing: bool,
}

impl Default for Delivered {
    fn default() -> Self {
        Self { received: Arc::default(), answers: watch::Sender::new(true) }
    }
}

impl Delivered {
    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every line delivered so far, in order.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.received().lines.clone()
    }

    /// The heads of the events, in the order of their lines.
    pub fn heads(&self) -> Vec<Head> {
        self.received().heads.clone()
    }

    /// How many events each batch had, in order.
    pub fn batches(&self) -> Vec<usize> {
        self.received().batches.clone()
    }

    /// From now on deliveries fail (or work again).
    pub fn fail(&self, failing: bool) {
        self.received().failing = failing;
    }

    /// From now on deliveries are left without an answer (or are answered, those under way too).
    pub fn hold(&self, holding: bool) {
        self.answers.send_replace(!holding);
    }
}

/// A sink that delivers to this receiver.
pub fn memory(delivered: Delivered) -> Box<dyn Sink> {
    Box::new(MemorySink(delivered))
}

struct MemorySink(Delivered);

impl Sink for MemorySink {
    /// The cursor is a batch's id, and is compared with the ids there are: never by its number in the sequence, which a
    /// restored store gives to another batch.
    fn resume<'a>(&'a self, lane: &'a LaneState, sealed: &'a [&'a Manifest], _now_ms: i64) -> Asked<'a, Resumed> {
        Box::pin(async move {
            let mut received = self.0.received();
            let Some(last) = received.cursor.clone() else { return Ok(Resumed::Ready(Vec::new())) };
            if let Some(at) = sealed.iter().position(|manifest| manifest.id == last) {
                return Ok(Resumed::Ready(vec![Receipt::accepted(); at + 1]));
            }
            if lane.last_id.as_ref() == Some(&last) {
                return Ok(Resumed::Ready(Vec::new()));
            }
            received.cursor = None;
            Ok(Resumed::Ahead { id: last })
        })
    }

    fn deliver<'a>(&'a self, batch: &'a Batch, _now_ms: i64) -> Asked<'a, Delivery> {
        Box::pin(async move {
            let mut answers = self.0.answers.subscribe();
            // Its sender is a part of the sink.
            let _ = answers.wait_for(|answers| *answers).await;
            let mut received = self.0.received();
            if received.failing {
                return Err(DeliveryError::Unavailable("told to fail".to_owned()));
            }
            if received.cursor.as_ref() != Some(&batch.id) {
                received.lines.extend(batch.lines().map(<[u8]>::to_vec));
                received.heads.extend_from_slice(&batch.heads);
                received.batches.push(batch.events());
                received.cursor = Some(batch.id.clone());
            }
            Ok(Delivery::Taken(Receipt::accepted()))
        })
    }

    fn take_back<'a>(&'a self, _manifest: &'a Manifest, _now_ms: i64) -> Asked<'a, Option<Moved>> {
        Box::pin(async { Ok(None) })
    }
}
