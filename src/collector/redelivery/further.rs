//! Records in quarantine without an entry of their own: found again by their places, as long as their object has them.

use std::sync::Arc;

use crate::checkpoint::{FurtherRecord, RefusedRecord};
use crate::collector::feeds::Feed;
use crate::collector::pump::on_worker;
use crate::collector::redelivery::requeued::{bytes_of, decode};
use crate::notification::ObjectId;
use crate::reading::FoundRecord;

/// The outcome of a search for records without an entry of their own.
#[derive(Default)]
pub(super) struct SearchEnd {
    /// The stop came, or a sink stands still: there may be more.
    pub(super) is_stopped: bool,
    has_panicked: bool,
    /// Records that cannot be decoded now either.
    pub(super) refused: u64,
    /// The ordinal of the first of them, and why.
    first: Option<(u64, String)>,
}

impl SearchEnd {
    /// The records that can be decoded now, each with its bytes.
    pub(super) async fn decodable(
        &mut self,
        feed: &Arc<Feed>,
        object: &ObjectId,
        found: Vec<FoundRecord>,
        etag: &str,
        last_modified_ms: Option<i64>,
    ) -> Vec<(FurtherRecord, Vec<u8>)> {
        let (feed, object, etag) = (Arc::clone(feed), object.clone(), Box::from(etag));
        let decode = move || {
            let each = found.into_iter().map(|found| {
                let record = refused_record(&found, &etag, last_modified_ms);
                let decoded =
                    bytes_of(&found).and_then(|bytes| decode(&feed, &object, &record, bytes, &feed.encoders).map(drop));
                (found.bytes.unwrap_or_default(), FurtherRecord { record, offset: found.offset }, decoded)
            });
            each.collect::<Vec<_>>()
        };
        let Some(decoded) = on_worker(decode).await else {
            self.has_panicked = true;
            return Vec::new();
        };
        let mut records = Vec::with_capacity(decoded.len());
        for (bytes, further, decoded) in decoded {
            match decoded {
                Ok(()) => records.push((further, bytes)),
                Err(refusal) => {
                    self.refused += 1;
                    self.first.get_or_insert_with(|| (further.record.ordinal, refusal.to_string()));
                }
            }
        }
        records
    }

    /// Why what is left stays in quarantine.
    pub(super) fn reason(&self) -> String {
        match &self.first {
            _ if self.has_panicked => "the decoder failed over them".to_owned(),
            Some((ordinal, why)) => format!("tried again, {} are refused: record {ordinal}: {why}", self.refused),
            None => "tried again; their object does not hold them any more".to_owned(),
        }
    }
}

/// A record that was found again, as one in quarantine that has no number yet.
fn refused_record(found: &FoundRecord, etag: &str, last_modified_ms: Option<i64>) -> RefusedRecord {
    RefusedRecord {
        id: 0,
        ordinal: found.ordinal,
        place: found.index,
        occurrence: found.occurrence,
        hash: found.hash,
        etag: etag.into(),
        last_modified_ms,
        has_body: false,
        had: Vec::new(),
    }
}
