//! Parts of a record that do not leave, in no encoding.

use std::borrow::Cow;
use std::ops::Range;

/// A part of a record, and what is written in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dropped {
    /// Bytes of the record.
    pub at: Range<usize>,
    pub replacement: Cow<'static, str>,
}

/// Appends the record with its dropped parts replaced. They are in order.
pub(crate) fn write_without(out: &mut Vec<u8>, record: &[u8], dropped: &[Dropped]) {
    let mut from = 0;
    for part in dropped {
        // A part inside of another is gone with it.
        let Some(between) = record.get(from..part.at.start) else { continue };
        out.extend_from_slice(between);
        out.extend_from_slice(part.replacement.as_bytes());
        from = part.at.end;
    }
    out.extend_from_slice(record.get(from..).unwrap_or_default());
}
