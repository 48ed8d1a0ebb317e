//! A sink whose receiver is in this process, as in tests.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::batch::{Manifest, Request};
use crate::identity::Identity;
use crate::sink::{
    Acknowledgement, Answer, Delivery, Flow, Kind, LaneState, OpenError, Output, Receipt, Resumed, Sink, State,
};

/// The receiver of a memory sink.
pub trait MemoryReceiver: Send + Sync {
    /// Takes a request. `None` if the receiver has all of it for good.
    fn take<'a>(&'a self, request: &'a Request) -> Answer<'a, Option<Delivery>>;

    /// Answers for the requests that the receiver left pending, in their order.
    fn acknowledged<'a>(&'a self, pending: &'a [State]) -> Answer<'a, Vec<Acknowledgement>> {
        Box::pin(async { Ok(vec![Acknowledgement::Lost; pending.len()]) })
    }

    /// The id of the receiver's last batch. `None` if the receiver keeps no such position.
    fn last(&self) -> Answer<'_, Option<Box<str>>>;
}

/// Opens the lane of this number.
type OpenLane = Box<dyn Fn(u16) -> Box<dyn Sink> + Send + Sync>;

/// A kind of sink whose receivers are in this process.
pub struct MemoryKind {
    pub flow: Flow,
    pub gathers_for: Option<Duration>,
    pub open_lane: OpenLane,
}

impl fmt::Debug for MemoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryKind").field("flow", &self.flow).finish_non_exhaustive()
    }
}

impl Kind for MemoryKind {
    fn flow(&self) -> Flow {
        self.flow
    }

    fn gathers_for(&self) -> Option<Duration> {
        self.gathers_for
    }

    fn output(&self) -> Output<'_> {
        Output::Shared
    }

    fn check(&self, _problem: &mut dyn FnMut(&str, &str)) {}

    fn open(&self, lanes: u16, _identity: Option<&Identity>) -> Result<Vec<Box<dyn Sink>>, OpenError> {
        Ok((0..lanes).map(&self.open_lane).collect())
    }
}

/// Opens one lane to this receiver.
pub fn memory(receiver: impl MemoryReceiver + 'static) -> Box<dyn Sink> {
    Box::new(MemorySink { receiver, left: Mutex::default() })
}

struct MemorySink<R> {
    receiver: R,
    /// The receiver's last batch, once [`Resumed::Ahead`] reported it: new batches follow it.
    left: Mutex<Option<Box<str>>>,
}

impl<R: MemoryReceiver> Sink for MemorySink<R> {
    /// Compares batch ids, not sequence numbers: after the store was restored, another batch gets the same number.
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
        self.receiver.acknowledged(pending)
    }
}
