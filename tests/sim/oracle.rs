//! Checks the promises: whenever a message is deleted, and at the end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use auditferry::testing::checkpoint::{self, SinkPosition, Store};
use auditferry::testing::delta::{Fingerprint, Places, RecordHash};
use auditferry::testing::notification::ObjectId;

use crate::plan::{LAKE, sink_name};
use crate::records::counted;
use crate::sink::Class;
use crate::world::State;
use crate::world::content::{is_garbled, is_long};
use crate::world::keeping::lanes;
use crate::world::place::{Object, Written};
use crate::world::writer::most;

type Key = (&'static str, String);

/// The answer of the store, which in the simulation reads in place and is never pending.
pub fn at_once<T>(mut answer: checkpoint::Answer<'_, T>) -> T {
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read.unwrap(),
        Poll::Pending => panic!("the store does not read in place"),
    }
}

/// The fingerprints of one object that the store has accepted, in order.
struct Accepted(Vec<Fingerprint>);

impl Accepted {
    fn of(store: &Store, key: &Key, object: &Object) -> Self {
        let (id, mut all) = (id_of(key), Vec::new());
        if key.0 == LAKE {
            // For an object that is written once, the store only has the number of its records.
            let accepted = at_once(store.positions.position(&id, &[])).progress.accepted as usize;
            let lines = object.versions.first().map_or(&[][..], |first| &first.lines);
            return Self(
                lines.iter().take(accepted).map(|line| RecordHash::of(line.as_bytes()).fingerprint()).collect(),
            );
        }
        loop {
            let some = at_once(store.positions.fingerprints(&id, all.len() as u64));
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

    /// How many accepted copies of the line a sink has not had: they are in its gap, in quarantine, or after its
    /// cursor.
    fn lacking(&self, sink: &mut SinkPosition, quarantined: &mut Places, line: &str) -> u64 {
        let sought = RecordHash::of(line.as_bytes()).fingerprint();
        let places = self.0.iter().zip(0..).filter(|(fingerprint, _)| **fingerprint == sought);
        let mut lacks = |place: u64| place >= sink.accepted || sink.gap.contains(place) || quarantined.contains(place);
        places.map(|(_, place)| place).filter(|place| lacks(*place)).count() as u64
    }
}

fn id_of(key: &Key) -> ObjectId {
    ObjectId::new(key.0, key.1.as_str())
}

/// Checks the deletion of a genuine message about this version. Each sink must have all lines of this version, or of a
/// later one that was read whole, or have the object in its backlog. Instead, the feed may have the object in its
/// backlog, the version or a later one may be unreadable and in quarantine, or the object may be gone.
pub fn at_delete(state: &mut State, key: &Key, version: usize, message: u64) {
    let (Some(object), Some(store)) = (state.objects.get(key), state.store.as_ref()) else { return };
    if object.missed > version {
        return;
    }
    let told = &object.versions[version].lines;
    let serves = |(at, written): &(usize, &Written)| *at >= version || written.lines == *told;
    let may_serve: Vec<&Written> =
        object.versions.iter().enumerate().filter(serves).map(|(_, written)| written).collect();
    let accepted = Accepted::of(store, key, object);
    let id = id_of(key);
    let owed: Vec<bool> =
        (0..state.received.len()).map(|sink| at_once(store.backlog.is_in_backlog(&sink_name(sink), &id))).collect();
    let is_served = |written: &&Written| {
        let counts = counted(&written.lines);
        let is_accepted = counts.iter().all(|(line, count)| accepted.copies(line) >= *count);
        // Every sink passes records in quarantine. The sink that refused an event passes the event.
        let delivered = || counts.iter().filter(|(line, _)| !is_garbled(line) && !is_long(line));
        let mut sinks = state.received.iter().zip(&owed);
        is_accepted
            && sinks.all(|(received, owed)| *owed || delivered().all(|(line, count)| received.answered(line) >= *count))
    };
    if owed.iter().all(|owed| *owed) || at_once(store.backlog.unread_kind(&id)).is_some() {
        return;
    }
    let mut read = may_serve.iter().filter(|written| written.was_answered && !written.is_damaged);
    if read.clone().any(is_served) {
        return;
    }
    let why = match read.next() {
        None => format!("version {version} of {} was never read", key.1),
        Some(_) => format!("of version {version} of {} a sink has not had all and no backlog says so", key.1),
    };
    // The version was in quarantine when its message was settled. If it no longer is, a later or the restored version
    // was read since, and another message covers that one.
    let unreadable = may_serve.iter().position(|written| written.was_unreadable);
    if let Some(at) = unreadable
        && (may_serve[at..].iter().any(|written| written.was_answered) || state.is_quarantined(key))
    {
        return;
    }
    state.violate(format!("message {message} is deleted, and {why}"));
}

/// The first thing that is left to do. `None` once the world may come to rest.
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
        if lanes(sink).any(|lane| !at_once(store.positions.sealed(&lane)).is_empty()) {
            return Some(format!("{name} has a sealed batch"));
        }
        let owed = at_once(store.backlog.backlog_len(&name));
        if owed > 0 {
            return Some(format!("{name} has {owed} objects in its backlog"));
        }
    }
    for (key, object) in &state.objects {
        let mut content = counted(object.readable());
        content.retain(|line, _| !is_garbled(line));
        for (sink, received) in state.received.iter().enumerate() {
            let lost = content.iter().filter(|(line, count)| received.copies(line) < **count).count();
            if lost > 0 {
                return Some(format!("s{sink} has not had {lost} lines that {} holds", key.1));
            }
        }
        let unreadable = at_once(store.positions.position(&id_of(key), &[])).unreadable;
        let etag = object.versions.last().map(|written| &written.etag);
        if object.is_unreadable() && unreadable.map(|version| version.etag).as_ref() != etag {
            return Some(format!("{} cannot be read, and is not in quarantine", key.1));
        }
    }
    None
}

