//! Reports gaps: records that vanished from the object before the sink had them, and records that were delivered after
//! all.

use super::LaneSender;
use crate::checkpoint::{Committed, GapChange};
use crate::collector::report::limited;

impl LaneSender {
    pub(super) fn report_gaps(&self, committed: &Committed) {
        let (reporter, sink) = (&self.setup.reporter, &self.name);
        for GapChange { feed, object, opened, filled } in committed.gap_changes() {
            if *opened > 0 {
                self.setup.metrics.gap_records.add([feed, sink], *opened);
                limited!(
                    reporter, WARN, sink,
                    "records vanished from the source before the sink had them; it gets those that come back",
                    %sink, %object, records = opened
                );
            }
            if *filled > 0 {
                self.setup.metrics.gap_records_filled.add([feed, sink], *filled);
                limited!(
                    reporter, INFO, sink, "records that had vanished came back and were delivered",
                    %sink, %object, records = filled
                );
            }
        }
    }
}
