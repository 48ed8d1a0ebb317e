//! Intake under paused time, with a fake queue that answers as it is set to and records its requests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance};

use crate::checkpoint::{Durability, SqliteStore};
use crate::collector::clock::Clock;
use crate::collector::error::Error;
use crate::collector::feeds::Feeds;
use crate::collector::intake::acknowledge::{Acknowledge, Polling};
use crate::collector::intake::in_flight::{AckHandle, Ended, EndedMessage, InFlight, InFlightMessages, Proof};
use crate::collector::intake::receive::Intake;
use crate::collector::intake::unrouted::reported::Reported;
use crate::collector::intake::visibility::{self, Terms};
use crate::collector::random::Random;
use crate::collector::report::Reporter;
use crate::collector::schedule::requests;
use crate::collector::shutdown::{self, Stop};
use crate::identity::fault::FaultKind;
use crate::notification::queue::{Attributes, Message, Outcome, Queue, QueueError, ReceiptHandle, Redrive};
use crate::telemetry::metrics::Metrics;

/// A request that the queue got.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Asked {
    Receive,
    Extend(String, u32),
    Delete(String),
}

#[derive(Clone)]
struct ToldQueue(Arc<Mutex<State>>);

struct State {
    began: Instant,
    asked: Vec<(u64, Asked)>,
    messages: VecDeque<Message>,
    /// How many more deletes fail.
    failures: u32,
}

impl ToldQueue {
    fn new(messages: impl IntoIterator<Item = Message>) -> Self {
        let messages = messages.into_iter().collect();
        Self(Arc::new(Mutex::new(State { began: Instant::now(), asked: Vec::new(), messages, failures: 0 })))
    }

    fn note(&self, asked: Asked) {
        let mut state = self.0.lock().unwrap();
        let at_secs = state.began.elapsed().as_secs();
        state.asked.push((at_secs, asked));
    }

    /// The requests so far, each with the second since the beginning.
    fn asked(&self) -> Vec<(u64, Asked)> {
        self.0.lock().unwrap().asked.clone()
    }

    fn receives(&self) -> usize {
        self.asked().iter().filter(|(_, asked)| *asked == Asked::Receive).count()
    }
}

fn names(handles: &[ReceiptHandle]) -> String {
    handles.iter().map(|handle| &*handle.0).collect::<Vec<_>>().join(" ")
}

impl Queue for ToldQueue {
    async fn receive(&self, max: usize, wait_secs: u32) -> Result<Vec<Message>, QueueError> {
        self.note(Asked::Receive);
        let received: Vec<Message> = {
            let messages = &mut self.0.lock().unwrap().messages;
            let count = messages.len().min(max);
            messages.drain(..count).collect()
        };
        if received.is_empty() {
            tokio::time::sleep(Duration::from_secs(u64::from(wait_secs))).await;
        }
        Ok(received)
    }

    async fn extend(&self, handles: &[ReceiptHandle], visibility_secs: u32) -> Result<Vec<Outcome>, QueueError> {
        self.note(Asked::Extend(names(handles), visibility_secs));
        Ok(handles.iter().map(|_| Outcome::Done).collect())
    }

    async fn delete(&self, handles: &[ReceiptHandle]) -> Result<Vec<Outcome>, QueueError> {
        self.note(Asked::Delete(names(handles)));
        let mut state = self.0.lock().unwrap();
        if state.failures > 0 {
            state.failures -= 1;
            let (queue, reason) = ("q".to_owned(), "503".to_owned());
            return Err(QueueError::Unavailable { queue, kind: FaultKind::Unavailable, reason });
        }
        Ok(handles.iter().map(|_| Outcome::Done).collect())
    }

    async fn attributes(&self) -> Result<Attributes, QueueError> {
        Ok(Attributes::default())
    }

    async fn dead_letters(&self, _: &Redrive) -> Result<u64, QueueError> {
        Ok(0)
    }
}

fn message(name: &str, receive_count: u32) -> Message {
    Message {
        id: name.into(),
        receipt_handle: ReceiptHandle(name.into()),
        body: r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2026-01-01T00:00:00.000Z","Bucket":"logs"}"#
            .into(),
        receive_count,
        sent_at_ms: None,
    }
}

fn ended(name: &str, receive_count: u32) -> EndedMessage {
    let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    EndedMessage { message: message(name, receive_count), _slot: slot }
}

fn reporter() -> Reporter {
    Reporter::new(&Arc::default(), &Arc::new(Metrics::new(0)), Instant::now())
}

