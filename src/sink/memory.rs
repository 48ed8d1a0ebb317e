//! A sink whose receiver is in this process, such as a test's.

use std::sync::{Mutex, PoisonError};

use crate::batch::{Manifest, Request};
use crate::sink::{Acknowledgement, Answer, Delivery, LaneState, Receipt, Resumed, Sink, State};

/// The receiver of a memory sink.
pub trait MemoryReceiver: Send + Sync {
    /// Takes a request. It has all of it for good where it returns nothing.
    fn take<'a>(&'a self, request: &'a Request) -> Answer<'a, Option<Delivery>>;

    /// What it says of requests that it left pending.
    fn acknowledged(&self, pending: &[State]) -> Vec<Acknowledgement> {
        vec![Acknowledgement::Lost; pending.len()]
    }

    /// The id of the last batch that it has. Receivers that keep no such position have none.
    fn last(&self) -> Answer<'_, Option<Box<str>>>;
}

/// A sink whose receiver is in this process.
pub fn memory(receiver: impl MemoryReceiver + 'static) -> Box<dyn Sink> {
    Box::new(MemorySink { receiver, left: Mutex::default() })
}

struct MemorySink<R> {
    receiver: R,
    /// The receiver's last batch where that is not known here: what follows begins behind it.
    left: Mutex<Option<Box<str>>>,
}

impl<R: MemoryReceiver> Sink for MemorySink<R> {
    /// Compares ids and no numbers: a restored store gives the same number to another batch.
    fn resume<'a>(&'a self, lane: &'a LaneState, sealed: &'a [&'a Manifest], _now_ms: i64) -> Answer<'a, Resumed> {
        Box::pin(async move {
            let Some(last) = self.receiver.last().await? else { return Ok(Resumed::Ready(Vec::new())) };
            if let Some(at) = sealed.iter().position(|manifest| manifest.id == last) {
                return Ok(Resumed::Ready(vec![Receipt::accepted(); at + 1]));
            }
            let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            if lane.last_id.as_ref() == Some(&last) || left.as_ref() == Some(&last) {
                return Ok(Resumed::Ready(Vec::new()));
            }
            *left = Some(last.clone());
            Ok(Resumed::Ahead { id: last })
        })
    }

    fn deliver<'a>(&'a self, request: &'a Request, _now_ms: i64) -> Answer<'a, Delivery> {
        Box::pin(async move {
            let answer = self.receiver.take(request).await?;
            Ok(answer.unwrap_or_else(|| Delivery::Taken(Receipt::accepted())))
        })
    }

    fn acknowledged<'a>(&'a self, pending: &'a [State], _now_ms: i64) -> Answer<'a, Vec<Acknowledgement>> {
        Box::pin(async { Ok(self.receiver.acknowledged(pending)) })
    }
}
