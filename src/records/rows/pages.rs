//! Hands the pages of one column to the decoder, inflated one at a time.

use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flate2::Crc;
use flate2::read::MultiGzDecoder;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::ParquetError;

use crate::records::rows::compact::{DATA_PAGE_V2, DICTIONARY_PAGE, PageHead};

/// The supported compression codecs of Parquet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Codec {
    Plain,
    Snappy,
    Gzip,
    Zstd,
}

impl Codec {
    /// `None` if the codec is not supported.
    pub(super) fn of(compression: Compression) -> Option<Self> {
        match compression {
            Compression::UNCOMPRESSED => Some(Self::Plain),
            Compression::SNAPPY => Some(Self::Snappy),
            Compression::GZIP(_) => Some(Self::Gzip),
            Compression::ZSTD(_) => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Inflates to exactly `bytes` bytes, or fails. Never takes more memory than that.
    fn inflate(self, stored: &Bytes, bytes: usize) -> Result<Bytes, ParquetError> {
        let damaged = || ParquetError::General("a page does not inflate to the size it says".to_owned());
        let inflated = match self {
            Self::Plain => stored.clone(),
            Self::Snappy => {
                if snap::raw::decompress_len(stored).ok() != Some(bytes) {
                    return Err(damaged());
                }
                let mut inflated = vec![0; bytes];
                snap::raw::Decoder::new().decompress(stored, &mut inflated).map_err(|_| damaged())?;
                inflated.into()
            }
            Self::Gzip => {
                let mut inflated = Vec::with_capacity(bytes + 1);
                let mut bounded = MultiGzDecoder::new(&**stored).take(bytes as u64 + 1);
                bounded.read_to_end(&mut inflated).map_err(|_| damaged())?;
                inflated.into()
            }
            Self::Zstd => zstd::bulk::decompress(stored, bytes).map_err(|_| damaged())?.into(),
        };
        if inflated.len() == bytes { Ok(inflated) } else { Err(damaged()) }
    }
}

/// A page as it is stored.
#[derive(Debug)]
pub(super) struct StoredPage {
    pub(super) head: PageHead,
    pub(super) bytes: Bytes,
}

/// A queue of stored pages that the decoder of one column may take.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf(Arc<Mutex<Shelved>>);

#[derive(Debug, Default)]
struct Shelved {
    pages: VecDeque<StoredPage>,
    /// How many values may still be taken, in whole pages, before the next [`Shelf::allow`].
    values_left: u64,
}

impl Shelf {
    pub(super) fn put(&self, page: StoredPage) {
        self.lock().pages.push_back(page);
    }

    /// Sets how many values the pages taken from now on may hold.
    pub(super) fn allow(&self, values: u64) {
        self.lock().values_left = values;
    }

    fn lock(&self) -> MutexGuard<'_, Shelved> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The decoder's reader of one column's pages.
pub(super) struct Pages {
    pub(super) shelf: Shelf,
    pub(super) codec: Codec,
}

impl Pages {
    fn page(&self, stored: &StoredPage) -> Result<Page, ParquetError> {
        let head = &stored.head;
        if head.checksum.is_some_and(|checksum| checksum != checksum_of(&stored.bytes)) {
            return Err(ParquetError::General("a page is not what its checksum says".to_owned()));
        }
        let levels = if head.kind == DATA_PAGE_V2 { u64::from(head.def_bytes) + u64::from(head.rep_bytes) } else { 0 };
        let plain = levels.min(stored.bytes.len() as u64) as usize;
        let bytes = head.inflated_bytes as usize;
        if levels > plain as u64 || plain > bytes {
            return Err(ParquetError::General("a page's levels are longer than the page".to_owned()));
        }
        // In a page of version 2 the levels are never compressed, and the values may be stored uncompressed.
        let codec = if head.stored_plain { Codec::Plain } else { self.codec };
        let values = stored.bytes.slice(plain..);
        let buf = match (plain, bytes - plain) {
            // If there are no values, writers store no compressed bytes at all.
            (_, 0) => stored.bytes.slice(..plain),
            (0, _) => codec.inflate(&values, bytes)?,
            (_, left) => {
                let mut whole = Vec::with_capacity(bytes);
                whole.extend_from_slice(&stored.bytes[..plain]);
                whole.extend_from_slice(&codec.inflate(&values, left)?);
                whole.into()
            }
        };
        Ok(match head.kind {
            DICTIONARY_PAGE => Page::DictionaryPage {
                buf,
                num_values: head.values,
                encoding: encoding(head.encoding)?,
                is_sorted: false,
            },
            DATA_PAGE_V2 => Page::DataPageV2 {
                buf,
                num_values: head.values,
                encoding: encoding(head.encoding)?,
                num_nulls: head.nulls,
                num_rows: head.rows.unwrap_or(head.values),
                def_levels_byte_len: head.def_bytes,
                rep_levels_byte_len: head.rep_bytes,
                is_compressed: false,
                statistics: None,
            },
            _ => Page::DataPage {
                buf,
                num_values: head.values,
                encoding: encoding(head.encoding)?,
                def_level_encoding: encoding(head.def_encoding)?,
                rep_level_encoding: encoding(head.rep_encoding)?,
                statistics: None,
            },
        })
    }
}

impl Iterator for Pages {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let stored = {
            let mut shelved = self.shelf.lock();
            let Some(stored) = shelved.pages.pop_front() else { return Ok(None) };
            if stored.head.kind != DICTIONARY_PAGE {
                let left = shelved.values_left.checked_sub(u64::from(stored.head.values));
                shelved.values_left =
                    left.ok_or_else(|| ParquetError::General("a few rows hold too many values".to_owned()))?;
            }
            stored
        };
        self.page(&stored).map(Some)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        let shelved = self.shelf.lock();
        Ok(shelved.pages.front().map(|stored| PageMetadata {
            num_rows: stored.head.rows.map(|rows| rows as usize),
            num_levels: Some(stored.head.values as usize),
            is_dict: stored.head.kind == DICTIONARY_PAGE,
        }))
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.shelf.lock().pages.pop_front();
        Ok(())
    }
}

/// CRC-32 as in gzip.
fn checksum_of(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// `parquet.thrift`, `Encoding`.
fn encoding(number: u32) -> Result<Encoding, ParquetError> {
    Ok(match number {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        #[expect(deprecated, reason = "old files hold it")]
        4 => Encoding::BIT_PACKED,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        _ => return Err(ParquetError::General(format!("encoding {number} is not known"))),
    })
}
