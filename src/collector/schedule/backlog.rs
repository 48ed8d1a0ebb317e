//! One sink's backlog: the objects that it has not had, oldest first, and when each is retried.
//!
//! An entry concerns one object and one sink. It does not hold up other objects.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::checkpoint::{self, BacklogPlace, StoreError};
use crate::collector::ids::FeedId;
use crate::config::OweAfter;
use crate::notification::ObjectId;

/// How many entries are read from the store, or written to it, at once.
const STORED_AT_ONCE: usize = 256;

/// How many stored entries are kept in memory before no more are read.
const STORED_IN_MEMORY_MAX: u64 = 4096;

#[derive(Debug)]
struct Entry {
    /// The feed, if it is known.
    feed: Option<FeedId>,
    since: Instant,
    order: u64,
    attempts: u32,
    not_before: Option<Instant>,
    /// Whether the store has the entry, so that no message waits for it.
    is_stored: bool,
    /// Whether to write it to the store as soon as possible, since its messages keep other feeds from receiving.
    is_hurried: bool,
}

/// An entry that is due to be written to the store.
pub(in crate::collector) struct Due {
    pub object: ObjectId,
    /// The object's feed.
    pub feed: FeedId,
    pub waited: Duration,
}

/// One sink's backlog, in memory and in the store.
#[derive(Debug)]
pub(in crate::collector) struct Backlog {
    sink: Arc<str>,
    entries: BTreeMap<ObjectId, Entry>,
    order: BTreeMap<u64, ObjectId>,
    next_order: u64,
    /// How many entries the store has, and how many of them are in `entries`.
    stored: u64,
    stored_in_memory: u64,
    /// The last stored entry that was read.
    read_to: BacklogPlace,
    /// Whether the sink was last reported as behind.
    reported: bool,
}

