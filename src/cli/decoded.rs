//! The output of `decode`: events, refused records, and the final counts.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::delta::{Fingerprint, Growth, RecordHash};
use crate::event::{Encoded, Encoder, Scope};
use crate::family::{self, Context, Family, Refusal};
use crate::notification::ObjectId;
use crate::object::compression::InflateError;
use crate::records::Record;
use crate::records::block::Item;
use crate::records::lines::{Lines, LinesError, Start};
use crate::records::rows::RowsError;

/// The default of the daemon's limit.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;

/// The size of the output buffer.
const OUT_BYTES: usize = 256 << 10;

/// The most reasons of refusals that are counted separately.
const REASONS_MAX: usize = 10;

/// Why decoding stopped before the end of the file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{name}: {source}")]
    Read { name: String, source: io::Error },
    #[error("{}: {source}", path.display())]
    Quarantine { path: PathBuf, source: io::Error },
    #[error("standard output: {0}")]
    Write(#[from] io::Error),
}

/// The number of times that each record of the file was seen so far.
#[derive(Default)]
struct Occurrences(HashMap<Fingerprint, u64>);

impl Occurrences {
    fn next(&mut self, hash: &RecordHash) -> u64 {
        let seen = self.0.entry(hash.fingerprint()).or_default();
        let occurrence = *seen;
        *seen += 1;
        occurrence
    }
}

/// Writes the output and counts it.
pub(super) struct Report {
    /// `None` if records are printed with their source's own fields.
    encoders: Option<Vec<Encoder>>,
    encoded: Vec<Encoded>,
    scratch: Vec<u8>,
    out: BufWriter<io::StdoutLock<'static>>,
    quarantine: Option<(PathBuf, BufWriter<File>)>,
    occurrences: Occurrences,
    /// Records that were decoded, without refused ones.
    records: u64,
    events: u64,
    refused: u64,
    reasons: BTreeMap<String, u64>,
    /// Lines that are no records of the family.
    pub(super) skipped_lines: u64,
    /// Null bytes and byte order marks before lines.
    pub(super) marks_bytes: u64,
}

impl Report {
    pub(super) fn new(encoder: Option<Encoder>, quarantine: Option<&Path>) -> Result<Self, Fault> {
        let quarantine = quarantine.map(|path| match File::create(path) {
            Ok(file) => Ok((path.to_owned(), BufWriter::new(file))),
            Err(source) => Err(Fault::Quarantine { path: path.to_owned(), source }),
        });
        Ok(Self {
            encoded: vec![Encoded::default(); encoder.iter().len()],
            encoders: encoder.map(|encoder| vec![encoder]),
            scratch: Vec::new(),
            out: BufWriter::with_capacity(OUT_BYTES, io::stdout().lock()),
            quarantine: quarantine.transpose()?,
            occurrences: Occurrences::default(),
            records: 0,
            events: 0,
            refused: 0,
            reasons: BTreeMap::new(),
            skipped_lines: 0,
            marks_bytes: 0,
        })
    }

    /// Writes a record's events, or refuses the record.
    pub(super) fn record(&mut self, context: &Context<'_>, record: &Record<'_>) -> Result<(), Fault> {
        let written = if self.encoders.is_some() {
            let hash = RecordHash::of(record.bytes);
            let occurrence = match context.family.growth {
                Growth::Once => record.ordinal,
                Growth::Overwritten => self.occurrences.next(&hash),
            };
            self.write_events(context, record, &hash, occurrence)?
        } else {
            self.write_parsed(context, record)?
        };
        match written {
            Ok(()) => {
                self.records += 1;
                Ok(())
            }
            Err(refusal) => self.refuse(record.ordinal, &refusal.reason, record.bytes),
        }
    }

    fn write_parsed(&mut self, context: &Context<'_>, record: &Record<'_>) -> io::Result<Result<(), Refusal>> {
        self.scratch.clear();
        let scratch = &mut self.scratch;
        let parsed = family::parse_record(context, record, &mut |json| {
            scratch.extend_from_slice(format!("{{\"ordinal\":{},\"parsed\":", record.ordinal).as_bytes());
            scratch.extend_from_slice(json);
            scratch.extend_from_slice(b"}\n");
        });
        if parsed.is_ok() {
            self.out.write_all(&self.scratch)?;
        }
        Ok(parsed)
    }

