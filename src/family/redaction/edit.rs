//! Edits of a text: which parts are replaced, and by what.

use std::ops::Range;

/// A part of a text, and its replacement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::family) struct Edit {
    /// Byte range in the text.
    pub(in crate::family) at: Range<usize>,
    pub(in crate::family) replacement: String,
}

/// Applies the edits in the order of their ranges. An edit that begins inside an earlier one is skipped.
pub(in crate::family) fn applied(text: &str, edits: &[Edit]) -> String {
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|edit| edit.at.start);
    let mut edited = String::with_capacity(text.len());
    let mut from = 0;
    for edit in edits {
        let Some(between) = text.get(from..edit.at.start) else { continue };
        edited.push_str(between);
        edited.push_str(&edit.replacement);
        from = edit.at.end;
    }
    edited.push_str(text.get(from..).unwrap_or_default());
    edited
}

/// The offset of a slice in its text.
pub(in crate::family) fn offset_in(text: &str, slice: &str) -> usize {
    (slice.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize).min(text.len())
}
