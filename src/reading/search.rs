//! Finds records in content again, by their hashes or by their places.

use std::collections::BTreeSet;

use crate::delta::{Progress, RecordHash};
use crate::reading::fan_out::Placed;
use crate::reading::pass::Pass;
use crate::reading::plan::Plan;
use crate::reading::reader::Reader;

/// A record that was looked for.
#[derive(Debug)]
pub struct FoundRecord {
    pub ordinal: u64,
    pub hash: RecordHash,
    /// Where its first byte is in the content.
    pub offset: u64,
    /// Its place, and how many equal records are before it; 0 where it was searched by its hash.
    pub index: u64,
    pub occurrence: u64,
    /// The record's bytes, or the length of a record that is too long to be read.
    pub bytes: Result<Vec<u8>, u64>,
}

impl FoundRecord {
    fn of(record: &Placed<'_>) -> Self {
        let Placed { record, hash, offset, index, occurrence, too_long } = record;
        let bytes = match too_long {
            Some(length) => Err(*length),
            None => Ok(record.bytes.to_vec()),
        };
        let (hash, offset, index, occurrence) = (*hash, *offset, *index, *occurrence);
        Self { ordinal: record.ordinal, hash, offset, index, occurrence, bytes }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.bytes.as_ref().map_or(0, Vec::len)
    }
}

/// Emits the first record with each of the hashes, and ends when all are found.
pub fn by_hash(plan: Plan, mut wanted: BTreeSet<[u8; 32]>) -> Reader<FoundRecord, ()> {
    Reader::new(|supply, outlet| async move {
        let mut pass = Pass::searching(&plan, supply, Progress::default());
        let found = pass.each_record(|record| {
            if wanted.remove(&record.hash.0) {
                let found = FoundRecord::of(record);
                let size = found.size();
                outlet.put(found, size);
            }
            !wanted.is_empty()
        });
        found.await
    })
}

/// Emits the accepted records whose places are wanted and that the content still has, in the content's order.
pub fn by_place(
    plan: Plan,
    before: Progress,
    mut is_wanted: Box<dyn FnMut(u64) -> bool + Send>,
) -> Reader<FoundRecord, ()> {
    Reader::new(|supply, outlet| async move {
        let mut pass = Pass::searching(&plan, supply, before);
        pass.prove().await?;
        let found = pass.each_known(|record| {
            if is_wanted(record.index) {
                let found = FoundRecord::of(record);
                let size = found.size();
                outlet.put(found, size);
            }
            Ok(())
        });
        found.await
    })
}
