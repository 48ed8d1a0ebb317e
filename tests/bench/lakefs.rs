//! lakeFS: rows of a Parquet file, compared with the Parquet crate's own rows as JSON.

use std::io::Read;
use std::sync::Arc;

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, Options, Scope};
use auditferry::testing::family::{self, Context};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::lines::{Item, Lines, Start};
use auditferry::testing::records::rows::{Limits, Rows};
use bytes::Bytes;
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

use crate::delivery::BATCH_BYTES;
use crate::measure::{Figure, Subject};

const ROWS: usize = 50_000;

const KEY: &str =
    "etl/v1/data/region=us-east-1/organization=org-acme/year=2025/month=12/day=25/hour=12/a-snappy.parquet";

pub(crate) fn measure() {
    let file = file();
    let subject = Subject {
        title: format!("lakefs, {} bytes stored each, of JSON", file.len() / ROWS),
        records: ROWS,
        bytes: usize::try_from(lines(&file)).unwrap(),
        rounds: 7,
        yardstick: "parquet crate, rows to JSON",
    };
    subject.measure(&[
        Figure::new("parquet crate, rows to JSON", || crate_rows(&file)),
        Figure::new("rows as lines (read twice)", || lines(&file)),
        Figure::new("rows, hash", || deliver(&file, None)),
        Figure::new("first delivery", || deliver(&file, Some(EncodingName::Ocsf))),
    ]);
}

fn crate_rows(file: &Bytes) -> u64 {
    let reader = SerializedFileReader::new(file.clone()).unwrap();
    let mut bytes = 0;
    for row in reader.get_row_iter(None).unwrap() {
        let row = row.unwrap();
        let members = row.get_column_iter().filter_map(|(name, field)| {
            let value = match field {
                Field::Null => return None,
                Field::Str(text) => Value::from(text.as_str()),
                Field::Int(number) => Value::from(*number),
                other => Value::from(other.to_string()),
            };
            Some((name.clone(), value))
        });
        bytes += Value::Object(members.collect()).to_string().len() as u64;
    }
    bytes
}

fn lines(file: &Bytes) -> u64 {
    let mut rows = Rows::open(file.clone(), Limits::default()).unwrap();
    let mut buffer = vec![0; 256 << 10];
    let mut bytes = 0;
    loop {
        match rows.read(&mut buffer).unwrap() {
            0 => return bytes,
            read => bytes += read as u64,
        }
    }
}

/// Delivers the file like the collector, to a sink that only counts events.
fn deliver(file: &Bytes, encoding: Option<EncodingName>) -> u64 {
    let object = ObjectId::new("lakefs-audit-logs", KEY);
    let family = family::named("lakefs").unwrap();
    let context = Context::new(family, &object, Scope::Object(&object), Some(1_766_667_900_000), "bench");
    let encoders: Vec<Encoder> = encoding.into_iter().map(|name| Encoder::new(name, Options::default())).collect();
    let mut encoded = vec![Encoded::default(); encoders.len()];
    let mut rows = Rows::open(file.clone(), Limits::default()).unwrap();
    let mut lines = Lines::new(family.framing.role(true), 16 << 20, Start::Beginning);
    let mut sunk = 0;
    while let Some(block) = lines.next_block(&mut rows).unwrap() {
        for item in block.items() {
            let (Item::Whole { record, .. } | Item::Unended { record, .. }) = item else { continue };
            let hash = RecordHash::of(record.bytes);
            sunk += u64::from(hash.0[0]);
            if encoders.is_empty() {
                continue;
            }
            family::encode_record(&context, &record, &hash, record.ordinal, &encoders, &mut encoded).unwrap();
            if encoded[0].bytes.len() > BATCH_BYTES {
                sunk += encoded[0].bytes.len() as u64;
                encoded[0].clear();
            }
        }
    }
    sunk
}

/// A file of invented rows in the documented form, the same in every run.
fn file() -> Bytes {
    const TEXTS: [&str; 9] = [
        "data_user",
        "data_repository",
        "data_ref",
        "data_service_name",
        "data_request_id",
        "data_path",
        "data_operation_id",
        "data_method",
        "data_time",
    ];
    let columns: String = TEXTS.iter().map(|name| format!("optional binary {name} (STRING); ")).collect();
    let schema = format!("message m {{ {columns} optional int32 data_status_code; }}");
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for name in TEXTS {
        let values: Vec<Option<String>> = (0..ROWS).map(|row| text(name, row)).collect();
        let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
        let values: Vec<ByteArray> =
            values.into_iter().flatten().map(|value| ByteArray::from(value.into_bytes())).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
    }
    let codes: Vec<i32> = (0..ROWS).map(|row| if row % 17 == 0 { 404 } else { 200 }).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int32Type>().write_batch(&codes, Some(&vec![1; ROWS]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap().into()
}

fn text(column: &str, row: usize) -> Option<String> {
    let of_gateway = row.is_multiple_of(3);
    let spread = row.wrapping_mul(2_654_435_761) % 1_000_003;
    Some(match column {
        "data_user" => format!("00u1abcdEFGH2ijkl{:03}", spread % 500),
        "data_repository" if of_gateway => format!("lake-{}", spread % 20),
        "data_ref" if of_gateway => "main".to_owned(),
        "data_repository" | "data_ref" => return None,
        "data_service_name" => (if of_gateway { "s3_gateway" } else { "rest_api" }).to_owned(),
        "data_request_id" => format!("{spread:08x}-5b66-7655-b4e8-{row:012x}"),
        "data_path" if of_gateway => format!("warehouse/events/day=2025-12-25/part-{spread:05}.snappy.parquet"),
        "data_path" => format!(
            "/api/v1/repositories/lake-{}/branches/dev-{}/objects?path=raw%2F{spread}.csv",
            spread % 20,
            spread % 7
        ),
        "data_operation_id" if of_gateway => ["get_object", "head_object", "put_object"][spread % 3].to_owned(),
        "data_operation_id" => ["uploadObject", "statObject", "deleteObject", "getBranch"][spread % 4].to_owned(),
        "data_method" => ["GET", "HEAD", "PUT", "POST"][spread % 4].to_owned(),
        _ => format!("2025-12-25T12:{:02}:{:02}Z", row / 1700 % 60, row % 60),
    })
}
