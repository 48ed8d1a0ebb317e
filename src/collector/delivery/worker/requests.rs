//! A lane's requests and questions under way, and the times that it waits for.

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until};

use super::window::Run;
use crate::collector::delivery::gate::Gate;
use crate::sink::{Acknowledgement, Delivery, DeliveryError, State};

/// The requests that are under way.
pub(super) type Sending = FuturesUnordered<Pin<Box<dyn Future<Output = Sent> + Send>>>;

/// How a request ended.
pub(super) struct Sent {
    pub(super) seq: u64,
    pub(super) run: Run,
    pub(super) result: Result<Delivery, DeliveryError>,
}

/// The receiver's answers about pending events.
pub(super) struct Asked {
    pub(super) states: Vec<State>,
    pub(super) result: Result<Vec<Acknowledgement>, DeliveryError>,
}

/// The questions about pending events, one at a time.
#[derive(Default)]
pub(super) struct Asking {
    pub(super) under_way: FuturesUnordered<Pin<Box<dyn Future<Output = Asked> + Send>>>,
    pub(super) wait: Duration,
    pub(super) not_before: Option<Instant>,
    /// The last question failed.
    pub(super) is_failing: bool,
    /// When requests were last sent again for want of acknowledgements. `None` once an acknowledgement has come.
    pub(super) in_vain: Option<Instant>,
}

impl Asking {
    pub(super) async fn next(&mut self) -> Option<Asked> {
        self.under_way.next().await
    }
}

/// When the worker has to act without a message that wakes it.
#[derive(Clone, Copy)]
pub(super) struct Due {
    pub(super) at: Option<Instant>,
    /// A request waits for the gate.
    pub(super) waits_for_gate: bool,
}

impl Due {
    /// Returns at the time, or when the gate turns. Cancel-safe.
    pub(super) async fn reached(self, gate: &mut Gate) {
        let at = async {
            match self.at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = gate.turned(), if self.waits_for_gate => {}
            () = at => {}
        }
    }
}
