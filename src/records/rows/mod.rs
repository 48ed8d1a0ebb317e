//! Reads the rows of a Parquet file as lines of canonical JSON, by ranges and in bounded memory.
//!
//! A row is one JSON object: its columns by name in the file's order, without nulls, numbers in full, times as RFC 3339
//! in UTC. [`Rows::open`] decodes the whole file once before any row is returned, so a file that is truncated, damaged
//! or over a limit is refused whole.

mod chunk;

mod columns;

mod compact;

mod footer;

mod input;

mod pages;

mod shape;

mod text;

mod write;

use std::io::{self, Read};

use bytes::Bytes;

use crate::records::escaped::write_escaped;
use crate::records::rows::chunk::Chunk;
use crate::records::rows::columns::{Column, Stored};
use crate::records::rows::footer::{Footer, MAGIC};
use crate::records::rows::input::unpanicked;
use crate::records::rows::shape::{Format, Kind};
use crate::records::rows::write::{write_member, write_value};
use crate::room::Taken;

pub use input::Limits;
pub(crate) use input::{Ranges, RowsError};

/// The most rows decoded at a time.
const ROWS_AT_ONCE: u64 = 1024;

/// About how many values are decoded at a time, over all columns.
const VALUES_AT_ONCE: u64 = 256 << 10;

/// About how many bytes of JSON are written ahead of the reader.
const OUT_BYTES: usize = 64 << 10;

/// The ratio is checked only past this many bytes of rows, as for other compressed content.
const UNJUDGED_BYTES: u64 = 16 << 20;

/// Longer texts are written in pieces of this many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// Whether an object is to be read as a Parquet file, by its key and its first bytes (at least four, if it has as
/// many). An object named `.parquet` that does not begin as one, or is empty, is damaged and must not be read as
/// anything else.
pub fn are_in(key: &str, beginning: &[u8]) -> bool {
    let is_called = key.len() >= 8 && key.as_bytes()[key.len() - 8..].eq_ignore_ascii_case(b".parquet");
    begins_as_file(beginning) || is_called
}

/// Whether content with this beginning is a Parquet file.
fn begins_as_file(beginning: &[u8]) -> bool {
    beginning.starts_with(MAGIC)
}

/// The rows of one file, each as a line of JSON that ends with LF. A row's number is its record's ordinal.
///
/// Every row group is read twice: once to check that all of them decode, once to return their rows. Small ones are
/// fetched only once.
pub struct Rows<R> {
    ranges: R,
    limits: Limits,
    footer: Footer,
    /// Bytes of text seen so far while the whole file is decoded once.
    text_bytes: u64,
    /// File offset and bytes of row groups that were fetched whole and are kept for the second reading.
    kept: Vec<(u64, Bytes)>,
    kept_bytes: u64,
    next_group: usize,
    group: Group,
    /// Decoded rows that are not written yet. The first of them is written up to `member` and `piece`.
    rows_at_hand: u64,
    member: usize,
    piece: usize,
    row_begun: bool,
    out: Vec<u8>,
    given: usize,
    /// The memory taken for bytes fetched and decoded at a time.
    taken: Taken,
}

/// A file that is not yet known to decode.
pub(crate) struct Unproved<R> {
    limits: Limits,
    stage: Stage<R>,
}

enum Stage<R> {
    /// The footer is not read yet.
    Unread(R),
    /// The whole file is being decoded once.
    Trying(Box<Rows<R>>),
    /// The rows were returned.
    Over,
}

impl<R: Ranges> Unproved<R> {
    pub(crate) fn new(ranges: R, limits: Limits) -> Self {
        Self { limits, stage: Stage::Unread(ranges) }
    }

    /// Reads the footer and decodes the whole file once. If `ranges` fails with
    /// [`WouldBlock`](io::ErrorKind::WouldBlock), call again: nothing is lost.
    ///
    /// # Errors
    /// As [`Rows::open`].
    pub(crate) fn prove(&mut self) -> Result<Rows<R>, RowsError> {
        if let Stage::Unread(ranges) = &mut self.stage {
            let footer = Footer::read(ranges, &self.limits)?;
            if let Stage::Unread(ranges) = std::mem::replace(&mut self.stage, Stage::Over) {
                self.stage = Stage::Trying(Box::new(Rows::new(ranges, self.limits, footer)));
            }
        }
        if let Stage::Trying(rows) = &mut self.stage {
            rows.try_all()?;
        }
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Trying(rows) => Ok(*rows),
            Stage::Unread(_) | Stage::Over => Err(RowsError::damaged("it was given out already".to_owned())),
        }
    }
}

