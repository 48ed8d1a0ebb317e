//! Reads as much of Thrift's compact protocol as is needed to check a Parquet file before any of it is decoded.

/// How deeply structs, lists and maps may be nested in values that are skipped.
const DEPTH_MAX: u8 = 32;

/// Why a structure cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// It continues after the available bytes.
    Ends,
    Malformed,
}

/// The parts of a page header that decoding the page needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct PageHead {
    /// Bytes of the header itself.
    pub(super) head_bytes: usize,
    pub(super) kind: u32,
    pub(super) inflated_bytes: u32,
    pub(super) stored_bytes: u32,
    /// CRC-32 of the stored page, if the writer added one.
    pub(super) checksum: Option<u32>,
    /// Values in a data page, including nulls; entries in a dictionary page.
    pub(super) values: u32,
    pub(super) encoding: u32,
    pub(super) def_encoding: u32,
    pub(super) rep_encoding: u32,
    pub(super) nulls: u32,
    /// Rows that begin in the page. Only data pages of version 2 have this.
    pub(super) rows: Option<u32>,
    pub(super) def_bytes: u32,
    pub(super) rep_bytes: u32,
    /// Whether the values of a data page of version 2 are stored uncompressed.
    pub(super) stored_plain: bool,
}

/// `parquet.thrift`, `PageType`.
pub(super) const DATA_PAGE: u32 = 0;
pub(super) const DICTIONARY_PAGE: u32 = 2;
pub(super) const DATA_PAGE_V2: u32 = 3;

impl PageHead {
    /// Reads the header at the front of `bytes`.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let mut compact = Compact { bytes, at: 0 };
        let mut head = Self::default();
        let mut described = false;
        compact.fields(|compact, id, kind| {
            match id {
                1 => head.kind = compact.count(kind)?,
                2 => head.inflated_bytes = compact.count(kind)?,
                3 => head.stored_bytes = compact.count(kind)?,
                4 => head.checksum = Some(compact.bits(kind)?),
                5 => described |= head.kind == DATA_PAGE && head.read_data(compact, kind)?,
                7 => described |= head.kind == DICTIONARY_PAGE && head.read_dictionary(compact, kind)?,
                8 => described |= head.kind == DATA_PAGE_V2 && head.read_data_v2(compact, kind)?,
                _ => return compact.skip(kind, 0),
            }
            Ok(())
        })?;
        head.head_bytes = compact.at;
        let known = matches!(head.kind, DATA_PAGE | DICTIONARY_PAGE | DATA_PAGE_V2);
        if known && !described { Err(Fault::Malformed) } else { Ok(head) }
    }

    fn read_data(&mut self, compact: &mut Compact<'_>, kind: u8) -> Result<bool, Fault> {
        compact.structure(kind, |compact, id, kind| {
            match id {
                1 => self.values = compact.count(kind)?,
                2 => self.encoding = compact.count(kind)?,
                3 => self.def_encoding = compact.count(kind)?,
                4 => self.rep_encoding = compact.count(kind)?,
                _ => return compact.skip(kind, 0),
            }
            Ok(())
        })?;
        Ok(true)
    }

    fn read_dictionary(&mut self, compact: &mut Compact<'_>, kind: u8) -> Result<bool, Fault> {
        compact.structure(kind, |compact, id, kind| {
            match id {
                1 => self.values = compact.count(kind)?,
                2 => self.encoding = compact.count(kind)?,
                _ => return compact.skip(kind, 0),
            }
            Ok(())
        })?;
        Ok(true)
    }

    fn read_data_v2(&mut self, compact: &mut Compact<'_>, kind: u8) -> Result<bool, Fault> {
        compact.structure(kind, |compact, id, kind| {
            match id {
                1 => self.values = compact.count(kind)?,
                2 => self.nulls = compact.count(kind)?,
                3 => self.rows = Some(compact.count(kind)?),
                4 => self.encoding = compact.count(kind)?,
                5 => self.def_bytes = compact.count(kind)?,
                6 => self.rep_bytes = compact.count(kind)?,
                7 => self.stored_plain = kind == FALSE,
                _ => return compact.skip(kind, 0),
            }
            Ok(())
        })?;
        Ok(true)
    }
}

/// How large a schema is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Extent {
    pub(super) elements: usize,
    pub(super) depth: usize,
}

impl Extent {
    /// Measures the schema in the file's metadata. The Parquet crate builds schemas by recursion, so one that is too
    /// deep must be refused before.
    pub(super) fn of_footer(metadata: &[u8]) -> Result<Self, Fault> {
        let mut compact = Compact { bytes: metadata, at: 0 };
        let mut extent = Self::default();
        compact.fields(|compact, id, kind| {
            if id != 2 || kind != LIST {
                return compact.skip(kind, 0);
            }
            let (kind, elements) = compact.list()?;
            // For each open group, the children still to come.
            let mut open: Vec<u64> = Vec::new();
            for _ in 0..elements {
                let mut children = 0;
                compact.structure(kind, |compact, id, kind| {
                    if id == 5 {
                        children = u64::from(compact.count(kind)?);
                        return Ok(());
                    }
                    compact.skip(kind, 0)
                })?;
                extent.elements += 1;
                while open.last() == Some(&0) {
                    open.pop();
                }
                if let Some(left) = open.last_mut() {
                    *left -= 1;
                }
                if children > 0 {
                    open.push(children);
                    extent.depth = extent.depth.max(open.len());
                }
            }
            Ok(())
        })?;
        Ok(extent)
    }
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
const UUID: u8 = 13;

struct Compact<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Compact<'_> {
    /// Calls `field` for each field of a struct, with its id and kind; `field` must read or skip the value.
    fn fields<F>(&mut self, mut field: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self, i16, u8) -> Result<(), Fault>,
    {
        let mut id: i16 = 0;
        loop {
            let byte = self.byte()?;
            if byte == 0 {
                return Ok(());
            }
            let delta = i16::from(byte >> 4);
            id = match delta {
                0 => i16::try_from(self.zigzag()?).map_err(|_| Fault::Malformed)?,
                delta => id.checked_add(delta).ok_or(Fault::Malformed)?,
            };
            field(self, id, byte & 0x0f)?;
        }
    }

