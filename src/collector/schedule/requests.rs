//! Read requests on their way to the dispatcher. Each feed may have a limited share of them waiting, so that no feed
//! holds up the others.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::collector::ids::{FeedId, PerFeed};
use crate::collector::intake::in_flight::AckHandle;
use crate::notification::ObjectChange;

/// How many objects of all feeds may wait to be read.
const WAITING_MAX: usize = 10_000;

/// How many read requests may wait for the dispatcher to look at them.
const UNSEEN_MAX: usize = 1024;

/// How many objects of one feed may wait to be read: at least as many as may be read at once.
pub(in crate::collector) fn waiting_share(feeds: usize, objects_at_once: usize) -> usize {
    (WAITING_MAX / feeds.max(1)).max(objects_at_once)
}

/// A change, its feed, and its ack handle if it came in a message.
#[derive(Debug)]
pub(in crate::collector) struct ReadRequest {
    pub feed: FeedId,
    pub change: ObjectChange,
    pub ack: Option<AckHandle>,
    /// Its slot in the feed's share.
    pub slot: OwnedSemaphorePermit,
}

/// Requests reads of the dispatcher. Cheap to clone.
#[derive(Clone)]
pub(in crate::collector) struct ReadRequests {
    requests: mpsc::Sender<ReadRequest>,
    /// The slots that each feed has left.
    slots: Arc<PerFeed<Arc<Semaphore>>>,
}

/// The sending and the receiving end, for `feeds` feeds of which each may have `share` objects waiting.
pub(in crate::collector) fn channel(feeds: usize, share: usize) -> (ReadRequests, mpsc::Receiver<ReadRequest>) {
    let (requests, unseen) = mpsc::channel(UNSEEN_MAX);
    let slots = (0..feeds).map(|_| Arc::new(Semaphore::new(share))).collect();
    (ReadRequests { requests, slots: Arc::new(slots) }, unseen)
}

impl ReadRequests {
    /// Requests a read, once the feed has a free slot. If the dispatcher is closed, the process is ending: the ack
    /// handle is dropped, and its message is received again.
    pub(in crate::collector) async fn send(&self, feed: FeedId, change: ObjectChange, ack: Option<AckHandle>) {
        if let Ok(slot) = Arc::clone(&self.slots[feed]).acquire_owned().await {
            let _ = self.requests.send(ReadRequest { feed, change, ack, slot }).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use super::*;
    use crate::notification::ObjectId;

    fn change(number: usize) -> ObjectChange {
        ObjectChange::of(ObjectId::new("b", format!("k{number}")))
    }

    #[tokio::test(start_paused = true)]
    async fn a_feed_requests_no_more_than_its_share_and_leaves_the_others_theirs() {
        let (requests, mut unseen) = channel(2, 3);
        let scan = async {
            for number in 0..50_000 {
                requests.send(FeedId(0), change(number), None).await;
            }
            pending::<()>().await;
        };
        assert!(tokio::time::timeout(Duration::from_secs(60), scan).await.is_err());
        assert_eq!(unseen.len(), 3);
        requests.send(FeedId(1), change(0), None).await;
        assert_eq!(unseen.len(), 4);
        drop(unseen.recv().await);
        requests.send(FeedId(0), change(3), None).await;
        assert_eq!(unseen.len(), 4, "what was read makes room for another");
    }

    #[test]
    fn however_many_feeds_there_are_each_may_read_as_many_as_are_read_at_once() {
        assert_eq!(waiting_share(1, 8), 10_000);
        assert_eq!(waiting_share(3, 8), 3_333);
        assert_eq!(waiting_share(5_000, 8), 8);
    }
}