/// The row group that is being read.
#[derive(Default)]
struct Group {
    columns: Vec<Column>,
    rows_left: u64,
    rows_at_once: u64,
}

impl<R: Ranges> Rows<R> {
    /// Reads the footer and decodes the whole file once.
    ///
    /// # Errors
    /// `Damaged`, `TooLarge` or `RatioTooHigh` if any row cannot be returned; `Source` if `ranges` fails.
    pub fn open(ranges: R, limits: Limits) -> Result<Self, RowsError> {
        Unproved::new(ranges, limits).prove()
    }

    fn new(ranges: R, limits: Limits, footer: Footer) -> Self {
        Self {
            taken: ranges.room().nothing(),
            ranges,
            limits,
            footer,
            text_bytes: 0,
            kept: Vec::new(),
            kept_bytes: 0,
            next_group: 0,
            group: Group::default(),
            rows_at_hand: 0,
            member: 0,
            piece: 0,
            row_begun: false,
            out: Vec::new(),
            given: 0,
        }
    }

    /// The number of rows in the file.
    pub fn count(&self) -> u64 {
        self.footer.rows
    }

    /// Decodes the whole file. Also writes nested values, and drops them, since writing these can fail.
    fn try_all(&mut self) -> Result<(), RowsError> {
        let mut scratch = Vec::new();
        let mut tried_rows = 0;
        while self.next_rows()? {
            self.text_bytes += self.group.columns.iter().map(Column::text_bytes).sum::<u64>();
            if self.text_bytes > self.limits.text_bytes_max {
                return Err(RowsError::TooLarge { what: "its text", bytes_max: self.limits.text_bytes_max });
            }
            // Each row takes at least two brackets and a line end.
            tried_rows += self.rows_at_hand;
            let bytes = self.text_bytes.saturating_add(tried_rows * 3);
            let ratio_max = self.limits.ratio_max;
            if bytes > UNJUDGED_BYTES && bytes > self.ranges.size_bytes().saturating_mul(ratio_max) {
                return Err(RowsError::RatioTooHigh { ratio_max });
            }
            if self.footer.shape.is_nested {
                for _ in 0..self.rows_at_hand {
                    self.try_row(&mut scratch)?;
                }
            }
            self.rows_at_hand = 0;
        }
        self.next_group = 0;
        Ok(())
    }

    fn try_row(&mut self, scratch: &mut Vec<u8>) -> Result<(), RowsError> {
        let columns = &mut self.group.columns;
        for member in &self.footer.shape.members {
            scratch.clear();
            if matches!(member.kind, Kind::Value(_)) && member.repeats.is_none() {
                columns[member.columns.start].advance();
            } else {
                write_member(scratch, member, columns, self.limits.nested_json_bytes_max)?;
                if columns[member.columns.clone()].iter().any(|column| column.rep() != 0) {
                    return Err(RowsError::damaged("a nested column's rows do not end together".to_owned()));
                }
            }
        }
        Ok(())
    }

    /// Decodes the next rows. Returns false at the end of the file.
    fn next_rows(&mut self) -> Result<bool, RowsError> {
        while self.group.rows_left == 0 {
            self.group.columns.iter().try_for_each(Column::end)?;
            if self.next_group == self.footer.metadata.num_row_groups() {
                self.group = Group::default();
                return Ok(false);
            }
            self.group = self.open_group(self.next_group)?;
            self.next_group += 1;
        }
        let rows = self.group.rows_left.min(self.group.rows_at_once);
        for at in 0..self.group.columns.len() {
            self.group.columns[at].chunk.supply(&mut self.ranges, rows, &self.limits)?;
            let cost: u64 = self.group.columns.iter().map(|column| column.chunk.cost()).sum();
            if cost > self.limits.decoding_bytes_max {
                let bytes_max = self.limits.decoding_bytes_max;
                return Err(RowsError::TooLarge { what: "what is decoded at once", bytes_max });
            }
            let fetched = self.ranges.size_bytes().min(self.limits.fetch_bytes_max);
            let bytes = usize::try_from(fetched + cost).unwrap_or(usize::MAX);
            self.taken.grow_to(bytes).map_err(RowsError::Source)?;
        }
        let columns = &mut self.group.columns;
        let count = usize::try_from(rows).unwrap_or(usize::MAX);
        unpanicked(|| columns.iter_mut().try_for_each(|column| column.read(count)))?;
        self.group.rows_left -= rows;
        self.rows_at_hand = rows;
        Ok(true)
    }

