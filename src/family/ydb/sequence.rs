//! How many events a record gives.

use crate::family::ydb::targets;

/// Numbers the events of a record.
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

    /// Whether as many events were given as the record's budget has room for, and the one that says so.
    pub(super) fn has_passed(&self, events_max: u32) -> bool {
        self.next > events_max
    }
}

/// How many events an operation gives: one for each of its entries, and one of its own unless it only changes access.
pub(super) fn events_of(operation: &str, entries: usize) -> usize {
    if operation == targets::MODIFY_ACL { entries.max(1) } else { entries + 1 }
}
