//! A sink that lags: which objects it has not had, oldest first, and when each is tried again.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::checkpoint::CheckpointStore;
use crate::checkpoint::StoreError;
use crate::config::OweAfter;
use crate::notification::ObjectId;

/// How many debts are read from the store at once, and written to it at once.
const DEBTS_AT_ONCE: usize = 256;

/// How many objects a sink is caught up on at once.
const AT_ONCE: usize = 2;

#[derive(Debug)]
struct Entry {
    /// The feed's position, where it is known.
    feed: Option<usize>,
    since: Instant,
    order: u64,
    attempts: u32,
    not_before: Option<Instant>,
    /// It is written down in the store.
    is_debt: bool,
}

/// What one sink has not had.
#[derive(Debug)]
pub(super) struct Behind {
    sink: Arc<str>,
    entries: HashMap<ObjectId, Entry>,
    order: BTreeMap<u64, ObjectId>,
    next_order: u64,
    /// Debts in the store, those in `entries` included.
    debts: u64,
    running: usize,
}

/// What is to be done next for the sink.
#[derive(Debug)]
pub(super) enum Next {
    /// Catch it up on this object, of the feed at this position if that is known.
    Object(ObjectId, Option<usize>),
    /// Nothing for now.
    Wait,
    /// It has had everything.
    CaughtUp,
}

impl Behind {
    /// What the store says the sink is owed.
    pub(super) fn new(store: &CheckpointStore, sink: &Arc<str>) -> Result<Self, StoreError> {
        Ok(Self {
            sink: Arc::clone(sink),
            entries: HashMap::new(),
            order: BTreeMap::new(),
            next_order: 0,
            debts: store.owed_count(sink)?,
            running: 0,
        })
    }

    /// Whether there is anything it has not had: new work goes on without it until it has.
    pub(super) fn is_behind(&self) -> bool {
        !self.entries.is_empty() || self.debts > 0 || self.running > 0
    }

    /// It has not had this object, and must get it later.
    pub(super) fn defer(&mut self, object: &ObjectId, feed: usize) {
        self.enter(object, Some(feed), false);
    }

    fn enter(&mut self, object: &ObjectId, feed: Option<usize>, is_debt: bool) {
        if self.entries.contains_key(object) {
            return;
        }
        let order = self.next_order;
        self.next_order += 1;
        self.order.insert(order, object.clone());
        let entry = Entry { feed, since: Instant::now(), order, attempts: 0, not_before: None, is_debt };
        self.entries.insert(object.clone(), entry);
    }

    fn remove(&mut self, object: &ObjectId) -> Option<Entry> {
        let entry = self.entries.remove(object)?;
        self.order.remove(&entry.order);
        Some(entry)
    }

    /// How often catching up on this object has failed.
    pub(super) fn attempts(&self, object: &ObjectId) -> u32 {
        self.entries.get(object).map_or(0, |entry| entry.attempts)
    }

    /// Catching up on this object failed; it is tried again after `wait`.
    pub(super) fn again(&mut self, object: &ObjectId, wait: Duration) {
        if let Some(entry) = self.entries.get_mut(object) {
            entry.attempts += 1;
            entry.not_before = Some(Instant::now() + wait);
        }
    }

    /// A job that catches the sink up has started, or ended.
    pub(super) fn started(&mut self) {
        self.running += 1;
    }

    pub(super) fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// It has had the object, or the object is no more, and the store knows.
    pub(super) fn paid(&mut self, object: &ObjectId) {
        if self.remove(object).is_some_and(|entry| entry.is_debt) {
            self.debts = self.debts.saturating_sub(1);
        }
    }

    /// What has waited too long to be kept in memory and in the queue.
    pub(super) fn due(&self, owe_after: OweAfter) -> Vec<(ObjectId, usize)> {
        let OweAfter::After(owe_after) = owe_after else { return Vec::new() };
        let fresh = self.order.values().filter_map(|object| {
            let entry = self.entries.get(object)?;
            let due = !entry.is_debt && entry.since.elapsed() >= owe_after;
            due.then_some((object.clone(), entry.feed?))
        });
        fresh.take(DEBTS_AT_ONCE).collect()
    }

    /// The store has written the object down.
    pub(super) fn owed(&mut self, object: &ObjectId) {
        if self.remove(object).is_some() {
            self.debts += 1;
        }
    }

    /// The next object to catch up on; `busy` says which are worked on already.
    pub(super) fn next(
        &mut self,
        store: &CheckpointStore,
        busy: impl Fn(&ObjectId) -> bool,
    ) -> Result<Next, StoreError> {
        if self.running >= AT_ONCE {
            return Ok(Next::Wait);
        }
        let in_memory = self.entries.values().filter(|entry| entry.is_debt).count() as u64;
        if self.debts > in_memory && in_memory == 0 {
            let debts = store.owed(&self.sink, DEBTS_AT_ONCE)?;
            self.debts = if debts.is_empty() { 0 } else { self.debts.max(debts.len() as u64) };
            for debt in debts {
                self.remove(&debt.object);
                self.enter(&debt.object, None, true);
            }
        }
        let now = Instant::now();
        let due = self.order.values().find(|object| {
            let waits = self.entries.get(*object).and_then(|entry| entry.not_before).is_some_and(|at| at > now);
            !waits && !busy(object)
        });
        if let Some(object) = due {
            let feed = self.entries.get(object).and_then(|entry| entry.feed);
            return Ok(Next::Object(object.clone(), feed));
        }
        Ok(if self.is_behind() { Next::Wait } else { Next::CaughtUp })
    }
}
