//! In-flight messages: each is settled once every change in it is, and otherwise given back. The same holds for the
//! stored names of objects that had no feed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::checkpoint::{Passed, Quarantined, Remembered};
use crate::notification::queue::Message;

/// The proof that one change in a message needs nothing more.
#[derive(Debug)]
pub(in crate::collector) enum Proof {
    /// Every sink of the feed has had the object's content, or has it in its backlog.
    Passed(Passed),
    /// The object or message cannot be read or understood, and is in quarantine.
    Quarantined(Quarantined),
    /// The object is gone.
    Vanished,
    /// The change asks for no read.
    Ignored,
    /// The change names an object that belongs to no feed, and the name is stored.
    Remembered(Remembered),
}

/// How an in-flight message ended.
#[derive(Debug)]
pub(in crate::collector) enum Ended {
    /// Every change is settled: the message is deleted in exchange for the proofs.
    Settled(EndedMessage, Vec<Proof>),
    /// Some change was given up: the message is given back, and received again.
    GivenBack(EndedMessage),
    /// Some change cannot be settled soon: the message is given back, and stays invisible for a long time.
    PutOff(EndedMessage),
}

/// A message that is not worked on any more. It keeps its slot until the queue was told of its end.
#[derive(Debug)]
pub(in crate::collector) struct EndedMessage {
    pub message: Message,
    /// Bounds how many messages are in flight.
    pub _slot: OwnedSemaphorePermit,
}

/// A received message on which work is under way. Its visibility is extended as long as this exists.
#[derive(Debug)]
pub(in crate::collector) struct InFlight {
    message: Message,
    pub received: Instant,
    proofs: Mutex<Vec<Proof>>,
    given_up: AtomicBool,
    is_put_off: AtomicBool,
    /// When its work last made progress, in milliseconds after `received`.
    progress_ms: AtomicU64,
    ended: mpsc::UnboundedSender<Ended>,
    /// Present until the message ends.
    slot: Option<OwnedSemaphorePermit>,
}

impl InFlight {
    /// A message that was just received. Its end is sent to `ended`. `slot` bounds how many are in flight.
    pub(in crate::collector) fn new(
        message: Message,
        ended: mpsc::UnboundedSender<Ended>,
        slot: OwnedSemaphorePermit,
    ) -> Arc<Self> {
        Arc::new(Self {
            message,
            received: Instant::now(),
            proofs: Mutex::default(),
            given_up: AtomicBool::new(false),
            is_put_off: AtomicBool::new(false),
            progress_ms: AtomicU64::new(0),
            ended,
            slot: Some(slot),
        })
    }

    pub(in crate::collector) fn message(&self) -> &Message {
        &self.message
    }

