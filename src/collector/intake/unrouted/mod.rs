//! Objects that had no feed when a notification named them: once they match a feed, they are read like any change.

pub(in crate::collector) mod reported;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tracing::info;

use crate::checkpoint::{Quarantine, StoreError};
use crate::collector::feeds::{Feeds, Route};
use crate::collector::intake::in_flight::{AckHandle, Name, NameEnded};
use crate::collector::schedule::requests::ReadRequests;
use crate::collector::shutdown::Shutdown;
use crate::notification::ObjectChange;

/// How many objects are worked on at once, and read from the store at once.
const AT_ONCE: usize = 1000;

/// The wait before objects whose work was given up are requested again.
const AGAIN_EVERY: Duration = Duration::from_secs(600);

/// Requests reads of objects whose names were stored for want of a feed.
pub(in crate::collector) struct Rerouting {
    pub feeds: Arc<Feeds>,
    pub quarantine: Arc<dyn Quarantine>,
    pub read_requests: ReadRequests,
    /// Do one round, and end.
    pub once: bool,
}

/// The outcome of one round over the stored names.
#[derive(Default)]
struct Round {
    ordered: u64,
    /// Still without a feed.
    left: u64,
    given_up: u64,
    done: Vec<u64>,
}

impl Rerouting {
    /// Requests reads of the objects that match a feed now, and forgets each name once nothing is left to do for its
    /// object. The feeds do not change while the process runs, so this ends when all those objects are done.
    pub(in crate::collector) async fn run(self, shutdown: Shutdown) -> Result<(), StoreError> {
        let Self { feeds, quarantine, read_requests, once } = self;
        // With `once` the dispatcher ends when no sender of read requests is left, so none is kept.
        let mut read_requests = Some(read_requests);
        while let Some(read_requests) = if once { read_requests.take() } else { read_requests.clone() } {
            let given_up = round(&feeds, &*quarantine, read_requests, &shutdown).await?;
            if given_up == 0 || once {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                () = tokio::time::sleep(AGAIN_EVERY) => {}
            }
        }
        Ok(())
    }
}

/// Goes through all stored names once. Returns for how many objects the work was given up.
async fn round(
    feeds: &Feeds,
    quarantine: &dyn Quarantine,
    read_requests: ReadRequests,
    shutdown: &Shutdown,
) -> Result<u64, StoreError> {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut round = Round::default();
    let mut after = 0;
    'all: loop {
        let names = quarantine.unrouted(after, AT_ONCE).await?;
        let Some(last) = names.last() else { break };
        after = last.id;
        for name in names {
            let feed = match feeds.route(&name.object) {
                Route::Feed(feed) => feed,
                Route::Ignored => {
                    round.done.push(name.id);
                    continue;
                }
                Route::Nobody { .. } => {
                    round.left += 1;
                    continue;
                }
            };
            let slot = tokio::select! {
                biased;
                () = shutdown.requested() => break 'all,
                slot = Arc::clone(&slots).acquire_owned() => slot,
            };
            let Ok(slot) = slot else { break 'all };
            round.ordered += 1;
            let object = feeds[feed].canonical(name.object);
            let change = ObjectChange::of(object);
            let ack = AckHandle::on_name(Name { id: name.id, ended: ended.clone(), _slot: slot });
            read_requests.send(feed, change, Some(ack)).await;
        }
        while let Ok(end) = ends.try_recv() {
            round.note(end);
        }
        round.forget(quarantine).await?;
        if shutdown.is_requested() {
            break;
        }
        tokio::task::yield_now().await;
    }
    if round.ordered > 0 || round.left > 0 {
        let Round { ordered, left, .. } = round;
        info!(
            ordered,
            left,
            "objects that no feed took before are read now; `auditferry quarantine unrouted list` shows those that are left"
        );
    }
    // Only the dispatcher holds ack handles from here on. It drops them at the latest when it ends.
    drop((ended, read_requests));
    let mut some = Vec::new();
    while ends.recv_many(&mut some, AT_ONCE).await > 0 {
        some.drain(..).for_each(|end| round.note(end));
        round.forget(quarantine).await?;
    }
    Ok(round.given_up)
}

impl Round {
    /// Forgets the names for which nothing is left to do.
    async fn forget(&mut self, quarantine: &dyn Quarantine) -> Result<(), StoreError> {
        if self.done.is_empty() {
            return Ok(());
        }
        match quarantine.forget_unrouted(std::mem::take(&mut self.done)).await {
            // The names stay until the next start, which finds their objects unchanged.
            Err(StoreError::Full) => Ok(()),
            forgotten => forgotten,
        }
    }

    fn note(&mut self, end: NameEnded) {
        match end.proof {
            Some(_) => self.done.push(end.id),
            None => self.given_up += 1,
        }
    }
}
