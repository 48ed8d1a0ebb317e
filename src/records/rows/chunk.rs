//! The stored pages of one column of one row group, checked and fetched as they are needed.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::file::metadata::ColumnChunkMetaData;

use crate::records::rows::compact::{DATA_PAGE, DATA_PAGE_V2, DICTIONARY_PAGE, Fault, PageHead};
use crate::records::rows::input::{Limits, Ranges, RowsError};
use crate::records::rows::pages::{Codec, Pages, Shelf, StoredPage};

/// The longest page header accepted. Some headers hold the beginning of a value as a statistic.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// Memory that a dictionary entry takes besides its bytes.
const ENTRY_BYTES: u64 = 32;

/// `parquet.thrift`, `Encoding`. With these encodings, the lengths of all values of a page are decoded at once.
const DELTA_LENGTH_BYTE_ARRAY: u32 = 6;
const DELTA_BYTE_ARRAY: u32 = 7;

/// The stored bytes of a column, and how far they were passed to the decoder.
pub(super) struct Chunk {
    name: String,
    codec: Codec,
    /// File offsets of the next page and of the chunk's end.
    next: u64,
    end: u64,
    /// The part of the chunk that is in memory, and its file offset.
    window: Bytes,
    window_start: u64,
    window_bytes: u64,
    shelf: Shelf,
    /// Pages passed to the decoder but not yet read to their end: values left, and memory that the page may take.
    given: VecDeque<(u64, u64)>,
    dictionary_cost: u64,
    /// Whether a value may be encoded as a difference to the value before it (`DELTA_BYTE_ARRAY`).
    is_delta_coded: bool,
    is_nested: bool,
    /// The most bytes that a page may inflate to.
    page_bytes_max: u64,
}

impl Chunk {
    /// The chunk that the footer describes. `file_end` is the footer's file offset.
    pub(super) fn new(
        meta: &ColumnChunkMetaData,
        file_end: u64,
        window_bytes: u64,
        limits: &Limits,
    ) -> Result<Self, RowsError> {
        let name = meta.column_path().string();
        let codec = Codec::of(meta.compression()).ok_or_else(|| {
            RowsError::damaged(format!("column {name} is compressed with {}, which is not read", meta.compression()))
        })?;
        let start = meta.dictionary_page_offset().unwrap_or(meta.data_page_offset());
        let bounds = u64::try_from(start).ok().zip(u64::try_from(meta.compressed_size()).ok());
        let (start, end) = bounds
            .and_then(|(start, bytes)| Some((start, start.checked_add(bytes)?)))
            .filter(|(_, end)| *end <= file_end && meta.file_path().is_none())
            .ok_or_else(|| RowsError::damaged(format!("column {name} does not lie in the file")))?;
        let is_nested = meta.column_descr().max_rep_level() > 0;
        if is_nested && end - start > limits.nested_chunk_bytes_max {
            return Err(RowsError::TooLarge { what: "a nested column", bytes_max: limits.nested_chunk_bytes_max });
        }
        let inflated = u64::try_from(meta.uncompressed_size()).unwrap_or(u64::MAX);
        let is_delta_coded = meta.encodings().any(|encoding| encoding == Encoding::DELTA_BYTE_ARRAY);
        Ok(Self {
            name,
            codec,
            next: start,
            end,
            window: Bytes::new(),
            window_start: start,
            window_bytes,
            shelf: Shelf::default(),
            given: VecDeque::new(),
            dictionary_cost: 0,
            is_delta_coded,
            is_nested,
            page_bytes_max: if is_delta_coded { inflated.min(limits.page_bytes_max) } else { limits.page_bytes_max },
        })
    }

    /// File offsets of the chunk's next page and of its end.
    pub(super) fn span(&self) -> (u64, u64) {
        (self.next, self.end)
    }

    /// Uses the chunk's bytes in a stretch of the file that was fetched from offset `start` on.
    pub(super) fn lend(&mut self, stretch: &Bytes, start: u64) {
        let bounds = self.next.checked_sub(start).zip(self.end.checked_sub(start));
        let bounds = bounds.and_then(|(from, to)| usize::try_from(from).ok().zip(usize::try_from(to).ok()));
        if let Some((from, to)) = bounds.filter(|(_, to)| *to <= stretch.len()) {
            self.window = stretch.slice(from..to);
            self.window_start = self.next;
        }
    }

    /// Bytes of memory that the pages passed to the decoder may take.
    pub(super) fn cost(&self) -> u64 {
        self.dictionary_cost + self.given.iter().map(|(_, cost)| cost).sum::<u64>()
    }

    /// The most bytes of memory that the values of one row may take besides their page.
    pub(super) fn value_cost(&self) -> u64 {
        if self.is_delta_coded { self.page_bytes_max } else { 0 }
    }

