//! What must hold: whenever a message is deleted, and at the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use auditferry::batch::Lane;
use auditferry::checkpoint::{self, SinkPosition, Store};
use auditferry::delta::{Fingerprint, RecordHash};
use auditferry::notification::ObjectId;

use crate::plan::sink_name;
use crate::records::counted;
use crate::world::State;
use crate::world::place::Written;
use crate::world::receiver::{Class, Received};
use crate::world::writer::most;

type Key = (&'static str, String);

/// What the store holds. It reads where it is asked, and nothing is waited for.
fn at_once<T>(mut answer: checkpoint::Answer<'_, T>) -> T {
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read.unwrap(),
        Poll::Pending => panic!("the store does not read in place"),
    }
}

/// What the store has accepted of one object, in order.
struct Accepted(Vec<Fingerprint>);

impl Accepted {
    fn of(store: &Store, key: &Key) -> Self {
        let (object, mut all) = (ObjectId::new(key.0, key.1.as_str()), Vec::new());
        loop {
            let some = at_once(store.positions.fingerprints(&object, all.len() as u64));
            if some.is_empty() {
                break;
            }
            all.extend(some);
        }
        Self(all)
    }

    fn copies(&self, line: &str) -> u64 {
        let sought = RecordHash::of(line.as_bytes()).fingerprint();
        self.0.iter().filter(|fingerprint| **fingerprint == sought).count() as u64
    }

    /// How many of those a sink has not had: its gap has them, or they come after it.
    fn lacking(&self, sink: &mut SinkPosition, line: &str) -> u64 {
        let sought = RecordHash::of(line.as_bytes()).fingerprint();
        let places = self.0.iter().zip(0..).filter(|(fingerprint, _)| **fingerprint == sought);
        places.filter(|(_, place)| *place >= sink.accepted || sink.gap.contains(*place)).count() as u64
    }
}

/// A message that truly told of this version is deleted. By then each sink had all of the version, or of a later one that
/// was read whole, or has the object in its backlog; or the feed has it in its own; or the object was not there any more.
pub fn at_delete(state: &mut State, key: &Key, version: usize, message: u64) {
    let (Some(object), Some(store)) = (state.objects.get(key), state.store.as_ref()) else { return };
    if object.missed > version {
        return;
    }
    let told = &object.versions[version].lines;
    let serves = |at: usize, written: &Written| written.was_answered && (at >= version || written.lines == *told);
    let read: Vec<&Written> = object
        .versions
        .iter()
        .enumerate()
        .filter(|(at, written)| serves(*at, written))
        .map(|(_, written)| written)
        .collect();
    let accepted = Accepted::of(store, key);
    let id = ObjectId::new(key.0, key.1.as_str());
    let owed: Vec<bool> =
        (0..state.received.len()).map(|sink| at_once(store.backlog.is_in_backlog(&sink_name(sink), &id))).collect();
    let is_served = |written: &&&Written| {
        let counts = counted(&written.lines);
        let is_accepted = counts.iter().all(|(line, count)| accepted.copies(line) >= *count);
        let mut sinks = state.received.iter().zip(&owed);
        is_accepted
            && sinks.all(|(received, owed)| *owed || counts.iter().all(|(line, count)| received.copies(line) >= *count))
    };
    if owed.iter().all(|owed| *owed) || at_once(store.backlog.unread_kind(&id)).is_some() {
        return;
    }
    if read.is_empty() {
        state.violate(format!("message {message} is deleted, and version {version} of {} was never read", key.1));
    } else if !read.iter().any(|written| is_served(&written)) {
        let what = "a sink has not had it and no backlog says so";
        state.violate(format!("message {message} is deleted, and of version {version} of {} {what}", key.1));
    }
}

