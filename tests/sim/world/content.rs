//! The content of objects: records, one a line, and the bytes that a place stores of them.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::records::record;

/// How an object's records are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Lines,
    Gzip,
    Rows,
}

/// How the stored bytes are damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// Only the first bytes are right.
    Noise,
    /// The end is missing. In a Parquet file, this damages the footer.
    Cut,
    /// A bit near the end is wrong: in the checksum, or in the footer.
    Flipped,
}

/// Lines longer than this are too long in settings that limit lines.
pub const LINE_BYTES_MAX: usize = 1024;

/// The beginning of lines that do not decode.
const GARBLED: &str = "{\"garbled\":";

/// The columns of a Parquet file.
const SCHEMA: &str = "message m {
    required binary data_time (UTF8);
    required binary data_operation_id (UTF8);
    required binary data_request_id (UTF8);
    required int32 data_status_code;
}";

/// The `n`th record that is too long.
pub fn long(n: u64) -> String {
    record(n).replace(&format!("\"c{n}\""), &format!("\"c{n}{}\"", "x".repeat(LINE_BYTES_MAX)))
}

/// The `n`th line that does not decode.
pub fn garbled(n: u64) -> String {
    format!("{GARBLED}{n}")
}

pub fn is_garbled(line: &str) -> bool {
    line.starts_with(GARBLED)
}

/// Whether the line is too long, and quarantined in settings that limit lines.
pub fn is_long(line: &str) -> bool {
    line.len() > LINE_BYTES_MAX
}

/// The `n`th record of a Parquet file, as the row is read: its members in the order of the columns.
pub fn row(n: u64) -> String {
    format!(
        r#"{{"data_time":"2026-01-01T00:00:00Z","data_operation_id":"GetObject","data_request_id":"request-{n}","data_status_code":{}}}"#,
        200 + n % 300
    )
}

/// The bytes that a place stores of these lines.
pub fn stored(form: Form, lines: &[String], damage: Option<Damage>) -> Bytes {
    let plain: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let mut bytes = match form {
        Form::Lines => plain.into_bytes(),
        Form::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
            encoder.write_all(plain.as_bytes()).unwrap();
            encoder.finish().unwrap()
        }
        Form::Rows => rows(lines),
    };
    match damage {
        None => {}
        Some(Damage::Noise) => bytes[4..].fill(0x5a),
        Some(Damage::Cut) => bytes.truncate(bytes.len() - 9),
        Some(Damage::Flipped) => {
            let at = bytes.len() - 6;
            bytes[at] ^= 0x40;
        }
    }
    bytes.into()
}

/// A Parquet file of two row groups.
fn rows(lines: &[String]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for some in lines.chunks(lines.len().div_ceil(2).max(1)) {
        let rows: Vec<serde_json::Value> = some.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut group = writer.next_row_group().unwrap();
        for name in ["data_time", "data_operation_id", "data_request_id"] {
            let texts: Vec<ByteArray> = rows.iter().map(|row| row[name].as_str().unwrap().into()).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
            column.close().unwrap();
        }
        let numbers: Vec<i32> = rows.iter().map(|row| row["data_status_code"].as_i64().unwrap() as i32).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int32Type>().write_batch(&numbers, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}
