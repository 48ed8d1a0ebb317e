//! Takes up requeue requests: a requeued object or record is read as if it had just been written, a requeued message is
//! parsed again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::checkpoint::{Asked, Quarantine, Replacement, Request, StoreError};
use crate::collector::clock::Clock;
use crate::collector::feeds::{Feeds, Route};
use crate::collector::intake::receive::POISON_BYTES_MAX;
use crate::collector::job::kept::inflated;
use crate::collector::report::Reporter;
use crate::collector::schedule::requests::ReadRequests;
use crate::collector::shutdown::Shutdown;
use crate::notification::parse::{Notice, Written, parse};
use crate::notification::{ObjectChange, ObjectId};
use crate::telemetry::metrics::Metrics;

/// How often the store is asked for new requests.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often open requests are taken up again, since their first try may have failed.
const AGAIN_EVERY: Duration = Duration::from_secs(600);

/// How many requests are read from the store at once.
const REQUESTS_AT_ONCE: usize = 1024;

/// Brings requeue requests to the dispatcher.
pub(super) struct Requeues {
    pub feeds: Arc<Feeds>,
    pub quarantine: Arc<dyn Quarantine>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub reporter: Reporter,
    pub read_requests: ReadRequests,
    /// The SNS topics whose messages each queue accepts, by the queue's name.
    pub topics: BTreeMap<Arc<str>, Option<Vec<String>>>,
    /// How many names of objects that match no feed are kept.
    pub unrouted_max: u64,
    /// Take up the requests there are, and end.
    pub once: bool,
}

impl Requeues {
    /// Takes up requests, until the stop.
    pub(super) async fn run(self, shutdown: Shutdown) -> Result<(), StoreError> {
        let (mut taken, mut began) = (0, Instant::now());
        loop {
            taken = match self.take_up(taken, &shutdown).await {
                Err(StoreError::Full) if !self.once => {
                    // The next round may take up some requests twice, which does no harm.
                    self.reporter.store_is_full();
                    taken
                }
                taken => taken?,
            };
            if self.once {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if began.elapsed() >= AGAIN_EVERY {
                (taken, began) = (0, Instant::now());
            }
        }
    }

    /// Takes up the requests after number `taken`. Returns the last one's number.
    async fn take_up(&self, mut taken: u64, shutdown: &Shutdown) -> Result<u64, StoreError> {
        let mut ordered: BTreeSet<ObjectId> = BTreeSet::new();
        loop {
            let requests = self.quarantine.requests(taken, REQUESTS_AT_ONCE).await?;
            let Some(last) = requests.last() else { return Ok(taken) };
            taken = last.number;
            if ordered.is_empty() {
                info!(requests = requests.len(), "trying again what was requeued out of quarantine");
            }
            for Request { id, asked, .. } in requests {
                if shutdown.is_requested() {
                    return Ok(taken);
                }
                match asked {
                    Asked::Message { queue } => self.parse_again(id, &queue).await?,
                    Asked::Record { object } if ordered.contains(&object) => {}
                    Asked::Record { object } => {
                        if self.order(id, &object).await? {
                            ordered.insert(object);
                        }
                    }
                    Asked::Object { object } => {
                        self.quarantine.reconsider(object.clone()).await?;
                        if self.order(id, &object).await? {
                            ordered.insert(object);
                        }
                    }
                }
            }
            if ordered.len() >= REQUESTS_AT_ONCE {
                ordered.clear();
            }
        }
    }

    /// Requests a read of the object, if a feed still reads it. Returns whether one does.
    async fn order(&self, id: u64, object: &ObjectId) -> Result<bool, StoreError> {
        let Route::Feed(feed) = self.feeds.route(object) else {
            self.quarantine.refuse_again(vec![(id, "no feed reads its object any more".to_owned())]).await?;
            return Ok(false);
        };
        self.read_requests.send(feed, ObjectChange::of(object.clone()), None).await;
        Ok(true)
    }

    /// Parses a message again. In quarantine, the objects that it names replace the message until they are read, so
    /// that none is lost.
    async fn parse_again(&self, id: u64, queue: &Arc<str>) -> Result<(), StoreError> {
        let body = self.quarantine.quarantined_body(id).await?.and_then(|body| inflated(&body, POISON_BYTES_MAX).ok());
        let body = String::from_utf8(body.unwrap_or_default()).unwrap_or_default();
        let topics = self.topics.get(queue).and_then(Option::as_deref);
        let notices = match parse(&body, topics) {
            Ok(notices) => notices,
            Err(error) => return self.quarantine.refuse_again(vec![(id, error.to_string())]).await,
        };
        let (mut names, mut unrouted, mut still) = (Vec::new(), Vec::new(), None);
        for notice in notices {
            match notice {
                Notice::Malformed(error) => still = Some(error.to_string()),
                Notice::Ignored(_) => {}
                Notice::Written(Written { change: ObjectChange { object, .. }, .. }) => {
                    match self.feeds.route(&object) {
                        Route::Feed(at) => {
                            let feed = &self.feeds[at];
                            names.push((Arc::clone(&feed.name), feed.canonical(object)));
                        }
                        Route::Ignored => {}
                        Route::Nobody { why, nearest } => {
                            unrouted.push(self.feeds.unrouted(object, queue, why, nearest));
                        }
                    }
                }
            }
        }
        if !unrouted.is_empty() {
            warn!(%queue, objects = unrouted.len(), "a requeued message names objects that belong to no feed; their names are kept");
        }
        let outcome = if still.is_some() { "refused" } else { "delivered" };
        self.metrics.messages_requeued.add([queue, outcome], 1);
        let (most, now_ms) = (self.unrouted_max, self.clock.now_ms());
        self.quarantine.replace_message(Replacement { id, names, unrouted, most, still, now_ms }).await
    }
}