    fn structure<F>(&mut self, kind: u8, field: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self, i16, u8) -> Result<(), Fault>,
    {
        if kind == STRUCT { self.fields(field) } else { Err(Fault::Malformed) }
    }

    /// An integer that is a size or a count: never negative.
    fn count(&mut self, kind: u8) -> Result<u32, Fault> {
        if !(BYTE + 1..DOUBLE).contains(&kind) {
            return Err(Fault::Malformed);
        }
        let number = self.zigzag()?;
        u32::try_from(number).ok().filter(|number| *number <= i32::MAX as u32).ok_or(Fault::Malformed)
    }

    /// The bits of a 32-bit integer, of either sign.
    fn bits(&mut self, kind: u8) -> Result<u32, Fault> {
        if !(BYTE + 1..DOUBLE).contains(&kind) {
            return Err(Fault::Malformed);
        }
        i32::try_from(self.zigzag()?).map(i32::cast_unsigned).map_err(|_| Fault::Malformed)
    }

    /// The kind and number of a list's elements.
    fn list(&mut self) -> Result<(u8, u64), Fault> {
        let byte = self.byte()?;
        let count = match byte >> 4 {
            15 => self.varint()?,
            few => u64::from(few),
        };
        Ok((byte & 0x0f, count))
    }

    fn skip(&mut self, kind: u8, depth: u8) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(Fault::Malformed);
        }
        match kind {
            TRUE | FALSE => Ok(()),
            BYTE => self.pass(1),
            DOUBLE => self.pass(8),
            UUID => self.pass(16),
            BINARY => {
                let length = self.varint()?;
                self.pass(length)
            }
            LIST | SET => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| self.skip_element(kind, depth))
            }
            MAP => {
                let count = self.varint()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                (0..count).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth)?;
                    self.skip_element(kinds & 0x0f, depth)
                })
            }
            STRUCT => self.fields(|compact, _, kind| compact.skip(kind, depth + 1)),
            _ if kind < DOUBLE && kind > BYTE => self.varint().map(drop),
            _ => Err(Fault::Malformed),
        }
    }

    /// A boolean takes one byte as an element and none as a field. Every element takes at least one byte, so the
    /// available bytes bound the counts.
    fn skip_element(&mut self, kind: u8, depth: u8) -> Result<(), Fault> {
        if matches!(kind, TRUE | FALSE) { self.pass(1) } else { self.skip(kind, depth + 1) }
    }

    fn pass(&mut self, length: u64) -> Result<(), Fault> {
        let left = (self.bytes.len() - self.at) as u64;
        if length > left {
            return Err(Fault::Ends);
        }
        self.at += usize::try_from(length).map_err(|_| Fault::Ends)?;
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = self.bytes.get(self.at).copied().ok_or(Fault::Ends)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Fault::Malformed)
    }

    fn zigzag(&mut self) -> Result<i64, Fault> {
        let number = self.varint()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A data page of 3 plain values, 12 bytes inflated and 10 stored, with a checksum of 1.
    const HEAD: &[u8] = &[
        0x15, 0x00, 0x15, 0x18, 0x15, 0x14, 0x15, 0x02, 0x1c, 0x15, 0x06, 0x15, 0x00, 0x15, 0x06, 0x15, 0x06, 0x00,
        0x00,
    ];

    #[test]
    fn a_page_header_is_read_and_its_length_known() {
        let head = PageHead::read(&[HEAD, b"page"].concat()).unwrap();
        let expected = PageHead {
            head_bytes: HEAD.len(),
            inflated_bytes: 12,
            stored_bytes: 10,
            checksum: Some(1),
            values: 3,
            def_encoding: 3,
            rep_encoding: 3,
            ..PageHead::default()
        };
        assert_eq!(head, expected);
    }

    #[test]
    fn a_page_header_that_is_cut_ends() {
        for length in 0..HEAD.len() {
            assert_eq!(PageHead::read(&HEAD[..length]), Err(Fault::Ends), "{length}");
        }
    }

    #[test]
    fn a_negative_size_is_malformed() {
        assert_eq!(PageHead::read(&[0x15, 0x00, 0x15, 0x01, 0x00]), Err(Fault::Malformed));
    }

    #[test]
    fn a_schema_is_as_deep_as_its_groups_stand_in_each_other() {
        // root(2 children) { leaf, group(1 child) { leaf } }
        let element = |children: u8| if children == 0 { vec![0x00] } else { vec![0x55, children << 1, 0x00] };
        let mut footer = vec![0x29, 0x4c];
        for children in [2, 0, 1, 0] {
            footer.extend(element(children));
        }
        footer.push(0);
        assert_eq!(Extent::of_footer(&footer), Ok(Extent { elements: 4, depth: 2 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _read = PageHead::read(&bytes);
            let _measured = Extent::of_footer(&bytes);
        }
    }
}
