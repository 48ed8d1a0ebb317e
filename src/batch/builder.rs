//! Says when a batch is full: by bytes, by events, by age, or when nothing more is coming.

use std::time::Duration;

/// When a batch is cut.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bytes: usize,
    pub events: usize,
    pub age: Duration,
}

/// What has gathered for the next batch, whatever carries it.
#[derive(Debug)]
pub struct Builder<T> {
    limits: Limits,
    items: Vec<T>,
    bytes: usize,
    events: usize,
}

impl<T> Builder<T> {
    pub fn new(limits: Limits) -> Self {
        Self { limits, items: Vec::new(), bytes: 0, events: 0 }
    }

    pub fn push(&mut self, item: T, bytes: usize, events: usize) {
        self.items.push(item);
        self.bytes += bytes;
        self.events += events;
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether the batch is cut now. `waited` is how long its first item has been here; `more` says whether anything
    /// else is on its way.
    pub fn is_full(&self, waited: Duration, more: bool) -> bool {
        !self.is_empty()
            && (!more
                || self.bytes >= self.limits.bytes
                || self.events >= self.limits.events
                || waited >= self.limits.age)
    }

    /// How much longer the batch may wait for more.
    pub fn patience(&self, waited: Duration) -> Duration {
        self.limits.age.saturating_sub(waited)
    }

    pub fn take(&mut self) -> Vec<T> {
        self.bytes = 0;
        self.events = 0;
        std::mem::take(&mut self.items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn builder(items: &[(usize, usize)]) -> Builder<()> {
        let mut builder = Builder::new(Limits { bytes: 100, events: 10, age: SECOND });
        for (bytes, events) in items {
            builder.push((), *bytes, *events);
        }
        builder
    }

    #[test]
    fn a_batch_is_cut_by_bytes_events_age_or_the_end_of_what_is_coming() {
        let none = Duration::ZERO;
        assert!(!builder(&[(99, 9)]).is_full(none, true));
        assert!(builder(&[(60, 1), (40, 1)]).is_full(none, true), "bytes");
        assert!(builder(&[(1, 5), (1, 5)]).is_full(none, true), "events");
        assert!(builder(&[(1, 1)]).is_full(SECOND, true), "age");
        assert!(builder(&[(1, 1)]).is_full(none, false), "nothing more is coming");
    }

    #[test]
    fn an_empty_batch_is_never_cut() {
        assert!(!builder(&[]).is_full(SECOND, false));
    }

    #[test]
    fn taking_a_batch_begins_the_next_at_nothing() {
        let mut builder = builder(&[(100, 1)]);
        assert_eq!(builder.take().len(), 1);
        builder.push((), 1, 1);
        assert!(!builder.is_full(Duration::ZERO, true));
    }
}