/// How many records that exist were not delivered, summed over the sinks.
pub fn lost(state: &State) -> u64 {
    let mut lost = 0;
    for object in state.objects.values() {
        for (line, count) in counted(object.readable()).iter().filter(|(line, _)| !is_garbled(line)) {
            lost += state.received.iter().map(|received| count.saturating_sub(received.copies(line))).sum::<u64>();
        }
    }
    lost
}

/// Checks at the end what each sink has had.
pub fn at_end(state: &mut State) {
    let mut wrong = Vec::new();
    let Some(store) = state.store.clone() else { return };
    let (mut owners, mut lacking) = (BTreeSet::new(), 0);
    for (key, object) in &state.objects {
        lacking += at_end_of(state, &store, key, object, &mut wrong);
        owners.extend(object.versions.iter().flat_map(|written| &written.lines).cloned());
    }
    // All events were requeued. Those still in quarantine have no body, and their records are gone.
    let events = at_once(store.quarantine.quarantine_size()).entries("event");
    if events > lacking {
        wrong.push(format!("{events} events are in quarantine, and sinks lack {lacking}"));
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

/// Checks what the sinks have had of one object. Returns how many of its records they lack.
fn at_end_of(state: &State, store: &Store, key: &Key, object: &Object, wrong: &mut Vec<String>) -> u64 {
    let mut lacking = 0;
    let names: Vec<Arc<str>> = (0..state.received.len()).map(|sink| sink_name(sink).into()).collect();
    let (accepted, ever, now) = (Accepted::of(store, key, object), most(&object.versions), counted(object.readable()));
    let position = at_once(store.positions.position(&id_of(key), &names));
    let mut quarantined = at_once(store.quarantine.quarantined_places(&id_of(key), 0)).closed;
    let (mut sinks, is_there) = (position.sinks.clone(), object.is_there && !object.is_unreadable());
    if is_there && !position.is_settled() {
        wrong.push(format!("a sink is not settled with {}", key.1));
    }
    if is_there && state.is_quarantined(key) {
        wrong.push(format!("{} was read, and is in quarantine", key.1));
    }
    let was_put_back = state.keeping.was_put_back;
    for (line, most) in &ever {
        let (took, now) = (accepted.copies(line), now.get(line).copied().unwrap_or_default());
        if took > *most || took < now {
            wrong.push(format!("{}: {took} copies accepted of {most} at most and {now} at last: {line}", key.1));
        }
        let mut ids = BTreeSet::new();
        for (sink, received) in state.received.iter().enumerate() {
            let (had, lacks) = (received.copies(line), accepted.lacking(&mut sinks[sink], &mut quarantined, line));
            // A process may have ended after the receiver took events and before the store learned it: the store has
            // these events in the gap. A store that was put back may not even have accepted them.
            lacking += lacks;
            let may_have_more = received.class != Class::Exact || was_put_back;
            let is_whole = had + lacks == took || may_have_more && had + lacks > took;
            let is_right = if is_garbled(line) { had == 0 } else { had >= now && lacks + now <= took };
            if !is_whole || !is_right || had > took && !was_put_back {
                let of = format!("of {took} accepted copies of a line of {}: {line}", key.1);
                wrong.push(format!("s{sink} had {had}, and lacks {lacks}, {of}"));
            }
            ids.extend(received.lines.get(line).into_iter().flatten().cloned());
        }
        if ids.len() as u64 > *most {
            wrong.push(format!("a line of {} has {} ids for {most} copies", key.1, ids.len()));
        }
    }
    lacking
}
