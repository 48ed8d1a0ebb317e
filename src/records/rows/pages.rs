//! Pages of one column on their way to the decoder, inflated one at a time.

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
use crate::records::rows::texts::{DICTIONARY, PLACE_BYTES, write_places};

/// What is read of the codecs that Parquet knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Codec {
    Plain,
    Snappy,
    Gzip,
    Zstd,
}

impl Codec {
    /// `None` for a codec that is not read.
    pub(super) fn of(compression: Compression) -> Option<Self> {
        match compression {
            Compression::UNCOMPRESSED => Some(Self::Plain),
            Compression::SNAPPY => Some(Self::Snappy),
            Compression::GZIP(_) => Some(Self::Gzip),
            Compression::ZSTD(_) => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Inflates to exactly `bytes` bytes, or fails; never takes more memory than that.
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

/// Where the pages wait that the decoder of one column may take.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf(Arc<Mutex<Shelved>>);

#[derive(Debug, Default)]
struct Shelved {
    pages: VecDeque<StoredPage>,
    /// Values in pages that may still be taken before the next allowance.
    values_left: u64,
    /// Pages of texts, by their numbers, that places were written of since somebody asked.
    inflated: Vec<(u32, Bytes)>,
}

impl Shelf {
    pub(super) fn put(&self, page: StoredPage) {
        self.lock().pages.push_back(page);
    }

    /// Lets pages be taken that hold as many values.
    pub(super) fn allow(&self, values: u64) {
        self.lock().values_left = values;
    }

    pub(super) fn take_inflated(&self) -> Vec<(u32, Bytes)> {
        std::mem::take(&mut self.lock().inflated)
    }

    fn lock(&self) -> MutexGuard<'_, Shelved> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the decoder of one column its pages.
pub(super) struct Pages {
    pub(super) shelf: Shelf,
    pub(super) codec: Codec,
    /// Of texts that are decoded as their places: the definition level of one that is there.
    pub(super) places: Option<i16>,
    /// Pages whose places were written, the dictionary not counted.
    pub(super) numbered: u32,
}

impl Pages {
    fn page(&mut self, stored: &StoredPage) -> Result<Page, ParquetError> {
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
        // The levels of a page of version 2 are never compressed, and its values need not be.
        let codec = if head.stored_plain { Codec::Plain } else { self.codec };
        let values = stored.bytes.slice(plain..);
        let buf = match (plain, bytes - plain) {
            // Writers store nothing at all for no values.
            (_, 0) => stored.bytes.slice(..plain),
            (0, _) => codec.inflate(&values, bytes)?,
            (_, left) => {
                let mut whole = Vec::with_capacity(bytes);
                whole.extend_from_slice(&stored.bytes[..plain]);
                whole.extend_from_slice(&codec.inflate(&values, left)?);
                whole.into()
            }
        };
        let buf = match self.places {
            Some(max_def) if head.values > 0 => self.with_places(head, buf, max_def)?,
            _ => buf,
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

    /// The page with the places of its texts in their stead. Where it refers to the dictionary it is left as it is.
    fn with_places(&mut self, head: &PageHead, page: Bytes, max_def: i16) -> Result<Bytes, ParquetError> {
        let is_dictionary = head.kind == DICTIONARY_PAGE;
        match (head.encoding, is_dictionary) {
            (PLAIN, _) | (PLAIN_DICTIONARY, true) => {}
            (PLAIN_DICTIONARY | RLE_DICTIONARY, false) => return Ok(page),
            _ => return Err(ParquetError::General("texts are coded otherwise than the footer says".to_owned())),
        }
        let levels = match head.kind {
            DICTIONARY_PAGE => Some(0),
            DATA_PAGE_V2 => Some(head.def_bytes as usize + head.rep_bytes as usize),
            _ if max_def == 0 => Some(0),
            _ => level_bytes(head, &page, max_def),
        };
        let levels = levels.filter(|levels| *levels <= page.len());
        let levels =
            levels.ok_or_else(|| ParquetError::General("a page's levels are longer than the page".to_owned()))?;
        let number = if is_dictionary { DICTIONARY } else { self.numbered + 1 };
        // No more than there are lengths in the page.
        let count = u64::from(head.values).min((page.len() - levels) as u64 / 4);
        let mut written = Vec::with_capacity(levels + (count * PLACE_BYTES) as usize);
        written.extend_from_slice(&page[..levels]);
        write_places(&mut written, number, &page, levels, head.values);
        self.numbered += u32::from(!is_dictionary);
        self.shelf.lock().inflated.push((number, page));
        Ok(written.into())
    }
}

/// What the definition levels take of a page of version 1.
fn level_bytes(head: &PageHead, page: &[u8], max_def: i16) -> Option<usize> {
    if head.def_encoding == RLE {
        let length = u32::from_le_bytes(*page.first_chunk()?);
        return (length as usize).checked_add(4);
    }
    let bits = i16::BITS - max_def.leading_zeros();
    let bits = u64::from(head.values) * u64::from(bits);
    (head.def_encoding == BIT_PACKED).then(|| usize::try_from(bits.div_ceil(8)).ok())?
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

/// CRC-32 as gzip has it.
fn checksum_of(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// `parquet.thrift`, `Encoding`: those of texts that are decoded as their places, and of their levels.
pub(super) const PLAIN: u32 = 0;
const PLAIN_DICTIONARY: u32 = 2;
const RLE: u32 = 3;
const BIT_PACKED: u32 = 4;
const RLE_DICTIONARY: u32 = 8;

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
