//! How many events of one record are written, and the event that says that there would be more.

use crate::event::Event;

/// Limits the events of one record, whatever its writer put into it. Past a limit, one further event with the label
/// `incomplete` says that the rest of the record is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordBudget {
    pub events_max: u32,
    /// The size of the record's encoded events, for each encoding.
    pub output_bytes_max: usize,
}

impl Default for RecordBudget {
    fn default() -> Self {
        Self { events_max: 10_000, output_bytes_max: 64 << 20 }
    }
}

/// The last event of a record that has more than its events say.
pub(super) fn incomplete<'a>(event: &Event<'a>) -> Event<'a> {
    let mut incomplete = event.clone();
    incomplete.metadata.labels.push("incomplete");
    incomplete.metadata.is_truncated = true;
    incomplete
}