    fn open_group(&mut self, index: usize) -> Result<Group, RowsError> {
        let group = self.footer.metadata.row_group(index);
        let count = group.num_columns() as u64;
        let window_bytes = (self.limits.fetch_bytes_max / count.max(1)).clamp(64 << 10, 1 << 20);
        let mut chunks = Vec::with_capacity(group.num_columns());
        for meta in group.columns() {
            chunks.push(Chunk::new(meta, self.footer.start, window_bytes, &self.limits)?);
        }
        let start = chunks.iter().map(|chunk| chunk.span().0).min().unwrap_or(0);
        let end = chunks.iter().map(|chunk| chunk.span().1).max().unwrap_or(0);
        if end - start <= self.limits.fetch_bytes_max {
            let stretch = self.stretch(start, end - start)?;
            chunks.iter_mut().for_each(|chunk| chunk.lend(&stretch, start));
        }
        let mut rows_at_once = ROWS_AT_ONCE.min((VALUES_AT_ONCE / count.max(1)).max(1));
        let value_cost: u64 = chunks.iter().map(Chunk::value_cost).sum();
        if let Some(rows) = (self.limits.decoding_bytes_max / 4).checked_div(value_cost) {
            rows_at_once = rows_at_once.min(rows.max(1));
        }
        let group = self.footer.metadata.row_group(index);
        let descrs = group.schema_descr().columns();
        let columns =
            unpanicked(|| Ok(descrs.iter().zip(chunks).map(|(descr, chunk)| Column::new(descr, chunk)).collect()))?;
        Ok(Group { columns, rows_left: u64::try_from(group.num_rows()).unwrap_or(0), rows_at_once })
    }

    /// Fetches a stretch of the file, or takes it from the kept ones.
    fn stretch(&mut self, start: u64, length: u64) -> Result<Bytes, RowsError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if let Some((_, kept)) = self.kept.iter().find(|(at, kept)| *at == start && kept.len() == length) {
            return Ok(kept.clone());
        }
        let bytes = self.ranges.read(start, length).map_err(RowsError::Source)?;
        if bytes.len() != length {
            return Err(RowsError::Source(io::ErrorKind::UnexpectedEof.into()));
        }
        if self.kept_bytes + length as u64 <= self.limits.fetch_bytes_max {
            self.kept_bytes += length as u64;
            self.kept.push((start, bytes.clone()));
        }
        Ok(bytes)
    }

    /// Writes rows up to [`OUT_BYTES`], or to the end of the file.
    fn fill(&mut self) -> Result<(), RowsError> {
        self.out.clear();
        self.given = 0;
        while self.out.len() < OUT_BYTES {
            if self.rows_at_hand == 0 && !self.next_rows()? {
                return Ok(());
            }
            self.write_row()?;
        }
        Ok(())
    }

    /// Continues to write the current row: to its end, or until [`OUT_BYTES`] are written.
    fn write_row(&mut self) -> Result<(), RowsError> {
        let (out, columns) = (&mut self.out, &mut self.group.columns);
        while let Some(member) = self.footer.shape.members.get(self.member) {
            let before = out.len();
            if self.piece == 0 {
                out.push(if self.row_begun { b',' } else { b'{' });
            }
            match &member.kind {
                Kind::Value(format) if member.repeats.is_none() => {
                    let column = &mut columns[member.columns.start];
                    match column.peek().filter(|_| column.is_present()) {
                        None => out.truncate(before),
                        Some(value) => {
                            if self.piece == 0 {
                                out.extend_from_slice(&member.key);
                            }
                            if let Some(next) = write_piece(out, value, *format, self.piece) {
                                self.piece = next;
                                self.row_begun = true;
                                return Ok(());
                            }
                            self.piece = 0;
                        }
                    }
                    column.advance();
                }
                _ => {
                    let member_end = out.len() + self.limits.nested_json_bytes_max;
                    write_member(out, member, columns, member_end)?;
                    // Remove the comma after the member or, if it was null, the separator before it.
                    out.pop();
                }
            }
            self.row_begun |= out.len() > before;
            self.member += 1;
            if out.len() >= OUT_BYTES && self.member < self.footer.shape.members.len() {
                return Ok(());
            }
        }
        out.extend_from_slice(if self.row_begun { b"}\n" } else { b"{}\n" });
        self.row_begun = false;
        self.member = 0;
        self.rows_at_hand -= 1;
        Ok(())
    }
}

