//! How many events a record gives, and how much of it they may repeat.

use crate::family::refusal::Refusal;
use crate::family::ydb::targets;

/// What the events of one record may repeat of it in all, in bytes, and how often they may repeat a longer record: each
/// holds what they have in common.
const REPEATED_BYTES_MAX: usize = 16 << 20;
const REPEATED_RECORDS_MAX: usize = 64;

/// A record has a few operations and access entries: what an attacker may make of one stays within bounds.
const EVENTS_MAX: usize = 10_000;

/// Counts the events of a record.
pub(super) struct Sequence {
    next: u32,
    is_single: bool,
}

impl Sequence {
    /// `repeated` are the bytes of the record that the events hold in common, once for each.
    pub(super) fn of(events: usize, repeated: usize, record_bytes: usize) -> Result<Self, Refusal> {
        if events > EVENTS_MAX {
            return Err(Refusal::new("the record gives more than 10000 events"));
        }
        let most = REPEATED_BYTES_MAX.max(record_bytes.saturating_mul(REPEATED_RECORDS_MAX));
        if events > 1 && repeated > most {
            return Err(Refusal::new("the record's events would repeat more than 16 MiB of it"));
        }
        Ok(Self { next: 0, is_single: events <= 1 })
    }

    pub(super) fn next(&mut self) -> Option<u32> {
        let number = self.next;
        self.next += 1;
        (!self.is_single).then_some(number)
    }
}

/// How many events an operation gives: one for each of its entries, and one of its own unless it only changes access.
pub(super) fn events_of(operation: &str, entries: usize) -> usize {
    if operation == targets::MODIFY_ACL { entries.max(1) } else { entries + 1 }
}
