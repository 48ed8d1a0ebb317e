//! Delivers lines from memory, like the collector, to a sink that only counts events. Also has the yardsticks for
//! lines.

use auditferry::testing::delta::RecordHash;
use auditferry::testing::event::{Encoded, Encoder, EncodingName, Namespace, Options, Scope};
use auditferry::testing::family::{self, Context, Family};
use auditferry::testing::notification::ObjectId;
use auditferry::testing::records::Record;
use auditferry::testing::records::lines::{Item, Lines, Start};

/// Batches are dropped at this many bytes.
pub(crate) const BATCH_BYTES: usize = 1 << 20;

/// What is delivered, and with which steps.
#[derive(Clone, Copy)]
pub(crate) struct Delivery {
    pub(crate) family: &'static str,
    pub(crate) key: &'static str,
    pub(crate) encoding: EncodingName,
    pub(crate) options: Options,
    pub(crate) is_hashed: bool,
}

impl Delivery {
    /// All steps of a first delivery, with OCSF events.
    pub(crate) fn of(family: &'static str, key: &'static str) -> Self {
        Self { family, key, encoding: EncodingName::Ocsf, options: Options::default(), is_hashed: true }
    }

    pub(crate) fn raw(self) -> Self {
        Self { encoding: EncodingName::Raw, ..self }
    }

    pub(crate) fn unhashed(self) -> Self {
        Self { is_hashed: false, ..self }
    }

    pub(crate) fn with(self, options: Options) -> Self {
        Self { options, ..self }
    }

    /// Delivers the content's lines. Returns a number that depends on all of the work.
    pub(crate) fn run(self, content: &[u8]) -> u64 {
        let object = ObjectId::new("audit-logs", self.key);
        let family = family::named(self.family).unwrap();
        let context = Context::new(family, &object, Scope::Object(&object), Some(1_705_300_000_000), "bench");
        let encoders = [Encoder::new(self.encoding, self.options)];
        let mut encoded = [Encoded::default()];
        let fixed = RecordHash([0; 32]);
        let mut sunk = 0;
        each_record(family, content, |record| {
            let hash = if self.is_hashed { RecordHash::of(record.bytes) } else { fixed };
            let events =
                family::encode_record(&context, &record, &hash, record.ordinal, &encoders, &mut encoded).unwrap();
            sunk += u64::from(events);
            if encoded[0].bytes.len() > BATCH_BYTES {
                sunk += encoded[0].bytes.len() as u64;
                encoded[0].clear();
            }
        });
        sunk
    }
}

/// Only finds each record and computes its event's id: the least that any delivery must do.
pub(crate) fn name_events(delivery: Delivery, content: &[u8]) -> u64 {
    let object = ObjectId::new("audit-logs", delivery.key);
    let namespace = Namespace::new(delivery.family, Scope::Object(&object));
    let mut sum = 0;
    each_record(family::named(delivery.family).unwrap(), content, |record| {
        let id = namespace.event(&RecordHash::of(record.bytes), record.ordinal, 0);
        sum += u64::from(id.0[0]);
    });
    sum
}

pub(crate) fn each_record(family: &Family, content: &[u8], mut each: impl FnMut(Record<'_>)) {
    let mut lines = Lines::new(family.framing.role(false), 16 << 20, Start::Beginning);
    let mut source = content;
    while let Some(block) = lines.next_block(&mut source).unwrap() {
        for item in block.items() {
            if let Item::Whole { record, .. } | Item::Unended { record, .. } = item {
                each(record);
            }
        }
    }
}

pub(crate) fn count_lines(content: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', content).count() as u64
}

/// Parses each line into a tree of JSON values.
pub(crate) fn parse_values(content: &[u8]) -> u64 {
    let mut from = 0;
    let mut members = 0;
    for end in memchr::memchr_iter(b'\n', content) {
        let line = &content[from..end];
        let value: serde_json::Value = serde_json::from_slice(line).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(line));
        });
        members += value.as_object().unwrap().len() as u64;
        from = end + 1;
    }
    members
}