    /// Passes the decoder the pages of the next `rows` rows.
    pub(super) fn supply(&mut self, ranges: &mut dyn Ranges, rows: u64, limits: &Limits) -> Result<(), RowsError> {
        self.shelf.allow(if self.is_nested { limits.nested_values_max } else { u64::MAX });
        let mut ahead: u64 = self.given.iter().map(|(values, _)| values).sum();
        // The rows that a nested column's values make up are known only after decoding: pass all its pages.
        while self.next < self.end && (ahead < rows || self.is_nested) {
            let head = self.head(ranges)?;
            // Nothing changes before the whole page is there: after `WouldBlock`, this function is called again.
            let bytes = self.bytes(ranges, head.head_bytes as u64, u64::from(head.stored_bytes))?;
            self.next += head.head_bytes as u64 + bytes.len() as u64;
            let cost = u64::from(head.inflated_bytes) + bytes.len() as u64;
            match head.kind {
                DICTIONARY_PAGE => self.dictionary_cost += cost + ENTRY_BYTES * u64::from(head.values),
                DATA_PAGE | DATA_PAGE_V2 => {
                    let lengths = match head.encoding {
                        DELTA_LENGTH_BYTE_ARRAY | DELTA_BYTE_ARRAY => 8 * u64::from(head.values),
                        _ => 0,
                    };
                    ahead += u64::from(head.values);
                    // A nested column's pages are inflated one at a time; only their stored bytes are in memory
                    // together.
                    let cost = if self.is_nested { bytes.len() as u64 } else { cost };
                    self.given.push_back((u64::from(head.values), cost + lengths));
                }
                _ => continue,
            }
            self.shelf.put(StoredPage { head, bytes });
            if self.cost() > limits.decoding_bytes_max {
                return Err(RowsError::TooLarge {
                    what: "what is decoded at once",
                    bytes_max: limits.decoding_bytes_max,
                });
            }
        }
        Ok(())
    }

    /// Reads and checks the header of the next page.
    fn head(&mut self, ranges: &mut dyn Ranges) -> Result<PageHead, RowsError> {
        let head = loop {
            match PageHead::read(self.in_memory()) {
                Ok(head) => break head,
                Err(Fault::Ends) if self.window_end() < self.end && self.in_memory().len() < HEAD_BYTES_MAX => {
                    self.fetch(ranges, self.in_memory().len() as u64 + 1)?;
                }
                Err(_) => return Err(self.damaged("has a page without a header")),
            }
        };
        // Compression makes incompressible data longer, with Snappy by at most a sixth.
        let stored_max = self.page_bytes_max + self.page_bytes_max / 4;
        if u64::from(head.inflated_bytes) > self.page_bytes_max || u64::from(head.stored_bytes) > stored_max {
            return Err(RowsError::TooLarge { what: "a page", bytes_max: self.page_bytes_max });
        }
        if head.encoding == DELTA_BYTE_ARRAY && head.kind != DICTIONARY_PAGE && !self.is_delta_coded {
            return Err(self.damaged("has an encoding that the footer does not name"));
        }
        Ok(head)
    }

    /// The `length` bytes of the chunk that follow the next `skipped` bytes.
    fn bytes(&mut self, ranges: &mut dyn Ranges, skipped: u64, length: u64) -> Result<Bytes, RowsError> {
        let wanted = skipped.saturating_add(length);
        if wanted > self.end - self.next.min(self.end) {
            return Err(self.damaged("has a page that is longer than the column"));
        }
        if (self.in_memory().len() as u64) < wanted {
            self.fetch(ranges, wanted)?;
        }
        let page = usize::try_from(skipped).ok().zip(usize::try_from(wanted).ok());
        let from = usize::try_from(self.next - self.window_start).unwrap_or(usize::MAX);
        let page = page.and_then(|(skipped, wanted)| Some(from.checked_add(skipped)?..from.checked_add(wanted)?));
        match page {
            Some(page) if page.end <= self.window.len() => Ok(self.window.slice(page)),
            _ => Err(self.damaged("lies outside what was read")),
        }
    }

    fn in_memory(&self) -> &[u8] {
        let from = usize::try_from(self.next - self.window_start).unwrap_or(usize::MAX);
        self.window.get(from..).unwrap_or_default()
    }

    fn window_end(&self) -> u64 {
        self.window_start + self.window.len() as u64
    }

    /// Fetches at least `length` bytes from the next page on, or all that is left of the chunk.
    fn fetch(&mut self, ranges: &mut dyn Ranges, length: u64) -> Result<(), RowsError> {
        let length = length.max(self.window_bytes).min(self.end.saturating_sub(self.next));
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.window = ranges.read(self.next, length).map_err(RowsError::Source)?;
        self.window_start = self.next;
        if self.window.len() == length { Ok(()) } else { Err(RowsError::Source(io::ErrorKind::UnexpectedEof.into())) }
    }

    /// The decoder's reader of the chunk's pages.
    pub(super) fn pages(&self) -> Pages {
        Pages { shelf: self.shelf.clone(), codec: self.codec }
    }

    /// Whether the decoder was passed values that are not read yet.
    pub(super) fn has_left(&self) -> bool {
        self.given.iter().any(|(values, _)| *values > 0)
    }

    /// Counts values as read. Pages read to their end no longer count as memory.
    pub(super) fn consume(&mut self, values: u64) {
        let mut left = values;
        while let Some((of_page, _)) = self.given.front_mut() {
            if *of_page > left {
                *of_page -= left;
                return;
            }
            left -= *of_page;
            self.given.pop_front();
        }
    }

    pub(super) fn damaged(&self, what: &str) -> RowsError {
        RowsError::damaged(format!("column {} {what}", self.name))
    }
}