/// What is left to do; nothing, once the world may come to rest.
pub fn left(state: &State) -> Option<String> {
    let store = state.store.as_ref()?;
    if !state.messages.all.is_empty() {
        return Some(format!("{} messages are in the queue", state.messages.all.len()));
    }
    let unread = at_once(store.backlog.unread_counts());
    if !unread.is_empty() {
        return Some(format!("feeds have a backlog: {unread:?}"));
    }
    for sink in 0..state.received.len() {
        let name = sink_name(sink);
        if !at_once(store.positions.sealed(&Lane::only(name.as_str().into()))).is_empty() {
            return Some(format!("{name} has a sealed batch"));
        }
        let owed = at_once(store.backlog.backlog_len(&name));
        if owed > 0 {
            return Some(format!("{name} has {owed} objects in its backlog"));
        }
    }
    let quarantined = at_once(store.quarantine.quarantine_size()).entries("event");
    if state.is_requeued && quarantined > 0 {
        return Some(format!("{quarantined} events are in quarantine, and were requeued"));
    }
    for (key, object) in &state.objects {
        let content = counted(object.lines());
        for (sink, received) in state.received.iter().enumerate() {
            let lost = content.iter().filter(|(line, count)| received.copies(line) < **count).count();
            if lost > 0 {
                return Some(format!("s{sink} has not had {lost} lines that {} holds", key.1));
            }
        }
    }
    None
}

/// What the sinks have had, at the end.
pub fn at_end(state: &mut State) {
    let mut wrong = Vec::new();
    let Some(store) = state.store.clone() else { return };
    let names: Vec<Arc<str>> = (0..state.received.len()).map(|sink| sink_name(sink).into()).collect();
    let (mut owners, mut lacking) = (BTreeSet::new(), 0);
    for (key, object) in &state.objects {
        let (accepted, ever, now) = (Accepted::of(&store, key), most(&object.versions), counted(object.lines()));
        let position = at_once(store.positions.position(&ObjectId::new(key.0, key.1.as_str()), &names));
        let mut sinks = position.sinks.clone();
        if object.is_there && !position.is_settled() {
            wrong.push(format!("a sink is not settled with {}", key.1));
        }
        for (line, most) in &ever {
            let (took, now) = (accepted.copies(line), now.get(line).copied().unwrap_or_default());
            if took > *most || took < now {
                wrong.push(format!("{}: {took} copies accepted of {most} at most and {now} at last: {line}", key.1));
            }
            let mut ids = BTreeSet::new();
            for (sink, received) in state.received.iter().enumerate() {
                let (had, lacks) = (received.copies(line), accepted.lacking(&mut sinks[sink], line));
                // What a receiver took before the process ended may be in the gap where nobody knows that.
                lacking += lacks;
                let is_whole = had + lacks == took || received.class != Class::Exact && had + lacks > took;
                if had > took || had < now || lacks + now > took || !is_whole {
                    let of = format!("of {took} accepted copies of a line of {}", key.1);
                    wrong.push(format!("s{sink} had {had}, and lacks {lacks}, {of}"));
                }
                ids.extend(received.lines.get(line).into_iter().flatten().cloned());
            }
            if ids.len() as u64 > *most {
                wrong.push(format!("a line of {} has {} ids for {most} copies", key.1, ids.len()));
            }
            owners.insert(line.clone());
        }
    }
    // What a receiver refused and takes later was refused in a storm, or requeued. What it refused before the process ended
    // may be in the gap.
    let refused = state.received.iter().map(Received::refused);
    let (most, least) = refused.fold((0, 0), |(all, never), (own, own_never)| (all + own, never + own_never));
    let quarantined = at_once(store.quarantine.quarantine_size()).entries("event");
    if quarantined > most || quarantined + lacking < least {
        let of = format!("of {most} refused and {least} never taken, and {lacking} are lacked");
        wrong.push(format!("{quarantined} events are in quarantine, {of}"));
    }
    for (sink, received) in state.received.iter().enumerate() {
        for line in received.lines.keys().filter(|line| !owners.contains(*line)) {
            wrong.push(format!("s{sink} had a line that nobody wrote: {line}"));
        }
    }
    wrong.truncate(5);
    for what in wrong {
        state.violate(what);
    }
}
