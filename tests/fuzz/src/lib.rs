//! Shared by the fuzz targets: splits bytes into a family's records and decodes them, like the collector.

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Column, Columns, Encoded, Encoder, EncodingName, OcsfVersion, Options, Scope};
use auditferry::testing::family::{self, Context, Settings};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::lines::{Item, Lines, Start};

/// Every encoding of events.
fn encoders() -> Vec<Encoder> {
    let whole = Options { raw_data: true, ..Options::default() };
    let names = [EncodingName::Ecs, EncodingName::Raw];
    let mut encoders: Vec<Encoder> = names.into_iter().map(|name| Encoder::new(name, whole)).collect();
    encoders.push(Encoder::new(EncodingName::Raw, Options { envelope: true, ..Options::default() }));
    let record = Column::new("@record").expect("what a column may hold");
    encoders.push(Encoder::of_columns(Columns::default().with([("Record".to_owned(), record)])));
    let versions = OcsfVersion::ALL.into_iter();
    encoders.extend(versions.map(|ocsf_version| Encoder::new(EncodingName::Ocsf, Options { ocsf_version, ..whole })));
    encoders
}

/// Reads the content as the family's lines. Every record must give complete events in every encoding, or be refused and
/// leave no output.
pub fn decode_lines(family: &str, key: &str, settings: &Settings, content: &[u8]) {
    let family = family::named(family).expect("a family of the program's");
    let object = ObjectId::new("b", key);
    let context = Context::new(family, &object, Scope::Object(&object), Some(1_705_300_000_000), "fuzz");
    let context = context.with_settings(settings);
    let encoders = encoders();
    let mut lines = Lines::new(family.framing.role(false), 1 << 20, Start::Beginning);
    let mut source = content;
    let mut parsed = Vec::new();
    while let Some(block) = lines.next_block(&mut source).expect("bytes in memory are read") {
        for item in block.items() {
            let (Item::Whole { record, .. } | Item::Unended { record, .. }) = item else { continue };
            let mut out = vec![Encoded::default(); encoders.len()];
            let hash = RecordHash::of(record.bytes);
            let events = family::encode_record(&context, &record, &hash, record.ordinal, &encoders, &mut out);
            for (encoder, encoded) in encoders.iter().zip(&out) {
                let events = *events.as_ref().unwrap_or(&0) as usize;
                if matches!(encoder.name(), EncodingName::Raw | EncodingName::Columns) {
                    // This encoding has one entry per record, and a line may hold several records.
                    assert!(encoded.ends.len() <= events && encoded.ends.is_empty() == (events == 0));
                } else {
                    assert_eq!(encoded.ends.len(), events);
                    assert!(std::str::from_utf8(&encoded.bytes).is_ok());
                }
            }
            parsed.clear();
            let _ = (family.parsed)(&context, &record, &mut parsed);
        }
    }
}