/// Writes a value, or one piece of a long text, from `from` on. Returns where the next piece begins, if there is one.
fn write_piece(out: &mut Vec<u8>, value: Stored<'_>, format: Format, from: usize) -> Option<usize> {
    if let (Stored::Bytes(bytes), Format::Plain) = (value, format)
        && bytes.len() > PIECE_BYTES
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        if from == 0 {
            out.push(b'"');
        }
        let to = text.floor_char_boundary(from + PIECE_BYTES);
        write_escaped(out, text.get(from..to).unwrap_or_default());
        if to < text.len() {
            return Some(to);
        }
        out.push(b'"');
        return None;
    }
    write_value(out, value, format);
    None
}

impl<R: Ranges> Read for Rows<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.given == self.out.len() {
            self.fill()?;
        }
        let rest = &self.out[self.given..];
        let count = into.len().min(rest.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}

impl<R> std::fmt::Debug for Rows<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("count", &self.footer.rows).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::basic::{BrotliLevel, Compression, Encoding};
    use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
    use parquet::file::metadata::{ParquetMetaDataReader, ParquetMetaDataWriter};
    use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    use crate::room::{BASE_BYTES, Purse, Room};

    fn fixture(name: &str) -> Bytes {
        let path = format!("{}/tests/fixtures/lakefs/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}")).into()
    }

    fn content_of(ranges: impl Ranges, limits: Limits) -> Result<String, RowsError> {
        let mut rows = Rows::open(ranges, limits)?;
        let mut content = String::new();
        rows.read_to_string(&mut content).map_err(RowsError::from_read)?;
        assert_eq!(rows.count(), content.lines().count() as u64);
        Ok(content)
    }

    /// Has a range only when it is asked for the second time.
    struct Late {
        file: Bytes,
        asked: Vec<(u64, usize)>,
    }

    impl Ranges for Late {
        fn size_bytes(&self) -> u64 {
            self.file.len() as u64
        }

        fn read(&mut self, start: u64, length: usize) -> io::Result<Bytes> {
            if !self.asked.contains(&(start, length)) {
                self.asked.push((start, length));
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ranges::read(&mut self.file, start, length)
        }
    }

    #[test]
    fn ranges_that_come_late_lose_nothing() {
        for (name, fetch_bytes_max) in
            [("pyarrow-3-row-groups-snappy.parquet", 8 << 20), ("pyarrow-3-row-groups-snappy.parquet", 0)]
        {
            let (file, limits) = (fixture(name), Limits { fetch_bytes_max, ..Limits::default() });
            let mut unproved = Unproved::new(Late { file: file.clone(), asked: Vec::new() }, limits);
            let mut stops = 0;
            let mut rows = loop {
                match unproved.prove() {
                    Err(RowsError::Source(error)) if error.kind() == io::ErrorKind::WouldBlock => stops += 1,
                    proved => break proved.unwrap(),
                }
            };
            let (mut content, mut piece) = (Vec::new(), [0; 1000]);
            loop {
                match rows.read(&mut piece) {
                    Ok(0) => break,
                    Ok(count) => content.extend_from_slice(&piece[..count]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => stops += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(stops >= 2, "{name}: {stops}");
            assert_eq!(String::from_utf8(content).unwrap(), content_of(file, limits).unwrap());
        }
    }

    /// A file that is read within a room.
    struct Roomed(Bytes, Room);

    impl Ranges for Roomed {
        fn size_bytes(&self) -> u64 {
            Ranges::size_bytes(&self.0)
        }

        fn room(&self) -> Room {
            self.1.clone()
        }

        fn read(&mut self, start: u64, length: usize) -> io::Result<Bytes> {
            Ranges::read(&mut self.0, start, length)
        }
    }

    #[test]
    fn pages_wait_for_their_memory() {
        let file = fixture("pyarrow-3-row-groups-snappy.parquet");
        let (room, left) = Purse::of(0);
        let base = room.take(BASE_BYTES).unwrap();
        let mut unproved = Unproved::new(Roomed(file.clone(), room.clone()), Limits::default());
        let mut waits = 0;
        let mut rows = loop {
            match unproved.prove() {
                Err(RowsError::Source(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    room.grant(room.wanted().unwrap());
                    waits += 1;
                }
                proved => break proved.unwrap(),
            }
        };
        let mut content = String::new();
        rows.read_to_string(&mut content).unwrap();
        assert_eq!(content, content_of(file.clone(), Limits::default()).unwrap());
        assert!(waits > 0);
        drop((rows, base));
        assert!(*left.lock().unwrap() as u64 >= Ranges::size_bytes(&file));
    }

    fn content(bytes: Bytes) -> Result<String, RowsError> {
        content_of(bytes, Limits::default())
    }

    /// The rows of the fixtures, as lines of JSON without nulls.
    fn expected() -> Vec<Value> {
        let rows = fixture("rows.jsonl");
        let text = std::str::from_utf8(&rows).unwrap();
        text.lines()
            .map(|line| match serde_json::from_str(line).unwrap() {
                Value::Object(row) => row.into_iter().filter(|(_, value)| !value.is_null()).collect(),
                other => panic!("{other}"),
            })
            .collect()
    }

    fn values(content: &str) -> Vec<Value> {
        content.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A file written by the Parquet crate, with an optional text and an optional number in each row.
    fn written(rows: &[(Option<&[u8]>, Option<i32>)], properties: WriterPropertiesBuilder) -> Bytes {
        let schema = "message m { optional binary data_text; optional int32 data_number; }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build())).unwrap();
        let mut group = writer.next_row_group().unwrap();
        // Rows with the same text share one copy of it.
        let mut texts: Vec<ByteArray> = Vec::with_capacity(rows.len());
        let mut last: Option<&[u8]> = None;
        for text in rows.iter().filter_map(|row| row.0) {
            let same = last.is_some_and(|last| std::ptr::eq(last, text));
            texts.push(if same { texts[texts.len() - 1].clone() } else { text.to_vec().into() });
            last = Some(text);
        }
        let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.0.is_some())).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None).unwrap();
        column.close().unwrap();
        let numbers: Vec<i32> = rows.iter().filter_map(|row| row.1).collect();
        let levels: Vec<i16> = rows.iter().map(|row| i16::from(row.1.is_some())).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int32Type>().write_batch(&numbers, Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.into_inner().unwrap().into()
    }

    fn snappy() -> WriterPropertiesBuilder {
        WriterProperties::builder().set_compression(Compression::SNAPPY)
    }

    #[test]
    fn every_way_to_write_the_same_rows_reads_the_same() {
        let mut ways = 0;
        for way in [
            "pyarrow-v1",
            "pyarrow-v2-delta",
            "pyarrow-dictionary-off",
            "pyarrow-3-row-groups",
            "pyarrow-checksums",
            "pyarrow-gzip",
            "pyarrow-zstd",
            "pyarrow-plain",
            "pyarrow-binary",
            "pyarrow-null-typed",
            "fastparquet",
        ] {
            let rows = values(&content(fixture(&format!("{way}-snappy.parquet"))).unwrap());
            let mut expected = expected();
            if way == "pyarrow-null-typed" {
                for row in &mut expected {
                    row.as_object_mut().unwrap().retain(|key, _| key != "data_repository" && key != "data_ref");
                }
            }
            assert_eq!(rows, expected, "{way}");
            ways += 1;
        }
        assert_eq!(ways, 11);
    }

    #[test]
    fn the_members_of_a_row_stand_in_the_order_of_the_columns() {
        let content = content(fixture("pyarrow-v1-snappy.parquet")).unwrap();
        assert_eq!(
            content.lines().nth(2),
            Some(
                r#"{"data_status_code":200,"data_service_name":"rest_api","data_request_id":"a0000000-0000-4000-8000-000000000002","data_path":"/api/v1/setup_lakefs","data_operation_id":"GetSetupState","data_method":"GET","data_time":"2025-12-25T12:30:02.5Z"}"#
            )
        );
    }

    #[test]
    fn times_of_every_kind_are_the_same_times() {
        for (kind, last) in
            [("ms", "05.123Z"), ("us", "05.123456Z"), ("ns", "05.123456789Z"), ("int96", "05.123456789Z")]
        {
            let rows = values(&content(fixture(&format!("pyarrow-time-{kind}-snappy.parquet"))).unwrap());
            let times: Vec<&str> = rows.iter().map(|row| row["data_time"].as_str().unwrap()).collect();
            let nanos = format!("2025-12-25T12:30:{last}");
            let expected = ["00Z", "01Z", "02.5Z", "03Z", "04Z"].map(|time| format!("2025-12-25T12:30:{time}"));
            assert_eq!(times[..5], expected, "{kind}");
            assert_eq!(times[5], nanos, "{kind}");
        }
    }

    #[test]
    fn columns_that_nobody_expects_are_kept_whatever_their_type() {
        let content = content(fixture("pyarrow-additive-snappy.parquet")).unwrap();
        let tails: Vec<&str> = content.lines().map(|line| &line[line.find("\"data_client\"").unwrap()..]).collect();
        assert_eq!(
            tails[..4],
            [
                r#""data_client":"lakectl/1.0","data_source_ip":"80.0.0.0:34700","data_took":600747890,"data_sent_bytes":9007199254740993,"data_day":"2025-12-25","data_cached":true,"data_hash":{"base64":"/wBB"},"data_tags":["a",null,"b"],"data_more":{"x":1,"y":{"z":"deep"}},"data_headers":[{"key":"a","value":"1"},{"key":"b"}],"data_grid":[[1,2],[]]}"#,
                r#""data_client":"lakectl/1.1","data_source_ip":"80.0.0.1:34701","data_took":600747891,"data_sent_bytes":9007199254740994,"data_share":0.5,"data_cost":5.00,"data_day":"2025-12-25","data_tags":[],"data_headers":[],"data_grid":[null,[3]]}"#,
                r#""data_client":"lakectl/1.2","data_source_ip":"80.0.0.2:34702","data_took":600747892,"data_sent_bytes":9007199254740995,"data_day":"2025-12-25","data_cached":true,"data_hash":{"base64":"/wBB"},"data_more":{}}"#,
                r#""data_client":"lakectl/1.3","data_source_ip":"80.0.0.3:34703","data_took":600747893,"data_sent_bytes":9007199254740996,"data_share":0.5,"data_cost":5.00,"data_day":"2025-12-25","data_tags":[""],"data_more":{"x":4,"y":{}},"data_headers":[{"key":"c","value":"3"}],"data_grid":[]}"#,
            ]
        );
    }

    #[test]
    fn a_file_without_rows_is_no_content_and_one_without_columns_that_are_expected_is_read() {
        assert_eq!(content(fixture("pyarrow-zero-rows-snappy.parquet")).unwrap(), "");
        let rows = content(fixture("pyarrow-missing-snappy.parquet")).unwrap();
        assert_eq!(
            rows.lines().next(),
            Some(
                r#"{"data_time":"2025-12-25T12:30:00Z","data_operation_id":"UploadObject","data_service_name":"rest_api"}"#
            )
        );
    }

    #[test]
    fn the_crates_own_writer_is_read_and_a_row_of_nulls_is_an_empty_object() {
        let rows: [(Option<&[u8]>, _); 4] =
            [(Some(b"a\"\n"), Some(1)), (None, None), (Some(b"\xff"), None), (None, Some(-2))];
        let expected = "{\"data_text\":\"a\\\"\\n\",\"data_number\":1}\n{}\n{\"data_text\":{\"base64\":\"/w==\"}}\n{\"data_number\":-2}\n";
        for version in [
            parquet::file::properties::WriterVersion::PARQUET_1_0,
            parquet::file::properties::WriterVersion::PARQUET_2_0,
        ] {
            for dictionary in [true, false] {
                let properties = snappy().set_writer_version(version).set_dictionary_enabled(dictionary);
                assert_eq!(content(written(&rows, properties)).unwrap(), expected, "{version:?} {dictionary}");
            }
        }
    }

    #[test]
    fn texts_are_read_whether_a_page_holds_them_or_names_them_by_the_dictionary() {
        let text = |at: usize| (at % 3 != 1).then(|| format!("text {} é\"", at % 700).repeat(at % 5));
        let texts: Vec<Option<String>> = (0..5000).map(text).collect();
        let rows: Vec<_> = texts.iter().map(|text| (text.as_ref().map(String::as_bytes), Some(7))).collect();
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            // The dictionary soon becomes too large, and pages end within the rows that are decoded at a time.
            let small = snappy().set_writer_version(version).set_dictionary_page_size_limit(4000);
            let small =
                small.set_encoding(Encoding::PLAIN).set_data_page_row_count_limit(300).set_write_batch_size(100);
            let content = content(written(&rows, small)).unwrap();
            let read: Vec<Option<String>> =
                values(&content).iter().map(|row| row["data_text"].as_str().map(str::to_owned)).collect();
            assert!(read == texts, "{version:?}");
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_refused_whole() {
        let whole = fixture("pyarrow-3-row-groups-snappy.parquet");
        for length in (0..whole.len() - 64).step_by(61).chain(whole.len() - 64..whole.len()) {
            let refused = Rows::open(whole.slice(..length), Limits::default());
            assert!(matches!(refused, Err(RowsError::Damaged { .. })), "{length}: {refused:?}");
        }
    }

    #[test]
    fn a_file_whose_last_row_group_is_damaged_gives_out_no_row() {
        let mut whole = fixture("pyarrow-3-row-groups-snappy.parquet").to_vec();
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(whole.clone())).unwrap();
        let (start, length) = metadata.row_group(2).column(6).byte_range();
        let end = usize::try_from(start + length).unwrap();
        whole[end - 40..end].fill(0xff);
        assert!(matches!(Rows::open(Bytes::from(whole), Limits::default()), Err(RowsError::Damaged { .. })));
    }

    #[test]
    fn a_page_that_is_not_what_its_checksum_says_is_refused() {
        let whole = fixture("pyarrow-checksums-snappy.parquet");
        let at = whole.windows(6).position(|six| six == b"ci-bot").unwrap();
        let mut changed = whole.to_vec();
        changed[at] = b'C';
        let refused = Rows::open(Bytes::from(changed), Limits::default()).unwrap_err();
        assert!(refused.to_string().contains("checksum"), "{refused}");
    }

    #[test]
    fn a_file_compressed_with_what_is_not_read_is_refused_and_its_codec_named() {
        let whole = fixture("pyarrow-plain-snappy.parquet");
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&whole).unwrap();
        let brotli = Compression::BROTLI(BrotliLevel::default());
        for (codec, name) in [
            (Compression::LZ4, "LZ4"),
            (Compression::LZ4_RAW, "LZ4_RAW"),
            (brotli, "BROTLI"),
            (Compression::LZO, "LZO"),
        ] {
            // The same file with another codec in its footer.
            let mut group = metadata.row_group(0).clone().into_builder();
            let mut columns = group.take_columns();
            columns[0] = columns[0].clone().into_builder().set_compression(codec).build().unwrap();
            let group = group.set_column_metadata(columns).build().unwrap();
            let named = metadata.clone().into_builder().set_row_groups(vec![group]).build();
            let mut file = whole.to_vec();
            ParquetMetaDataWriter::new(&mut file, &named).finish().unwrap();
            let refused = Rows::open(Bytes::from(file), Limits::default()).unwrap_err();
            let reason = refused.to_string();
            assert!(matches!(refused, RowsError::Damaged { .. }) && reason.contains(name), "{reason}");
            assert!(reason.ends_with("which is not read"), "{reason}");
        }
    }

    #[test]
    fn only_what_is_parquet_or_is_called_so_holds_rows() {
        assert!(are_in("a/b", b"PAR1..."));
        assert!(are_in("a/b-snappy.Parquet", b"{\"a\""));
        assert!(are_in("a/b-snappy.parquet", b""));
        assert!(!are_in("a/b.json", b"{\"a\""));
    }

    #[test]
    fn a_row_group_is_fetched_once_and_a_large_one_in_windows() {
        struct Counted(Bytes, Arc<std::sync::Mutex<Vec<usize>>>);
        impl Ranges for Counted {
            fn size_bytes(&self) -> u64 {
                self.0.size_bytes()
            }
            fn read(&mut self, start: u64, length: usize) -> io::Result<Bytes> {
                self.1.lock().unwrap().push(length);
                Ranges::read(&mut self.0, start, length)
            }
        }
        let texts: Vec<Vec<u8>> =
            (0..20_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes().repeat(9)).collect();
        let rows: Vec<_> = texts.iter().map(|text| (Some(&text[..]), Some(7))).collect();
        let file =
            written(&rows, WriterProperties::builder().set_dictionary_enabled(false).set_data_page_size_limit(4096));
        let fetched = |limits: Limits| {
            let counted = Arc::default();
            let text = content_of(Counted(file.clone(), Arc::clone(&counted)), limits).unwrap();
            let fetched = counted.lock().unwrap().clone();
            (text, fetched)
        };
        let (text, at_once) = fetched(Limits::default());
        assert_eq!(at_once.len(), 3, "the end, the beginning and the row group: {at_once:?}");
        let (same, in_windows) = fetched(Limits { fetch_bytes_max: 128 << 10, ..Limits::default() });
        assert!(in_windows.len() > 20 && in_windows.iter().all(|length| *length <= 64 << 10), "{in_windows:?}");
        assert!(text == same);
    }

    #[test]
    fn a_source_that_fails_is_no_damage() {
        struct Failing(Bytes, u32);
        impl Ranges for Failing {
            fn size_bytes(&self) -> u64 {
                self.0.size_bytes()
            }
            fn read(&mut self, start: u64, length: usize) -> io::Result<Bytes> {
                self.1 = self.1.checked_sub(1).ok_or(io::ErrorKind::ConnectionReset)?;
                Ranges::read(&mut self.0, start, length)
            }
        }
        for allowed in 0..4 {
            let refused =
                content_of(Failing(fixture("pyarrow-3-row-groups-snappy.parquet"), allowed), Limits::default());
            assert!(matches!(refused, Err(RowsError::Source(_))), "{allowed}: {refused:?}");
        }
    }

    #[test]
    fn one_value_that_every_row_names_is_never_repeated_in_memory() {
        let long = vec![b'x'; 1 << 20];
        let rows = vec![(Some(&long[..]), None); 600];
        for properties in [
            snappy().set_dictionary_page_size_limit(4 << 20),
            snappy()
                .set_dictionary_enabled(false)
                .set_column_encoding("data_text".into(), Encoding::DELTA_BYTE_ARRAY)
                .set_write_batch_size(1),
        ] {
            let file = written(&rows, properties);
            let refused = Rows::open(file.clone(), Limits::default());
            assert!(matches!(refused, Err(RowsError::RatioTooHigh { ratio_max: 1000 })));
            let mut reading = Rows::open(file, Limits { ratio_max: u64::MAX, ..Limits::default() }).unwrap();
            let mut begun = vec![0; 3 << 20];
            reading.read_exact(&mut begun).unwrap();
            assert!(begun.starts_with(b"{\"data_text\":\"xxx"));
            assert_eq!(begun.iter().filter(|byte| **byte == b'\n').count(), 2);
            assert!(reading.out.capacity() < 4 << 20);
        }
    }

    #[test]
    fn a_page_that_inflates_too_far_is_refused_before_it_does() {
        let long = vec![b'x'; 40 << 20];
        let file = written(&[(Some(&long), None)], snappy().set_dictionary_enabled(false));
        assert!(file.len() < 4 << 20);
        let refused = Rows::open(file, Limits::default());
        assert!(matches!(refused, Err(RowsError::TooLarge { what: "a page", .. })), "{refused:?}");
    }

    #[test]
    fn a_text_that_is_written_in_pieces_is_whole() {
        let long = "ä\"".repeat(1_500_000);
        let rows = [(Some(long.as_bytes()), Some(1)), (Some(b"b".as_slice()), Some(2))];
        let text = content(written(&rows, snappy())).unwrap();
        assert_eq!(
            values(&text),
            [
                serde_json::json!({"data_text": long, "data_number": 1}),
                serde_json::json!({"data_text": "b", "data_number": 2})
            ]
        );
    }

    #[test]
    fn a_schema_of_groups_without_end_is_refused_and_not_recursed_into() {
        // FileMetaData { schema: [root, group, group, ...] }, each group with one child.
        let mut footer = vec![0x29, 0xfc, 0xa0, 0x8d, 0x06];
        footer.extend([0x55, 0x02, 0x00].repeat(100_000));
        footer.push(0);
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&footer);
        file.extend_from_slice(&u32::try_from(footer.len()).unwrap().to_le_bytes());
        file.extend_from_slice(MAGIC);
        let refused = Rows::open(Bytes::from(file), Limits::default()).unwrap_err();
        assert!(refused.to_string().contains("depth"), "{refused}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn a_damaged_file_gives_all_its_rows_or_none(
            which in 0..4_usize,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let names = ["pyarrow-v2-delta", "pyarrow-additive", "pyarrow-3-row-groups", "fastparquet"];
            let mut bytes = fixture(&format!("{}-snappy.parquet", names[which])).to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            match Rows::open(Bytes::from(bytes), Limits::default()) {
                Ok(mut rows) => {
                    let mut content = String::new();
                    prop_assert!(rows.read_to_string(&mut content).is_ok());
                    prop_assert_eq!(rows.count(), content.lines().count() as u64);
                    for line in content.lines() {
                        prop_assert!(serde_json::from_str::<Value>(line).is_ok(), "{}", line);
                    }
                }
                Err(error) => prop_assert!(!matches!(error, RowsError::Source(_))),
            }
        }
    }
}
