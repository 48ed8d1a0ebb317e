//! A queue like SQS: a received message is hidden for a while, and comes again unless it is deleted, and sometimes even
//! then.

use std::collections::BTreeMap;
use std::time::Duration;

use auditferry::testing::identity::fault::FaultKind;
use auditferry::testing::notification::queue::{
    Attributes, Message, Outcome, Queue, QueueError, ReceiptHandle, Redrive,
};
use tokio::time::Instant;

use crate::happening::Forgery;
use crate::oracle;
use crate::world::{State, World};

/// All messages that are not deleted.
#[derive(Default)]
pub struct Messages {
    pub all: BTreeMap<u64, Sent>,
    next: u64,
}

/// One message.
#[derive(Clone, Debug)]
pub struct Sent {
    body: String,
    /// The object and version that a genuine message is about.
    pub of: Option<((&'static str, String), usize)>,
    /// From when on it can be received, in milliseconds.
    pub visible_ms: u64,
    sent_ms: i64,
    receives: u32,
    /// Whether the process has it, and has neither given it back nor asked for its deletion.
    pub is_held: bool,
}

/// The collector's access to the queue.
#[derive(Clone)]
pub struct EventQueue {
    pub world: World,
}

impl EventQueue {
    fn unavailable(reason: &str) -> QueueError {
        let (queue, reason) = ("events".to_owned(), reason.to_owned());
        QueueError::Unavailable { queue, kind: FaultKind::Unavailable, reason }
    }

    /// Receives up to `max` messages that are visible now.
    fn take(&self, max: usize) -> Vec<Message> {
        let mut state = self.world.state();
        let (now_ms, visible_ms) = (state.now_ms(), state.setting.visibility_secs * 1000);
        let mut ready: Vec<u64> =
            state.messages.all.iter().filter(|(_, sent)| sent.visible_ms <= now_ms).map(|(id, _)| *id).collect();
        state.chance.shuffle(&mut ready);
        ready.truncate(max);
        let mut taken = Vec::with_capacity(ready.len());
        for id in ready {
            let lapses = state.rates.lapses;
            let hidden_ms = if state.happens(lapses) { 1000 } else { visible_ms };
            if hidden_ms < visible_ms {
                state.tally.fault("visibility lapses");
            }
            let Some(sent) = state.messages.all.get_mut(&id) else { continue };
            sent.visible_ms = now_ms + hidden_ms;
            sent.receives += 1;
            taken.push(Message {
                id: id.to_string().into(),
                receipt_handle: ReceiptHandle(format!("{id} {}", sent.receives).into()),
                body: sent.body.as_str().into(),
                receive_count: sent.receives,
                sent_at_ms: Some(sent.sent_ms),
            });
        }
        if !taken.is_empty() {
            let names: Vec<&str> = taken.iter().map(|message| &*message.receipt_handle.0).collect();
            state.note(format!("received {names:?}"));
        }
        taken
    }

    /// Applies `what` to each message whose handle is still valid.
    fn each(&self, handles: &[ReceiptHandle], mut what: impl FnMut(&mut State, u64)) -> Vec<Outcome> {
        let mut state = self.world.state();
        let now_ms = state.now_ms();
        let one = |handle: &ReceiptHandle| {
            let (id, receive) = handle.0.split_once(' ').unwrap();
            let id: u64 = id.parse().unwrap();
            let sent = state.messages.all.get(&id);
            if !sent.is_some_and(|sent| sent.receives.to_string() == receive && sent.visible_ms > now_ms) {
                return Outcome::Lost;
            }
            what(&mut state, id);
            Outcome::Done
        };
        handles.iter().map(one).collect()
    }
}

impl Queue for EventQueue {
    async fn receive(&self, max: usize, wait_secs: u32) -> Result<Vec<Message>, QueueError> {
        self.world.gate("receive").await.map_err(|_| Self::unavailable("503"))?;
        let until = Instant::now() + Duration::from_secs(u64::from(wait_secs));
        let received = loop {
            let received = self.take(max);
            let (arrived, next_ms, now_ms) = {
                let state = self.world.state();
                let next_ms = state.messages.all.values().map(|sent| sent.visible_ms).min();
                (state.arrived.clone(), next_ms, state.now_ms())
            };
            if !received.is_empty() || Instant::now() >= until {
                break received;
            }
            let next =
                next_ms.map(|next_ms| Instant::now() + Duration::from_millis(next_ms.saturating_sub(now_ms).max(1)));
            tokio::select! {
                biased;
                () = arrived.notified() => {}
                () = tokio::time::sleep_until(next.map_or(until, |next| next.min(until))) => {}
            }
        };
        self.world.gate("receive's answer").await.map_err(|_| Self::unavailable("the reply was lost"))?;
        self.world.state().holds(&received);
        Ok(received)
    }

    async fn extend(&self, handles: &[ReceiptHandle], visibility_secs: u32) -> Result<Vec<Outcome>, QueueError> {
        if u64::from(visibility_secs) != self.world.state().setting.visibility_secs {
            self.world.state().lets_go(handles);
        }
        self.world.gate("extend").await.map_err(|_| Self::unavailable("503"))?;
        let outcomes = self.each(handles, |state, id| {
            let visible_ms = state.now_ms() + u64::from(visibility_secs) * 1000;
            if let Some(sent) = state.messages.all.get_mut(&id) {
                sent.visible_ms = visible_ms;
            }
            if visibility_secs < 10 {
                state.note(format!("message {id} goes back for {visibility_secs} s"));
            }
            state.arrived.notify_waiters();
        });
        self.world.gate("extend's answer").await.map_err(|_| Self::unavailable("the reply was lost"))?;
        Ok(outcomes)
    }

    async fn delete(&self, handles: &[ReceiptHandle]) -> Result<Vec<Outcome>, QueueError> {
        self.world.state().lets_go(handles);
        self.world.gate("delete").await.map_err(|_| Self::unavailable("503"))?;
        let outcomes = self.each(handles, |state, id| {
            let sent = state.messages.all.remove(&id);
            state.note(format!("message {id} is deleted"));
            let Some(sent) = sent else { return };
            if let Some((object, version)) = &sent.of {
                oracle::at_delete(state, object, *version, id);
            }
            let comes_again = state.rates.deleted_comes_again;
            if state.happens(comes_again) {
                state.tally.fault("deleted message comes again");
                let visible_ms = state.now_ms() + 1000 + state.chance.below(60_000) as u64;
                state.messages.all.insert(id, Sent { visible_ms, ..sent });
            }
        });
        self.world.gate("delete's answer").await.map_err(|_| Self::unavailable("the reply was lost"))?;
        Ok(outcomes)
    }

    async fn attributes(&self) -> Result<Attributes, QueueError> {
        let mut state = self.world.state();
        state.is_asked("attributes");
        let (messages, now_ms) = (&state.messages.all, state.now_ms());
        let visible_messages = messages.values().filter(|sent| sent.visible_ms <= now_ms).count() as u64;
        Ok(Attributes {
            visible_messages,
            in_flight_messages: messages.len() as u64 - visible_messages,
            ..Attributes::default()
        })
    }

    async fn dead_letters(&self, _: &Redrive) -> Result<u64, QueueError> {
        Ok(0)
    }
}

impl State {
    /// Sends a notification of the object's last version, unless it is lost.
    pub fn notify(&mut self, object: &(&'static str, String)) {
        let Some(last) = self.objects.get(object).and_then(|found| found.versions.len().checked_sub(1)) else { return };
        if self.happens(self.rates.lost) {
            self.tally.fault("notification is lost");
            self.note(format!("the notification of version {last} is lost"));
            return;
        }
        let is_doubled = self.happens(self.rates.doubled);
        if is_doubled {
            self.tally.fault("notification is doubled");
        }
        let copies = 1 + usize::from(is_doubled);
        (0..copies).for_each(|_| self.tell(object, last));
    }

    /// Sends a notification of a version.
    pub fn tell(&mut self, object: &(&'static str, String), version: usize) {
        self.tell_of("ObjectCreated:Put", object, version);
    }

    /// Sends a notification of an event of a version.
    pub fn tell_of(&mut self, event: &str, object: &(&'static str, String), version: usize) {
        let etag = self.objects[object].versions[version].etag.clone();
        let body = notification(event, object.0, &object.1, &etag, &format!("{version:016X}"));
        let late_ms = if self.happens(self.rates.delayed) { self.chance.below(120_000) as u64 } else { 0 };
        if late_ms > 0 {
            self.tally.fault("notification is late");
        }
        self.send(body, Some((object.clone(), version)), late_ms);
    }

    fn send(&mut self, body: String, of: Option<((&'static str, String), usize)>, late_ms: u64) {
        let id = self.messages.next;
        self.messages.next += 1;
        let (visible_ms, sent_ms) = (self.now_ms() + late_ms, self.wall_ms());
        self.messages.all.insert(id, Sent { body, of, visible_ms, sent_ms, receives: 0, is_held: false });
        self.note(format!("message {id} is sent, {late_ms} ms late"));
        self.arrived.notify_waiters();
    }

    /// When the last message that is not held becomes visible again. Held messages are hidden for the visibility
    /// timeout at most.
    pub fn put_off_until_ms(&self) -> u64 {
        self.messages.all.values().filter(|sent| !sent.is_held).map(|sent| sent.visible_ms).max().unwrap_or(0)
    }

    /// Notes that the process holds these messages.
    fn holds(&mut self, received: &[Message]) {
        for message in received {
            let id: u64 = message.id.parse().unwrap();
            if let Some(sent) = self.messages.all.get_mut(&id) {
                sent.is_held = true;
            }
        }
        let (held, most) = (self.messages.all.values().filter(|sent| sent.is_held).count(), self.setting.held_max);
        if held > most {
            self.violate(format!("{held} messages are held, and {most} may be"));
        }
    }

    /// Notes that the process is about to give back or delete these messages.
    fn lets_go(&mut self, handles: &[ReceiptHandle]) {
        for handle in handles {
            let id: u64 = handle.0.split_once(' ').unwrap().0.parse().unwrap();
            if let Some(sent) = self.messages.all.get_mut(&id) {
                sent.is_held = false;
            }
        }
    }

    /// Sends a message that no place would send.
    pub fn forge(&mut self, object: &(&'static str, String), forgery: Forgery) {
        let etag = format!("{:032x}", self.chance.number());
        let put = |bucket, key| notification("ObjectCreated:Put", bucket, key, &etag, "FFFFFFFFFFFFFFFF");
        let body = match forgery {
            Forgery::Object => put(object.0, &object.1),
            Forgery::Nothing => put(object.0, "workspaceId=9/date=2026-01-01/no.json"),
            Forgery::Elsewhere => put("elsewhere", &object.1),
            Forgery::Garbage => "{\"Records\": 7".to_owned(),
        };
        self.send(body, None, 0);
    }
}

fn notification(event: &str, bucket: &str, key: &str, etag: &str, sequencer: &str) -> String {
    let key = key.replace('=', "%3D");
    format!(
        r#"{{"Records":[{{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"eu-central-1","eventTime":"2026-01-01T00:00:00.000Z","eventName":"{event}","s3":{{"s3SchemaVersion":"1.0","bucket":{{"name":"{bucket}","arn":"arn:aws:s3:::{bucket}"}},"object":{{"key":"{key}","size":9,"eTag":"{etag}","sequencer":"{sequencer}"}}}}}}]}}"#
    )
}
