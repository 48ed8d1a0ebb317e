//! Texts of one column, decoded as numbers that tell where in the column's pages they stand: none is copied or shared.

use bytes::Bytes;
use parquet::basic::Type as Physical;
use parquet::data_type::Int64Type;
use parquet::errors::ParquetError;
use parquet::schema::types::{ColumnDescPtr, ColumnDescriptor, Type};

use crate::records::rows::chunk::Chunk;
use crate::records::rows::columns::Typed;
use crate::records::rows::pages::Shelf;

/// What the dictionary is called among the pages; the others are numbered on from it.
pub(super) const DICTIONARY: u32 = 0;

/// What a text's place takes in a page that is written anew.
pub(super) const PLACE_BYTES: u64 = 8;

/// Writes the places of the texts that stand in a page from `at` on, each behind its length (`Encodings.md`, "Plain"): as
/// many as there are up to `count`. Where there are too few, the decoder finds it out.
pub(super) fn write_places(out: &mut Vec<u8>, number: u32, page: &[u8], mut at: usize, count: u32) {
    for _ in 0..count {
        let Some(text) = text_at(page, at) else { return };
        let place = u64::from(number) << 32 | at as u64;
        out.extend_from_slice(&place.to_le_bytes());
        at += LENGTH_BYTES + text.len();
    }
}

/// What a text's length takes before it.
const LENGTH_BYTES: usize = 4;

#[inline]
fn text_at(page: &[u8], at: usize) -> Option<&[u8]> {
    let (length, rest) = page.get(at..)?.split_first_chunk::<LENGTH_BYTES>()?;
    rest.get(..u32::from_le_bytes(*length) as usize)
}

/// The texts of the rows at hand.
pub(super) struct Texts {
    places: Typed<Int64Type>,
    shelf: Shelf,
    /// By their numbers; those that no place leads to any more are empty.
    pages: Vec<Bytes>,
    /// How many of the pages are.
    gone: usize,
}

impl Texts {
    pub(super) fn new(descr: &ColumnDescPtr, chunk: &Chunk) -> Result<Self, ParquetError> {
        let number = Type::primitive_type_builder(descr.name(), Physical::INT64).build()?;
        let (def, rep) = (descr.max_def_level(), descr.max_rep_level());
        let descr = ColumnDescriptor::new(number.into(), def, rep, descr.path().clone());
        let places = Typed::new(&descr.into(), chunk.pages());
        Ok(Self { places, shelf: chunk.shelf(), pages: vec![Bytes::new()], gone: 1 })
    }

    pub(super) fn read(
        &mut self,
        rows: usize,
        defs: &mut Vec<i16>,
        reps: &mut Vec<i16>,
    ) -> Result<(usize, usize, usize), ParquetError> {
        // Of the last page some texts may not have been read; the rows at hand before are over.
        while self.gone + 1 < self.pages.len() {
            self.pages[self.gone] = Bytes::new();
            self.gone += 1;
        }
        let read = self.places.read(rows, defs, reps)?;
        for (number, page) in self.shelf.take_inflated() {
            if number == DICTIONARY {
                self.pages[0] = page;
            } else {
                self.pages.push(page);
            }
        }
        Ok(read)
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&[u8]> {
        let place = self.places.values.get(at)?.cast_unsigned();
        let page = self.pages.get((place >> 32) as usize)?;
        text_at(page, (place & u64::from(u32::MAX)) as usize)
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        (0..self.places.values.len()).filter_map(|at| self.get(at)).map(|text| text.len() as u64).sum()
    }
}
