//! Decides when a batch is cut: by bytes, by events, by age, or when nothing more is coming.

use std::time::Duration;

/// A batch is cut once nothing was added for this long, although more may come.
const IDLE: Duration = Duration::from_millis(20);

/// The most items of a batch, however small they are.
const ITEMS_MAX: usize = 4096;

/// When a batch is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub bytes: usize,
    pub events: usize,
    pub age: Duration,
    /// Whether the batch waits until it is full or old enough, even if nothing more is coming (a gathering sink).
    pub gathers: bool,
}

/// The items of the next batch.
#[derive(Debug)]
pub(crate) struct Builder<T> {
    limits: Limits,
    items: Vec<T>,
    bytes: usize,
    events: usize,
}

impl<T> Builder<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, items: Vec::new(), bytes: 0, events: 0 }
    }

    pub(crate) fn push(&mut self, item: T, bytes: usize, events: usize) {
        self.items.push(item);
        self.bytes += bytes;
        self.events += events;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether the batch has no room for another item.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= self.limits.bytes || self.events >= self.limits.events || self.items.len() >= ITEMS_MAX
    }

    /// Whether the batch is cut now. `waited` is the time since its first item came, `idle` the time since its last;
    /// `more` says whether anything else is on its way. A batch is never cut because its sink is free.
    pub(crate) fn is_cut(&self, waited: Duration, idle: Duration, more: bool) -> bool {
        let is_awaited = more || self.limits.gathers;
        !self.is_empty() && (!is_awaited || self.is_full() || self.patience(waited, idle).is_zero())
    }

    /// How much longer the batch waits for more items.
    pub(crate) fn patience(&self, waited: Duration, idle: Duration) -> Duration {
        let age = self.limits.age.saturating_sub(waited);
        if self.limits.gathers { age } else { age.min(IDLE.saturating_sub(idle)) }
    }

    pub(crate) fn take(&mut self) -> Vec<T> {
        self.bytes = 0;
        self.events = 0;
        std::mem::take(&mut self.items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(1);

    fn builder(items: &[(usize, usize)]) -> Builder<()> {
        builder_of(false, items)
    }

    fn builder_of(gathers: bool, items: &[(usize, usize)]) -> Builder<()> {
        let mut builder = Builder::new(Limits { bytes: 100, events: 10, age: AGE, gathers });
        for (bytes, events) in items {
            builder.push((), *bytes, *events);
        }
        builder
    }

    #[test]
    fn a_batch_is_cut_by_bytes_events_age_idleness_or_the_end_of_what_is_coming() {
        let none = Duration::ZERO;
        let almost = Duration::from_millis(19);
        assert!(!builder(&[(99, 9)]).is_cut(AGE - almost, almost, true));
        assert!(builder(&[(60, 1), (40, 1)]).is_cut(none, none, true), "bytes");
        assert!(builder(&[(1, 5), (1, 5)]).is_cut(none, none, true), "events");
        assert!(builder(&[(1, 1)]).is_cut(AGE, none, true), "age");
        assert!(builder(&[(1, 1)]).is_cut(IDLE, IDLE, true), "nothing was added for as long");
        assert!(builder(&[(1, 1)]).is_cut(none, none, false), "nothing more is coming");
    }

    #[test]
    fn a_batch_that_gathers_is_cut_by_bytes_events_items_or_age_alone() {
        let (none, almost) = (Duration::ZERO, AGE - Duration::from_millis(1));
        assert!(!builder_of(true, &[(99, 9)]).is_cut(almost, almost, false));
        assert_eq!(builder_of(true, &[(99, 9)]).patience(almost, almost), Duration::from_millis(1));
        assert!(builder_of(true, &[(99, 9)]).is_cut(AGE, none, true), "age");
        assert!(builder_of(true, &[(100, 1)]).is_cut(none, none, false), "bytes");
        assert!(builder_of(true, &[(1, 10)]).is_cut(none, none, false), "events");
        assert!(!builder_of(true, &[(0, 0); ITEMS_MAX - 1]).is_cut(none, none, false));
        assert!(builder_of(true, &[(0, 0); ITEMS_MAX]).is_cut(none, none, false), "items");
    }

    #[test]
    fn an_empty_batch_is_never_cut() {
        assert!(!builder(&[]).is_cut(AGE, AGE, false));
    }

    #[test]
    fn taking_a_batch_begins_the_next_at_nothing() {
        let mut builder = builder(&[(100, 1)]);
        assert!(builder.is_full());
        assert_eq!(builder.take().len(), 1);
        builder.push((), 1, 1);
        assert!(!builder.is_full());
    }
}