    fn touch(&self) {
        let now_ms = u64::try_from(self.received.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// When its work last made progress, in milliseconds after its receipt.
    pub(in crate::collector) fn progress_ms(&self) -> u64 {
        self.progress_ms.load(Ordering::Relaxed)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let proofs = std::mem::take(&mut *self.proofs.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(slot) = self.slot.take() else { return };
        let message = EndedMessage { message: self.message.clone(), _slot: slot };
        let ended = if self.is_put_off.load(Ordering::Acquire) {
            Ended::PutOff(message)
        } else if self.given_up.load(Ordering::Acquire) || proofs.is_empty() {
            Ended::GivenBack(message)
        } else {
            Ended::Settled(message, proofs)
        };
        // The receiver outlives the messages. If it is gone, the process is ending, and the message is received again.
        let _ = self.ended.send(ended);
    }
}

/// One change's share in the message, or in the stored name, that it comes from. If it is dropped unsettled, the
/// message is given back, and the name stays.
#[derive(Debug)]
pub(in crate::collector) struct AckHandle {
    on: Option<On>,
}

#[derive(Debug)]
enum On {
    Message(Arc<InFlight>),
    Name(Name),
}

impl AckHandle {
    pub(in crate::collector) fn on(message: &Arc<InFlight>) -> Self {
        Self { on: Some(On::Message(Arc::clone(message))) }
    }

    pub(in crate::collector) fn on_name(name: Name) -> Self {
        Self { on: Some(On::Name(name)) }
    }

    /// Settles the change: it needs nothing more.
    pub(in crate::collector) fn settle(mut self, proof: Proof) {
        match self.on.take() {
            Some(On::Message(message)) => message.proofs.lock().unwrap_or_else(PoisonError::into_inner).push(proof),
            Some(On::Name(name)) => name.end(Some(proof)),
            None => {}
        }
    }

    /// Puts the change off: it cannot be settled soon, and its message is given back for a long time.
    pub(in crate::collector) fn put_off(self) {
        if let Some(On::Message(message)) = &self.on {
            message.is_put_off.store(true, Ordering::Release);
        }
    }

    /// Notes that the change made progress, so that its message's visibility is extended.
    pub(in crate::collector) fn touch(&self) {
        if let Some(On::Message(message)) = &self.on {
            message.touch();
        }
    }
}

impl Drop for AckHandle {
    fn drop(&mut self) {
        match self.on.take() {
            Some(On::Message(message)) => message.given_up.store(true, Ordering::Release),
            Some(On::Name(name)) => name.end(None),
            None => {}
        }
    }
}

/// A stored name of an object that had no feed, on which work is under way.
#[derive(Debug)]
pub(in crate::collector) struct Name {
    /// Its number in the checkpoint store.
    pub id: u64,
    /// Receives the end of the work.
    pub ended: mpsc::UnboundedSender<NameEnded>,
    /// Bounds how many names are worked on at once.
    pub _slot: OwnedSemaphorePermit,
}

/// How work on a name ended. `proof` is `None` if it was given up.
#[derive(Debug)]
pub(in crate::collector) struct NameEnded {
    pub id: u64,
    pub proof: Option<Proof>,
}

impl Name {
    fn end(self, proof: Option<Proof>) {
        // The receiver outlives the names. If it is gone, the process is ending, and the name stays stored.
        let _ = self.ended.send(NameEnded { id: self.id, proof });
    }
}

/// The in-flight messages of one queue, to extend their visibility.
#[derive(Clone, Debug, Default)]
pub(in crate::collector) struct InFlightMessages(Arc<Mutex<Vec<Weak<InFlight>>>>);

impl InFlightMessages {
    pub(in crate::collector) fn add(&self, message: &Arc<InFlight>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(message));
    }

    /// The messages that are still in flight.
    pub(in crate::collector) fn all(&self) -> Vec<Arc<InFlight>> {
        let mut in_flight = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        in_flight.retain(|message| message.strong_count() > 0);
        in_flight.iter().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::queue::ReceiptHandle;
    use tokio::sync::Semaphore;

    fn in_flight() -> (Arc<InFlight>, mpsc::UnboundedReceiver<Ended>) {
        in_flight_in(&Arc::new(Semaphore::new(1)))
    }

    fn in_flight_in(slots: &Arc<Semaphore>) -> (Arc<InFlight>, mpsc::UnboundedReceiver<Ended>) {
        let message = Message {
            id: "1".into(),
            receipt_handle: ReceiptHandle("r".into()),
            body: "{}".into(),
            receive_count: 1,
            sent_at_ms: None,
        };
        let (ended, ends) = mpsc::unbounded_channel();
        let slot = Arc::clone(slots).try_acquire_owned().unwrap();
        (InFlight::new(message, ended, slot), ends)
    }

    fn vanished() -> Proof {
        Proof::Vanished
    }

    #[tokio::test]
    async fn a_message_is_settled_once_every_change_in_it_is() {
        let (message, mut ends) = in_flight();
        let (one, two) = (AckHandle::on(&message), AckHandle::on(&message));
        drop(message);
        one.settle(vanished());
        assert!(ends.try_recv().is_err(), "the other change is still open");
        two.settle(vanished());
        assert!(matches!(ends.try_recv(), Ok(Ended::Settled(_, proofs)) if proofs.len() == 2));
    }

    #[tokio::test]
    async fn a_message_has_its_slot_until_its_end_was_dealt_with() {
        let slots = Arc::new(Semaphore::new(1));
        let (message, mut ends) = in_flight_in(&slots);
        AckHandle::on(&message).settle(vanished());
        drop(message);
        let ended = ends.try_recv().unwrap();
        assert_eq!(slots.available_permits(), 0, "the queue still has the message");
        drop(ended);
        assert_eq!(slots.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_change_given_up_gives_the_whole_message_back() {
        let (message, mut ends) = in_flight();
        let (one, two) = (AckHandle::on(&message), AckHandle::on(&message));
        drop(message);
        one.settle(vanished());
        drop(two);
        assert!(matches!(ends.try_recv(), Ok(Ended::GivenBack(_))));
    }

    #[tokio::test]
    async fn one_change_put_off_puts_off_the_whole_message() {
        let (message, mut ends) = in_flight();
        let changes = [(); 3].map(|()| AckHandle::on(&message));
        drop(message);
        let [one, two, three] = changes;
        one.put_off();
        two.settle(vanished());
        drop(three);
        assert!(matches!(ends.try_recv(), Ok(Ended::PutOff(_))));
    }

    #[tokio::test]
    async fn a_name_is_done_with_the_proof_and_stays_without() {
        let (ended, mut ends) = mpsc::unbounded_channel();
        let slots = Arc::new(Semaphore::new(2));
        let name = |id| Name { id, ended: ended.clone(), _slot: Arc::clone(&slots).try_acquire_owned().unwrap() };
        let (one, two) = (AckHandle::on_name(name(1)), AckHandle::on_name(name(2)));
        assert_eq!(slots.available_permits(), 0);
        one.settle(vanished());
        assert!(matches!(ends.try_recv(), Ok(NameEnded { id: 1, proof: Some(Proof::Vanished) })));
        drop(two);
        assert!(matches!(ends.try_recv(), Ok(NameEnded { id: 2, proof: None })));
        assert!(ends.try_recv().is_err(), "each ends once");
        assert_eq!(slots.available_permits(), 2);
    }

    #[tokio::test]
    async fn a_message_nobody_claimed_goes_back() {
        let (message, mut ends) = in_flight();
        drop(message);
        assert!(matches!(ends.try_recv(), Ok(Ended::GivenBack(_))));
    }
}