/// A running `Acknowledge`, and the senders that it listens to.
struct Ending {
    ended: mpsc::UnboundedSender<Ended>,
    polling: mpsc::Sender<Polling>,
    stop: Stop,
    run: JoinHandle<()>,
}

fn ending(queue: &ToldQueue) -> Ending {
    let ((stop, shutdown), (ended, ends), (polling, polls)) =
        (shutdown::channel(), mpsc::unbounded_channel(), mpsc::channel(1));
    let (queue, random) = (Arc::new(queue.clone()), Random::seeded(1));
    let acknowledge = Acknowledge { queue, name: "q".into(), random, reporter: reporter(), shutdown };
    Ending { ended, polling, stop, run: tokio::spawn(acknowledge.run(ends, polls)) }
}

/// Lets every task run until it waits.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_comes_again_the_later_the_oftener_it_came() {
    let queue = ToldQueue::new([]);
    let ending = ending(&queue);
    for (name, receive_count) in [("a", 1), ("b", 3), ("c", 500)] {
        ending.ended.send(Ended::GivenBack(ended(name, receive_count))).unwrap();
    }
    settle().await;
    let extended = |name: &str, secs| (0, Asked::Extend(name.to_owned(), secs));
    assert_eq!(queue.asked(), [extended("a", 5), extended("b", 15), extended("c", 300)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_put_off_comes_again_after_a_quarter_of_an_hour_at_first_and_eleven_hours_in_the_end() {
    let queue = ToldQueue::new([]);
    let ending = ending(&queue);
    for (name, receive_count) in [("a", 1), ("b", 2), ("c", 6), ("d", 7), ("e", 500)] {
        ending.ended.send(Ended::PutOff(ended(name, receive_count))).unwrap();
    }
    settle().await;
    let extended = |(name, secs): (&str, u32)| (0, Asked::Extend(name.to_owned(), secs));
    assert_eq!(queue.asked(), [("a", 900), ("b", 1_800), ("c", 28_800), ("d", 39_600), ("e", 39_600)].map(extended));
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_fails_is_tried_again_and_given_up_in_the_end() {
    let queue = ToldQueue::new([]);
    queue.0.lock().unwrap().failures = 6;
    let ending = ending(&queue);
    ending.ended.send(Ended::Settled(ended("a", 1), vec![Proof::Ignored])).unwrap();
    advance(Duration::from_secs(60)).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(queue.asked().len(), 4);
    ending.ended.send(Ended::Settled(ended("b", 1), vec![Proof::Ignored])).unwrap();
    drop(ending.ended);
    ending.run.await.unwrap();
    let deletes: Vec<Asked> = queue.asked().into_iter().map(|(_, asked)| asked).collect();
    assert_eq!(deletes[4..], [(); 3].map(|()| Asked::Delete("b".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn from_the_stop_on_messages_are_released_at_once_but_not_before_the_last_poll_is_over() {
    let queue = ToldQueue::new([]);
    let ending = ending(&queue);
    ending.stop.request();
    ending.ended.send(Ended::GivenBack(ended("a", 7))).unwrap();
    settle().await;
    assert_eq!(queue.asked(), []);
    drop(ending.polling);
    ending.ended.send(Ended::GivenBack(ended("b", 7))).unwrap();
    drop(ending.ended);
    ending.run.await.unwrap();
    let asked = queue.asked();
    assert!(asked.iter().all(|(_, asked)| matches!(asked, Asked::Extend(_, 0))), "{asked:?}");
    let released: Vec<String> = asked
        .into_iter()
        .filter_map(|(_, asked)| match asked {
            Asked::Extend(names, _) => Some(names),
            _ => None,
        })
        .collect();
    assert_eq!(released.join(" "), "a b");
}

fn in_flight(name: &str, messages: &InFlightMessages) -> Arc<InFlight> {
    let (ended, _) = mpsc::unbounded_channel();
    let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let in_flight = InFlight::new(message(name, 1), ended, slot);
    messages.add(&in_flight);
    in_flight
}

/// The seconds at which the message's visibility was extended.
fn kept(queue: &ToldQueue, name: &str) -> Vec<u64> {
    let asked = queue.asked().into_iter();
    asked
        .filter_map(|(at, asked)| match asked {
            Asked::Extend(names, 120) => names.split(' ').any(|other| other == name).then_some(at),
            _ => None,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_is_kept_invisible_while_its_work_moves_and_never_for_twelve_hours() {
    let (queue, messages, (_stop, shutdown)) = (ToldQueue::new([]), InFlightMessages::default(), shutdown::channel());
    let stall_after = Duration::from_secs(600);
    let terms = Terms { queue: "q".into(), visibility_secs: 120, stall_after, reporter: reporter() };
    let run = visibility::run(Arc::new(queue.clone()), terms, messages.clone(), Arc::new(Metrics::new(0)), shutdown);
    tokio::spawn(run);
    let (moves, stalls) = (in_flight("moves", &messages), in_flight("stalls", &messages));
    let ack = AckHandle::on(&moves);
    for _ in 0..12 * 60 {
        ack.touch();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(kept(&queue, "stalls"), (1..=10).map(|minute| minute * 60).collect::<Vec<_>>());
    let moved = kept(&queue, "moves");
    assert_eq!(moved, (1..=moved.len() as u64).map(|minute| minute * 60).collect::<Vec<_>>());
    assert_eq!(*moved.last().unwrap(), 11 * 3600 + 1800);
    drop((stalls, ack));
}

/// A running receiver, and where the ends of its messages arrive.
struct Receiving {
    ends: mpsc::UnboundedReceiver<Ended>,
    stop: Stop,
    run: JoinHandle<Result<(), Error>>,
    _state: tempfile::TempDir,
}

fn receiving(queue: &ToldQueue, held_max: usize) -> Receiving {
    let directory = tempfile::tempdir().unwrap();
    let (store, mut writing) = SqliteStore::open_apart(directory.path(), 0, Durability::Process).unwrap();
    tokio::spawn(async move {
        while writing.asked().await {
            writing.commit().answer();
        }
    });
    let ((stop, shutdown), (ended, ends)) = (shutdown::channel(), mpsc::unbounded_channel());
    let intake = Intake {
        queue: Arc::new(queue.clone()),
        name: "q".into(),
        feeds: Arc::new(Feeds(Vec::new())),
        quarantine: Arc::new(store),
        clock: Clock::of(|| 0),
        random: Random::seeded(1),
        metrics: Arc::new(Metrics::new(0)),
        reporter: reporter(),
        read_requests: requests::channel(0, 1).0,
        ended,
        in_flight: InFlightMessages::default(),
        slots: Arc::new(Semaphore::new(held_max)),
        poison_receives_max: 20,
        topics: Some(vec!["aws:s3".to_owned()]),
        unrouted_max: 10,
        reported: Reported::default(),
        last_poll: Duration::from_secs(8),
        _polling: mpsc::channel(1).0,
        once: false,
    };
    Receiving { ends, stop, run: tokio::spawn(Arc::new(intake).run(shutdown)), _state: directory }
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_asked_at_once_while_it_has_more_and_every_few_seconds_when_it_is_empty() {
    let queue = ToldQueue::new(std::iter::repeat_n(message("a", 1), 25));
    let mut receiving = receiving(&queue, 10);
    settle().await;
    // A test event is settled at once. Its slot is free again once its end is handled, and the next poll takes the next
    // ten.
    assert_eq!((receiving.ends.len(), queue.receives()), (10, 1), "no more are held than may be");
    let mut settled = 0;
    while let Ok(Ended::Settled(..)) = receiving.ends.try_recv() {
        settled += 1;
        if receiving.ends.is_empty() {
            settle().await;
        }
    }
    assert_eq!((settled, queue.receives()), (25, 4));
    tokio::time::sleep(Duration::from_secs(21)).await;
    assert_eq!(queue.receives(), 9, "an empty queue is asked every four seconds");
    receiving.stop.request();
    receiving.run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_nobody_understands_goes_back_until_it_came_too_often() {
    let garbage = |name: &str, receive_count| Message { body: "{".into(), ..message(name, receive_count) };
    let queue = ToldQueue::new([garbage("a", 1), garbage("b", 19), garbage("c", 20)]);
    let mut receiving = receiving(&queue, 10);
    let mut ended = Vec::new();
    for _ in 0..3 {
        ended.push(match receiving.ends.recv().await.unwrap() {
            Ended::GivenBack(ended) => (ended.message.id.to_string(), false),
            Ended::Settled(ended, proofs) => {
                assert!(matches!(proofs[..], [Proof::Quarantined(_)]), "{proofs:?}");
                (ended.message.id.to_string(), true)
            }
            other @ Ended::PutOff(_) => panic!("{other:?}"),
        });
    }
    assert_eq!(ended, [("a".to_owned(), false), ("b".to_owned(), false), ("c".to_owned(), true)]);
}
