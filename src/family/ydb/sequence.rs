//! Counts and numbers the events of a record.

use crate::family::ydb::targets;

/// Numbers the events of a record. A single event gets no number.
pub(super) struct Sequence {
    next: u32,
    is_single: bool,
}

impl Sequence {
    pub(super) fn of(events: usize) -> Self {
        Self { next: 0, is_single: events <= 1 }
    }

    pub(super) fn next(&mut self) -> Option<u32> {
        let number = self.next;
        self.next += 1;
        (!self.is_single).then_some(number)
    }

    /// Whether one event more than the record's budget allows was emitted. It is the last one, with the label
    /// `incomplete`.
    pub(super) fn has_passed(&self, events_max: u32) -> bool {
        self.next > events_max
    }
}

/// The number of events of an operation: one for each access entry, and one for the operation itself unless it only
/// changes access.
pub(super) fn events_of(operation: &str, entries: usize) -> usize {
    if operation == targets::MODIFY_ACL { entries.max(1) } else { entries + 1 }
}
