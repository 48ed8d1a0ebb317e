//! Records kept in scratch because the content has them in another order than they were accepted in.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};

use crate::delta::RecordHash;
use crate::reading::fan_out::Placed;
use crate::records::Record;

/// A nameless file of records, to be read back in the order of acceptance.
pub(super) struct Aside {
    file: BufWriter<File>,
    written: u64,
    /// Of each record, its place and its offset in the file.
    places: Vec<(u64, u64)>,
}

/// Length of the head before a record's bytes: hash, ordinal, offset, occurrence, length, the line's length if it is
/// too long to have bytes (else 0), and whether the record may be within another's value.
const HEAD_BYTES: usize = 32 + 6 * 8;

impl Aside {
    pub(super) fn new(file: File) -> Self {
        Self { file: BufWriter::new(file), written: 0, places: Vec::new() }
    }

    pub(super) fn put(&mut self, record: &Placed<'_>) -> io::Result<()> {
        self.places.push((record.index, self.written));
        self.file.write_all(&record.hash.0)?;
        let (length, too_long) = (record.record.bytes.len() as u64, record.too_long.unwrap_or(0));
        let may_be_within = u64::from(record.record.may_be_within);
        for number in [record.record.ordinal, record.offset, record.occurrence, length, too_long, may_be_within] {
            self.file.write_all(&number.to_le_bytes())?;
        }
        self.file.write_all(record.record.bytes)?;
        self.written += (HEAD_BYTES + record.record.bytes.len()) as u64;
        Ok(())
    }

    /// The records in the order of acceptance.
    pub(super) fn in_order(self) -> io::Result<InOrder> {
        let Self { file, mut places, .. } = self;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        places.sort_unstable();
        Ok(InOrder { file, places: places.into_iter(), bytes: Vec::new() })
    }
}

/// The records of the file, one after another.
pub(super) struct InOrder {
    file: File,
    places: std::vec::IntoIter<(u64, u64)>,
    bytes: Vec<u8>,
}

impl InOrder {
    pub(super) fn next(&mut self) -> io::Result<Option<Placed<'_>>> {
        let Some((index, at)) = self.places.next() else { return Ok(None) };
        self.file.seek(SeekFrom::Start(at))?;
        let mut head = [0; HEAD_BYTES];
        self.file.read_exact(&mut head)?;
        let mut hash = [0; 32];
        hash.copy_from_slice(&head[..32]);
        let number = |which: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&head[32 + 8 * which..40 + 8 * which]);
            u64::from_le_bytes(number)
        };
        self.bytes.clear();
        (&self.file).take(number(3)).read_to_end(&mut self.bytes)?;
        Ok(Some(Placed {
            record: Record { may_be_within: number(5) != 0, ..Record::new(number(0), &self.bytes) },
            hash: RecordHash(hash),
            offset: number(1),
            index,
            occurrence: number(2),
            too_long: Some(number(4)).filter(|length| *length > 0),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_whole_and_in_the_order_of_acceptance() {
        let mut scratch = Aside::new(tempfile::tempfile().unwrap());
        for (index, bytes, too_long) in [(7, &b"seven"[..], None), (2, b"", Some(1 << 40)), (5, b"five", None)] {
            let hash = RecordHash::of(bytes);
            let record = Record::new(index + 100, bytes);
            let record = Placed { record, hash, offset: 9, index, occurrence: index * 2, too_long };
            scratch.put(&record).unwrap();
        }
        let (mut seen, mut records) = (Vec::new(), scratch.in_order().unwrap());
        while let Some(record) = records.next().unwrap() {
            let Record { bytes, ordinal, .. } = record.record;
            assert_eq!(record.hash, RecordHash::of(bytes));
            seen.push((record.index, bytes.to_vec(), ordinal, record.occurrence, record.too_long));
        }
        let expected = [
            (2, b"".to_vec(), 102, 4, Some(1 << 40)),
            (5, b"five".to_vec(), 105, 10, None),
            (7, b"seven".to_vec(), 107, 14, None),
        ];
        assert_eq!(seen, expected);
    }
}
