//! Parts of a record that are left out in every encoding.

use std::borrow::Cow;
use std::ops::Range;

/// A part of a record, and the text that replaces it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dropped {
    /// Byte range in the record.
    pub at: Range<usize>,
    pub replacement: Cow<'static, str>,
}

/// Appends the record with its dropped parts replaced. `dropped` is sorted by start.
pub(crate) fn write_without(out: &mut Vec<u8>, record: &[u8], dropped: &[Dropped]) {
    let mut from = 0;
    for part in dropped {
        // A part inside an earlier part is already gone.
        let Some(between) = record.get(from..part.at.start) else { continue };
        out.extend_from_slice(between);
        out.extend_from_slice(part.replacement.as_bytes());
        from = part.at.end;
    }
    out.extend_from_slice(record.get(from..).unwrap_or_default());
}
