//! What is found in a stretch of content: its records, and what stands in the place of some.

use crate::records::Record;
use crate::records::pass::{Span, TooLong};

/// One record, or what stands in its place. Each has an ordinal of its own.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// A record that has come to its end. `offset`: content bytes before it. `end_offset`: content bytes up to and including
    /// its line end, and those of the records that it reaches into.
    Whole { record: Record<'a>, offset: u64, end_offset: u64 },
    /// The content's last record, when its line has no line end, or when a line that is not there yet could continue it:
    /// a record if it decodes, else not yet written to its end. `end_offset`: content bytes up to the content's end.
    Unended { record: Record<'a>, offset: u64, end_offset: u64 },
    /// A line longer than allowed, never kept in memory.
    TooLong(&'a TooLong),
}

impl Item<'_> {
    pub fn ordinal(&self) -> u64 {
        match self {
            Self::Whole { record, .. } | Self::Unended { record, .. } => record.ordinal,
            Self::TooLong(line) => line.ordinal,
        }
    }

    /// Content bytes before the item.
    pub fn offset(&self) -> u64 {
        match self {
            Self::Whole { offset, .. } | Self::Unended { offset, .. } => *offset,
            Self::TooLong(line) => line.offset,
        }
    }

    /// Content bytes up to and including the item's line end, if it has one, and those of the items that it reaches into.
    pub fn end_offset(&self) -> u64 {
        match self {
            Self::Whole { end_offset, .. } | Self::Unended { end_offset, .. } => *end_offset,
            Self::TooLong(line) => line.end_offset,
        }
    }
}

/// A stretch of content and the records that end in it. Blocks follow one another without a gap: all their bytes
/// together, from the start, are the content.
pub struct Block<'a> {
    /// Content bytes before this block.
    pub offset: u64,
    pub bytes: &'a [u8],
    /// Lines in it that are no audit records, from where they are counted on.
    pub others: u64,
    /// Null bytes and byte order marks before lines in it, from where others are counted on.
    pub marks_bytes: u64,
    pub(super) first_ordinal: u64,
    pub(super) spans: &'a [Span],
    /// The bytes as text, checked once; `None` when somewhere among them is something else.
    pub(super) text: Option<&'a str>,
}

impl<'a> Block<'a> {
    /// How many items the block has.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Content bytes up to the end of this block.
    pub fn end_offset(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }

    /// The items in the order of the content.
    pub fn items(&self) -> impl ExactSizeIterator<Item = Item<'a>> + use<'a> {
        let (offset, bytes, text, first) = (self.offset, self.bytes, self.text, self.first_ordinal);
        self.spans.iter().enumerate().map(move |(index, span)| {
            let ordinal = first + index as u64;
            let record = |start: usize, end: usize, may_be_within: bool| {
                let bytes = &bytes[start..end];
                let text = match text {
                    Some(text) => text.get(start..end),
                    None => std::str::from_utf8(bytes).ok(),
                };
                Record { ordinal, bytes, text, may_be_within, unmasked: None }
            };
            match span {
                Span::Whole { start, end, next, may_be_within } => {
                    let (offset, end_offset) = (offset + *start as u64, offset + *next as u64);
                    Item::Whole { record: record(*start, *end, *may_be_within), offset, end_offset }
                }
                Span::Unended { start, end, next, may_be_within } => {
                    let (offset, end_offset) = (offset + *start as u64, offset + *next as u64);
                    Item::Unended { record: record(*start, *end, *may_be_within), offset, end_offset }
                }
                Span::TooLong(line) => Item::TooLong(line),
            }
        })
    }
}
