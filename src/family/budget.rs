//! How much of one record is told, and how it is said that there is more.

use crate::event::Event;

/// How much of one record is told, whatever its writer made of it. Past it, one further event says that what follows of the
/// record is left out, by the label `incomplete`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordBudget {
    pub events_max: u32,
    /// For each encoding.
    pub output_bytes_max: usize,
}

impl Default for RecordBudget {
    fn default() -> Self {
        Self { events_max: 10_000, output_bytes_max: 64 << 20 }
    }
}

/// The event of a record of which more is left than its events tell.
pub(super) fn incomplete<'a>(event: &Event<'a>) -> Event<'a> {
    let mut incomplete = event.clone();
    incomplete.metadata.labels.push("incomplete");
    incomplete.metadata.is_truncated = true;
    incomplete
}