impl Backlog {
    /// The backlog as the store has it.
    pub(in crate::collector) async fn new(
        store: &dyn checkpoint::Backlog,
        sink: &Arc<str>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            sink: Arc::clone(sink),
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            next_order: 0,
            stored: store.backlog_len(sink).await?,
            stored_in_memory: 0,
            read_to: BacklogPlace::default(),
            reported: false,
        })
    }

    /// Sets how many entries the store has. Sink workers may have added some.
    pub(in crate::collector) fn stored_are(&mut self, stored: u64) {
        self.stored = stored;
    }

    /// Whether the backlog has entries.
    pub(in crate::collector) fn is_behind(&self) -> bool {
        self.has_more_than(0)
    }

    /// Whether it has more than this many entries.
    pub(in crate::collector) fn has_more_than(&self, entries: u64) -> bool {
        self.entries.len() as u64 + self.stored.saturating_sub(self.stored_in_memory) > entries
    }

    /// Whether the sink is behind, if that has changed since the last call. `gathering` entries do not count, since the
    /// sink is about to have them.
    pub(in crate::collector) fn turned(&mut self, gathering: u64) -> Option<bool> {
        let now = self.has_more_than(gathering);
        (std::mem::replace(&mut self.reported, now) != now).then_some(now)
    }

    /// Whether the object is in the part of the backlog that is in memory.
    pub(in crate::collector) fn knows(&self, object: &ObjectId) -> bool {
        self.entries.contains_key(object)
    }

    /// Whether the object is in the backlog and not in the store yet, so that its messages must wait.
    pub(in crate::collector) fn is_waited_for(&self, object: &ObjectId) -> bool {
        self.entries.get(object).is_some_and(|entry| !entry.is_stored)
    }

    /// Whether the store has the object in this backlog.
    pub(in crate::collector) async fn is_stored(
        &self,
        store: &dyn checkpoint::Backlog,
        object: &ObjectId,
    ) -> Result<bool, StoreError> {
        match self.entries.get(object) {
            Some(entry) => Ok(entry.is_stored),
            None => Ok(self.stored > self.stored_in_memory && store.is_in_backlog(&self.sink, object).await?),
        }
    }

    /// Whether the object is in the backlog, in memory or in the store.
    pub(in crate::collector) async fn has(
        &self,
        store: &dyn checkpoint::Backlog,
        object: &ObjectId,
    ) -> Result<bool, StoreError> {
        Ok(self.knows(object) || self.is_stored(store, object).await?)
    }

    /// Adds an object that the sink gets later. An existing entry keeps its date.
    pub(in crate::collector) async fn defer(
        &mut self,
        store: &dyn checkpoint::Backlog,
        object: &ObjectId,
        feed: FeedId,
    ) -> Result<(), StoreError> {
        if !self.has(store, object).await? {
            self.enter(object, Some(feed), false);
        }
        Ok(())
    }

    fn enter(&mut self, object: &ObjectId, feed: Option<FeedId>, is_stored: bool) {
        let order = self.next_order;
        self.next_order += 1;
        self.stored_in_memory += u64::from(is_stored);
        self.order.insert(order, object.clone());
        let entry =
            Entry { feed, since: Instant::now(), order, attempts: 0, not_before: None, is_stored, is_hurried: false };
        self.entries.insert(object.clone(), entry);
    }

    fn remove(&mut self, object: &ObjectId) {
        if let Some(entry) = self.entries.remove(object) {
            self.stored_in_memory -= u64::from(entry.is_stored);
            self.order.remove(&entry.order);
        }
    }

    /// How often reading this object for the sink has failed.
    pub(in crate::collector) fn attempts(&self, object: &ObjectId) -> u32 {
        self.entries.get(object).map_or(0, |entry| entry.attempts)
    }

    /// Notes that reading this object failed. It is retried after `wait`.
    pub(in crate::collector) fn failed(&mut self, object: &ObjectId, wait: Duration) {
        if let Some(entry) = self.entries.get_mut(object) {
            entry.attempts += 1;
        }
        self.rest(object, wait);
    }

    /// Keeps this object from being retried before `wait` is over.
    pub(in crate::collector) fn rest(&mut self, object: &ObjectId, wait: Duration) {
        if let Some(entry) = self.entries.get_mut(object) {
            entry.not_before = Some(Instant::now() + wait);
        }
    }

    /// Removes the object: the sink has had it, or it is gone. `was_stored` says that its entry was removed from the
    /// store.
    pub(in crate::collector) fn had(&mut self, object: &ObjectId, was_stored: bool) {
        self.remove(object);
        self.stored = self.stored.saturating_sub(u64::from(was_stored));
    }

    /// Makes up to `most` of the feed's entries due at once, the oldest first, because their messages keep other feeds
    /// from receiving. Returns their objects.
    pub(in crate::collector) fn hurry(&mut self, feed: FeedId, most: usize) -> Vec<ObjectId> {
        let mut hurried = Vec::new();
        for object in self.order.values() {
            if hurried.len() == most {
                break;
            }
            let Some(entry) = self.entries.get_mut(object) else { continue };
            if entry.feed == Some(feed) && !entry.is_stored {
                entry.is_hurried = true;
                hurried.push(object.clone());
            }
        }
        hurried
    }

    /// The entries that are due to be written to the store, oldest first.
    pub(in crate::collector) fn due(&self, owe_after: OweAfter) -> Vec<Due> {
        let OweAfter::After(owe_after) = owe_after else { return Vec::new() };
        let fresh = self.order.values().filter_map(|object| {
            let entry = self.entries.get(object)?;
            let waited = entry.since.elapsed();
            let feed = entry.feed.filter(|_| !entry.is_stored && (waited >= owe_after || entry.is_hurried))?;
            Some(Due { object: object.clone(), feed, waited })
        });
        fresh.take(STORED_AT_ONCE).collect()
    }

    /// Notes that the object's entry was written to the store.
    pub(in crate::collector) fn written_down(&mut self, object: &ObjectId) {
        self.remove(object);
        self.stored += 1;
    }

    /// The next object to deliver to the sink, with its feed if that is known. `busy` says which objects are worked on
    /// already.
    pub(in crate::collector) async fn next(
        &mut self,
        store: &dyn checkpoint::Backlog,
        busy: impl Fn(&ObjectId) -> bool,
    ) -> Result<Option<(ObjectId, Option<FeedId>)>, StoreError> {
        let next = self.ready(&busy);
        if next.is_some() || self.stored <= self.stored_in_memory || self.stored_in_memory >= STORED_IN_MEMORY_MAX {
            return Ok(next);
        }
        let found = store.entries(&self.sink, self.read_to, STORED_AT_ONCE).await?;
        // After the last entry, reading starts over at the first.
        self.read_to = found.last().map(|entry| entry.place).unwrap_or_default();
        if found.is_empty() && self.stored_in_memory == 0 {
            self.stored = store.backlog_len(&self.sink).await?;
        }
        for entry in found {
            if !self.knows(&entry.object) {
                self.enter(&entry.object, None, true);
            }
        }
        Ok(self.ready(&busy))
    }

    fn ready(&self, busy: &impl Fn(&ObjectId) -> bool) -> Option<(ObjectId, Option<FeedId>)> {
        let now = Instant::now();
        self.order.values().find_map(|object| {
            let entry = self.entries.get(object)?;
            let rests = entry.not_before.is_some_and(|at| at > now);
            (!rests && !busy(object)).then(|| (object.clone(), entry.feed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Backlog as _, SqliteStore};

    const OTHERS: fn(&ObjectId) -> bool = |_| false;

    fn store(directory: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(directory.path(), 1 << 20).unwrap()
    }

    fn object(number: usize) -> ObjectId {
        ObjectId::new("b", format!("k{number}"))
    }

    async fn behind(store: &SqliteStore) -> Backlog {
        Backlog::new(store, &"s".into()).await.unwrap()
    }

    async fn write_down(store: &SqliteStore, number: usize) {
        let objects = vec![("f".into(), object(number), 1)];
        store.add_to_backlog("s".into(), objects).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_deferred_again_keeps_its_date() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        let mut behind = behind(&store).await;
        behind.defer(&store, &object(1), FeedId(0)).await.unwrap();
        tokio::time::advance(Duration::from_secs(5)).await;
        behind.defer(&store, &object(1), FeedId(0)).await.unwrap();
        behind.defer(&store, &object(2), FeedId(0)).await.unwrap();
        let due = behind.due(OweAfter::After(Duration::from_secs(5)));
        assert_eq!(due.iter().map(|due| due.object.clone()).collect::<Vec<_>>(), [object(1)]);
        assert!(due[0].waited >= Duration::from_secs(5));
        assert!(behind.due(OweAfter::Never).is_empty());
    }

    #[tokio::test]
    async fn what_is_stored_already_is_not_waited_for_when_it_changes_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        write_down(&store, 1).await;
        let mut behind = behind(&store).await;
        behind.defer(&store, &object(1), FeedId(0)).await.unwrap();
        behind.defer(&store, &object(2), FeedId(0)).await.unwrap();
        assert!(!behind.is_waited_for(&object(1)) && behind.is_waited_for(&object(2)));
    }

    #[tokio::test]
    async fn one_object_that_was_had_leaves_the_others_behind_and_the_last_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        let mut behind = behind(&store).await;
        behind.defer(&store, &object(1), FeedId(0)).await.unwrap();
        behind.defer(&store, &object(2), FeedId(0)).await.unwrap();
        assert_eq!(behind.turned(0), Some(true));
        behind.had(&object(1), false);
        assert_eq!((behind.turned(0), behind.is_waited_for(&object(1))), (None, false));
        assert_eq!(behind.next(&store, OTHERS).await.unwrap().unwrap().0, object(2));
        behind.had(&object(2), false);
        assert_eq!(behind.turned(0), Some(false));
    }

    #[tokio::test]
    async fn entries_that_cannot_be_read_do_not_keep_later_ones_from_being_tried() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory);
        let numbers = 0..STORED_AT_ONCE + 3;
        let objects = numbers.clone().map(|number| ("f".into(), object(number), number as i64)).collect();
        store.add_to_backlog("s".into(), objects).await.unwrap();
        let mut behind = behind(&store).await;
        for number in numbers.clone() {
            assert_eq!(behind.next(&store, OTHERS).await.unwrap().unwrap().0, object(number));
            behind.failed(&object(number), Duration::from_secs(60));
        }
        assert!(behind.next(&store, OTHERS).await.unwrap().is_none());
        for number in numbers {
            store.clear_from_backlog("s".into(), vec![object(number)]).await.unwrap();
            behind.had(&object(number), true);
        }
        assert!(!behind.is_behind());
    }
}