    fn write_events(
        &mut self,
        context: &Context<'_>,
        record: &Record<'_>,
        hash: &RecordHash,
        occurrence: u64,
    ) -> io::Result<Result<(), Refusal>> {
        let encoders = self.encoders.as_deref().unwrap_or_default();
        let events = family::encode_record(context, record, hash, occurrence, encoders, &mut self.encoded);
        for encoded in &mut self.encoded {
            self.out.write_all(&encoded.bytes)?;
            encoded.clear();
        }
        Ok(events.map(|events| self.events += u64::from(events)))
    }

    /// Counts a record that cannot be decoded, and writes it to the quarantine.
    pub(super) fn refuse(&mut self, ordinal: u64, reason: &str, raw: &[u8]) -> Result<(), Fault> {
        self.refused += 1;
        if self.reasons.len() < REASONS_MAX || self.reasons.contains_key(reason) {
            *self.reasons.entry(reason.to_owned()).or_default() += 1;
        }
        let Some((path, file)) = &mut self.quarantine else {
            eprintln!("record {ordinal}: {reason}");
            return Ok(());
        };
        let line = serde_json::json!({"ordinal": ordinal, "reason": reason, "raw": String::from_utf8_lossy(raw)});
        writeln!(file, "{line}").map_err(|source| Fault::Quarantine { path: path.clone(), source })
    }

    /// The rest of the file cannot be read. Its content may be at fault, which is a refusal, or the file itself, which
    /// is an error.
    pub(super) fn unreadable(&mut self, ordinal: u64, error: LinesError, name: &str) -> Result<(), Fault> {
        let source = match error {
            LinesError::Source(source) => source,
            grew @ LinesError::LastLineGrew => return self.refuse(ordinal, &grew.to_string(), b""),
        };
        let source = match RowsError::from_read(source) {
            RowsError::Source(source) => source,
            refused => return self.refuse(ordinal, &refused.to_string(), b""),
        };
        match InflateError::from_read(source) {
            InflateError::Source(source) => Err(Fault::Read { name: name.to_owned(), source }),
            damaged => self.refuse(ordinal, &damaged.to_string(), b""),
        }
    }

    /// Whether no record was read.
    pub(super) fn is_without_record(&self) -> bool {
        self.records == 0
    }

    /// Writes the counts to standard error, and returns how many records were refused.
    pub(super) fn finish(mut self) -> Result<u64, Fault> {
        self.out.flush()?;
        if let Some((path, mut file)) = self.quarantine.take() {
            file.flush().map_err(|source| Fault::Quarantine { path, source })?;
        }
        if self.marks_bytes > 0 {
            eprintln!("null bytes and byte order marks before lines, passed over: {} bytes", self.marks_bytes);
        }
        let events = if self.encoders.is_some() { format!(", {} events", self.events) } else { String::new() };
        let (records, refused, skipped) = (self.records, self.refused, self.skipped_lines);
        eprintln!("decoded: {records} records{events}, {refused} refused, {skipped} lines that are no records");
        for (reason, count) in &self.reasons {
            eprintln!("  {count} refused: {reason}");
        }
        let others = refused - self.reasons.values().sum::<u64>();
        if others > 0 {
            eprintln!("  {others} refused for other reasons");
        }
        Ok(refused)
    }
}

/// The other families that find records in the beginning of a file, limited to those that find the most.
pub(super) fn looks_like(sample: &[u8], but: &Family, object: &ObjectId) -> Vec<&'static str> {
    let others = family::ALL.iter().filter(|family| family.name != but.name);
    let found = others.map(|family| (records_in(sample, family, object), family.name)).collect::<Vec<_>>();
    let most = found.iter().map(|(records, _)| *records).max().unwrap_or_default();
    found.into_iter().filter(|(records, _)| *records == most && most > 0).map(|(_, name)| name).collect()
}

fn records_in(sample: &[u8], family: &'static Family, object: &ObjectId) -> usize {
    let context = Context::new(family, object, Scope::Record, None, "decode");
    let mut lines = Lines::new(family.framing.role(false), LINE_BYTES_MAX, Start::Beginning);
    let mut source = io::Cursor::new(sample);
    let mut records = 0;
    while let Ok(Some(block)) = lines.next_block(&mut source) {
        for item in block.items() {
            if let Item::Whole { record, .. } | Item::Unended { record, .. } = item {
                let hash = RecordHash::of(record.bytes);
                records += usize::from(family::encode_record(&context, &record, &hash, 0, &[], &mut []).is_ok());
            }
        }
    }
    records
}
