//! A stretch of content and the items found in it: records, and lines too long to be kept.

use crate::records::Record;
use crate::records::pass::{Span, TooLong};

/// One record, or a line that is too long to be one. Each has its own ordinal.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// A complete record. `offset`: content bytes before it. `end_offset`: content bytes up to and including its line
    /// end and those of all records that overlap it.
    Whole { record: Record<'a>, offset: u64, end_offset: u64 },
    /// The content's last record, if its line has no line end or a line still to come could continue it. If it decodes,
    /// it is a record; else its writer has not finished it. `end_offset`: content bytes up to the content's end.
    Unended { record: Record<'a>, offset: u64, end_offset: u64 },
    /// A line longer than allowed, whose bytes were not kept.
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

    /// Content bytes up to and including the item's line end, if it has one, and those of all items that overlap it.
    pub fn end_offset(&self) -> u64 {
        match self {
            Self::Whole { end_offset, .. } | Self::Unended { end_offset, .. } => *end_offset,
            Self::TooLong(line) => line.end_offset,
        }
    }
}

/// A stretch of content and the records that end in it. Blocks follow one another without a gap: their bytes together
/// are the content from the start of the reading.
pub struct Block<'a> {
    /// Content bytes before this block.
    pub offset: u64,
    pub bytes: &'a [u8],
    /// Lines in the block that are no audit records. Those before the offset set by
    /// [`Lines::counting_others_from`](super::lines::Lines::counting_others_from) are not counted.
    pub others: u64,
    /// Null bytes and byte order marks before lines, counted from the same offset on.
    pub marks_bytes: u64,
    pub(super) first_ordinal: u64,
    pub(super) spans: &'a [Span],
    /// All bytes as text, checked once. `None` if any of them are not UTF-8.
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

    /// The items, in the order of the content.
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
