//! The footer of a Parquet file, which describes its content.

use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::records::rows::compact::Extent;
use crate::records::rows::input::{Limits, Ranges, RowsError, unpanicked};
use crate::records::rows::shape::Shape;

/// The magic bytes at the beginning and end of a Parquet file.
pub(super) const MAGIC: &[u8] = b"PAR1";

/// Bytes read first, from the file's end. Mostly they hold the whole footer.
const TAIL_BYTES: u64 = 64 << 10;

/// Bytes after the footer: its length and the magic bytes.
const TRAILER_BYTES: u64 = 8;

/// The file's metadata, checked as far as possible without reading pages.
pub(super) struct Footer {
    pub(super) metadata: ParquetMetaData,
    pub(super) shape: Shape,
    pub(super) rows: u64,
    /// File offset of the footer. All pages are before it.
    pub(super) start: u64,
}

impl Footer {
    pub(super) fn read(ranges: &mut dyn Ranges, limits: &Limits) -> Result<Self, RowsError> {
        let size = ranges.size_bytes();
        let cut = || RowsError::damaged("it does not begin and end as Parquet".to_owned());
        if size < TRAILER_BYTES + MAGIC.len() as u64 {
            return Err(cut());
        }
        let tail_bytes = size.min(TAIL_BYTES);
        let tail = read(ranges, size - tail_bytes, tail_bytes)?;
        let Some((rest, [a, b, c, d, magic @ ..])) = tail.split_last_chunk::<8>() else { return Err(cut()) };
        let begins = if tail_bytes == size { tail.starts_with(MAGIC) } else { read(ranges, 0, 4)?.starts_with(MAGIC) };
        if *magic != *MAGIC || !begins {
            return Err(cut());
        }
        let length = u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
        let start = (size - TRAILER_BYTES).checked_sub(length).filter(|start| *start >= MAGIC.len() as u64);
        let start = start.ok_or_else(|| RowsError::damaged("its footer is longer than the file".to_owned()))?;
        if length > limits.footer_bytes_max {
            return Err(RowsError::TooLarge { what: "the footer", bytes_max: limits.footer_bytes_max });
        }
        let in_tail = usize::try_from(length).ok().and_then(|length| rest.len().checked_sub(length));
        match in_tail {
            Some(from) => Self::of(&rest[from..], start, limits),
            None => Self::of(&read(ranges, start, length)?, start, limits),
        }
    }

    fn of(bytes: &[u8], start: u64, limits: &Limits) -> Result<Self, RowsError> {
        let malformed = || RowsError::damaged("its footer is malformed".to_owned());
        let extent = Extent::of_footer(bytes).map_err(|_| malformed())?;
        // Groups are elements too, and every list or map adds two groups around a column.
        if extent.depth > limits.depth_max || extent.elements > limits.columns_max * 4 {
            let (columns, depth) = (limits.columns_max, limits.depth_max);
            return Err(RowsError::damaged(format!("its schema is larger than {columns} columns of depth {depth}")));
        }
        unpanicked(|| {
            let metadata = ParquetMetaDataReader::decode_metadata(bytes)
                .map_err(|error| RowsError::damaged(format!("its footer cannot be read: {error}")))?;
            let schema = metadata.file_metadata().schema_descr();
            if schema.num_columns() > limits.columns_max {
                return Err(RowsError::damaged(format!("it has more than {} columns", limits.columns_max)));
            }
            let shape = Shape::of(schema)?;
            let rows = count_rows(&metadata, limits)?;
            Ok(Self { metadata, shape, rows, start })
        })
    }
}

/// The rows of the whole file, if file, row groups and columns agree on their number.
fn count_rows(metadata: &ParquetMetaData, limits: &Limits) -> Result<u64, RowsError> {
    let disagree = || RowsError::damaged("its footer contradicts itself on the number of rows".to_owned());
    let mut rows: u64 = 0;
    for group in metadata.row_groups() {
        let of_group = u64::try_from(group.num_rows()).map_err(|_| disagree())?;
        rows = rows.checked_add(of_group).ok_or_else(disagree)?;
        if group.num_columns() != metadata.file_metadata().schema_descr().num_columns() {
            return Err(disagree());
        }
        for column in group.columns() {
            let flat = column.column_descr().max_rep_level() == 0;
            if flat && column.num_values() != group.num_rows() {
                return Err(disagree());
            }
        }
    }
    if u64::try_from(metadata.file_metadata().num_rows()) != Ok(rows) {
        return Err(disagree());
    }
    if rows > limits.rows_max {
        return Err(RowsError::damaged(format!("it has more than {} rows", limits.rows_max)));
    }
    Ok(rows)
}

fn read(ranges: &mut dyn Ranges, start: u64, length: u64) -> Result<bytes::Bytes, RowsError> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let bytes = ranges.read(start, length).map_err(RowsError::Source)?;
    if bytes.len() == length { Ok(bytes) } else { Err(RowsError::Source(std::io::ErrorKind::UnexpectedEof.into())) }
}
