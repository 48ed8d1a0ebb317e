//! `auditferry decode`: what a file of records says, record by record, without delivering anything.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::cli::Status;
use crate::cli::content::{Refused, Source, content};
use crate::delta::{Fingerprint, Growth, RecordHash};
use crate::event::{Columns, Encoded, Encoder, EncodingName, OcsfVersion, Scope};
use crate::family::{self, Context, Family, Refusal};
use crate::notification::ObjectId;
use crate::object::compression::InflateError;
use crate::records::Record;
use crate::records::block::Item;
use crate::records::lines::{Lines, LinesError, Start};
use crate::records::rows::RowsError;
use crate::sink;

/// As the daemon's limits by default.
const LINE_BYTES_MAX: usize = 16 << 20;

/// What is written is collected up to as many bytes.
const OUT_BYTES: usize = 256 << 10;

/// The bucket that a file belongs to here.
const BUCKET: &str = "local";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The kind of log: databricks, lakefs, s3_access, immuta, ydb.
    #[arg(long, value_parser = family_named)]
    family: &'static Family,
    /// What is written of each record: parsed (as its source names it), raw (as it came), ocsf, ecs, columns (of a table).
    #[arg(long, default_value = "ocsf")]
    encoding: Encoding,
    /// The version of OCSF. Default: 1.8.0.
    #[arg(long, value_name = "VERSION", value_parser = version_named)]
    ocsf_version: Option<OcsfVersion>,
    /// With ocsf and ecs: the record itself as text too, secrets masked.
    #[arg(long)]
    raw_data: bool,
    /// With ocsf and ecs: without the list of an event's names and addresses.
    #[arg(long)]
    no_observables: bool,
    /// With ocsf and ecs: without what is to be known of how an event came about.
    #[arg(long)]
    no_labels: bool,
    /// With columns: the table whose columns are written, such as databricks_audit.
    #[arg(long, value_name = "NAME", value_parser = table_named, required_if_eq("encoding", "columns"))]
    table: Option<String>,
    /// With raw: each record in an envelope that says what and where it is.
    #[arg(long)]
    envelope: bool,
    /// With raw: secrets masked, as they are in the other encodings.
    #[arg(long)]
    mask_secrets: bool,
    /// The key that the object has in its bucket; its partitions reach the events. Default: the file's name.
    #[arg(long, value_name = "KEY")]
    object_key: Option<String>,
    /// Where records go that cannot be decoded, one JSON object each. Default: they are told on standard error.
    #[arg(long, value_name = "FILE")]
    quarantine: Option<PathBuf>,
    /// The file, plain or compressed with gzip, zstd, bzip2 or xz; - for standard input.
    file: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Encoding {
    Parsed,
    Raw,
    Ocsf,
    Ecs,
    Columns,
}

fn table_named(name: &str) -> Result<String, String> {
    let names = || Columns::tables().collect::<Vec<_>>().join(", ");
    Columns::of_table(name).map(|_| name.to_owned()).ok_or_else(|| format!("expected one of {}", names()))
}

fn family_named(name: &str) -> Result<&'static Family, String> {
    family::named(name).ok_or_else(|| {
        let names: Vec<&str> = family::ALL.iter().map(|family| family.name).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn version_named(name: &str) -> Result<OcsfVersion, String> {
    OcsfVersion::ALL.into_iter().find(|version| version.name() == name).ok_or_else(|| {
        let names = OcsfVersion::ALL.map(OcsfVersion::name);
        format!("expected one of {}", names.join(", "))
    })
}

impl Args {
    /// What is asked for, as a sink's table would say it; nothing where records are only parsed.
    fn encoding(&self) -> Option<sink::EncodingConfig> {
        let name = match self.encoding {
            Encoding::Parsed => return None,
            Encoding::Raw => EncodingName::Raw,
            Encoding::Ocsf => EncodingName::Ocsf,
            Encoding::Ecs => EncodingName::Ecs,
            Encoding::Columns => EncodingName::Columns,
        };
        Some(sink::EncodingConfig {
            name,
            ocsf_version: self.ocsf_version,
            raw_data: self.raw_data.then_some(true),
            observables: self.no_observables.then_some(false),
            labels: self.no_labels.then_some(false),
            envelope: self.envelope.then_some(true),
            mask_secrets: self.mask_secrets.then_some(true),
            table: self.table.clone(),
            ..sink::EncodingConfig::default()
        })
    }

    /// The flags that change nothing of what is written.
    fn without_effect(&self) -> Vec<&'static str> {
        let flags = [
            ("ocsf_version", "--ocsf-version", self.ocsf_version.is_some()),
            ("raw_data", "--raw-data", self.raw_data),
            ("observables", "--no-observables", self.no_observables),
            ("labels", "--no-labels", self.no_labels),
            ("envelope", "--envelope", self.envelope),
            ("mask_secrets", "--mask-secrets", self.mask_secrets),
            ("table", "--table", self.table.is_some()),
        ];
        let of_encoding = self.encoding().map(|encoding| encoding.without_effect());
        let is_idle = |key: &str| of_encoding.as_ref().is_none_or(|keys| keys.contains(&key));
        flags.into_iter().filter(|(key, _, is_said)| *is_said && is_idle(key)).map(|(_, flag, _)| flag).collect()
    }
}

/// Writes every record of the file to standard output, and to the quarantine those that cannot be decoded.
/// `Corrupt` when there were any.
pub(super) fn run(args: &Args) -> Status {
    if let Some(flag) = args.without_effect().first() {
        eprintln!("{flag} has no effect with this --encoding");
        return Status::Usage;
    }
    match decode(args) {
        Ok(0) => Status::Done,
        Ok(_) => Status::Corrupt,
        Err(fault) => {
            eprintln!("{fault}");
            match fault {
                Fault::NotThere { .. } => Status::NoInput,
                // Who reads our output has had enough.
                Fault::Write(error) if error.kind() == ErrorKind::BrokenPipe => Status::Done,
                Fault::Read { .. } | Fault::Quarantine { .. } | Fault::Write(_) => Status::Io,
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("{}: {source}", path.display())]
    NotThere { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Quarantine { path: PathBuf, source: io::Error },
    #[error("standard output: {0}")]
    Write(#[from] io::Error),
}

/// Returns how many records went to the quarantine.
fn decode(args: &Args) -> Result<u64, Fault> {
    let (source, last_modified_ms) = open(&args.file)?;
    let name = args.file.file_name().map_or_else(|| "-".into(), |name| name.to_string_lossy());
    let object = ObjectId::new(BUCKET, args.object_key.as_deref().unwrap_or(&name));
    let context = Context::new(args.family, &object, Scope::Object(&object), last_modified_ms, "decode");
    let mut report = Report::new(args)?;
    let (mut source, of_rows) = match content(args.family, source, &object) {
        Ok(content) => content,
        Err(Refused(error)) => {
            report.unreadable(0, LinesError::Source(error), &args.file)?;
            return report.finish();
        }
    };
    let mut occurrences = Occurrences::default();
    let mut lines = Lines::new(args.family.framing.role(of_rows), LINE_BYTES_MAX, Start::Beginning);
    let mut next_ordinal = 0;
    let mut first_line = Vec::new();
    loop {
        let block = match lines.next_block(&mut source) {
            Ok(None) => break,
            Ok(Some(block)) => block,
            Err(error) => {
                report.unreadable(next_ordinal, error, &args.file)?;
                break;
            }
        };
        if first_line.is_empty() {
            let lines = block.bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            first_line = lines.into_iter().find(|line| !line.is_empty()).unwrap_or_default().to_vec();
        }
        report.skipped_lines += block.others;
        report.marks_bytes += block.marks_bytes;
        report.content_bytes = block.end_offset();
        for item in block.items() {
            next_ordinal = item.ordinal() + 1;
            match item {
                Item::Whole { record, .. } | Item::Unended { record, .. } => {
                    report.record(&context, &record, &mut occurrences)?;
                }
                Item::TooLong(line) => {
                    let reason = format!("the line has {} bytes, more than {LINE_BYTES_MAX}", line.length);
                    report.quarantine(line.ordinal, &reason, b"")?;
                }
            }
        }
    }
    if next_ordinal == 0 && report.content_bytes > 0 {
        let name = args.family.name;
        let reason = format!("the file holds no record of {name}: is it another family's, or in another format?");
        // A product's log without a record is no mistake.
        match args.family.writes(&first_line) {
            true => eprintln!("{reason}"),
            false => report.quarantine(0, &reason, b"")?,
        }
    }
    report.finish()
}

/// The file's bytes, and when it was last written, in milliseconds since the epoch.
fn open(path: &Path) -> Result<(Source, Option<i64>), Fault> {
    if path.as_os_str() == "-" {
        return Ok((Source::Stream(io::stdin()), None));
    }
    let opened = File::open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
    let (file, metadata) = opened.map_err(|source| {
        let path = path.to_owned();
        if source.kind() == ErrorKind::NotFound {
            Fault::NotThere { path, source }
        } else {
            Fault::Read { path, source }
        }
    })?;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok((Source::File(file), modified.and_then(|since| i64::try_from(since.as_millis()).ok())))
}

/// How often each record of the file was seen before.
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

/// What comes of the records.
struct Report {
    encoding: Encoding,
    encoders: Vec<Encoder>,
    encoded: Vec<Encoded>,
    scratch: Vec<u8>,
    out: BufWriter<io::StdoutLock<'static>>,
    quarantine: Option<(PathBuf, BufWriter<File>)>,
    quarantined: u64,
    /// Lines that are no records of the family.
    skipped_lines: u64,
    /// Null bytes and byte order marks before lines.
    marks_bytes: u64,
    content_bytes: u64,
}

impl Report {
    fn new(args: &Args) -> Result<Self, Fault> {
        let encoders: Vec<Encoder> = args.encoding().iter().map(sink::EncodingConfig::encoder).collect();
        let quarantine = args.quarantine.as_ref().map(|path| match File::create(path) {
            Ok(file) => Ok((path.clone(), BufWriter::new(file))),
            Err(source) => Err(Fault::Quarantine { path: path.clone(), source }),
        });
        Ok(Self {
            encoding: args.encoding,
            encoded: vec![Encoded::default(); encoders.len()],
            encoders,
            scratch: Vec::new(),
            out: BufWriter::with_capacity(OUT_BYTES, io::stdout().lock()),
            quarantine: quarantine.transpose()?,
            quarantined: 0,
            skipped_lines: 0,
            marks_bytes: 0,
            content_bytes: 0,
        })
    }

    fn record(
        &mut self,
        context: &Context<'_>,
        record: &Record<'_>,
        occurrences: &mut Occurrences,
    ) -> Result<(), Fault> {
        let written = match self.encoding {
            Encoding::Parsed => self.parsed(context, record)?,
            Encoding::Raw | Encoding::Ocsf | Encoding::Ecs | Encoding::Columns => {
                let hash = RecordHash::of(record.bytes);
                let occurrence = match context.family.growth {
                    Growth::Once => record.ordinal,
                    Growth::Overwritten => occurrences.next(&hash),
                };
                self.events(context, record, &hash, occurrence)?
            }
        };
        match written {
            Ok(()) => Ok(()),
            Err(refusal) => self.quarantine(record.ordinal, &refusal.reason, record.bytes),
        }
    }

    fn parsed(&mut self, context: &Context<'_>, record: &Record<'_>) -> io::Result<Result<(), Refusal>> {
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

    fn events(
        &mut self,
        context: &Context<'_>,
        record: &Record<'_>,
        hash: &RecordHash,
        occurrence: u64,
    ) -> io::Result<Result<(), Refusal>> {
        let events = family::encode_record(context, record, hash, occurrence, &self.encoders, &mut self.encoded);
        for encoded in &mut self.encoded {
            self.out.write_all(&encoded.bytes)?;
            encoded.clear();
        }
        Ok(events.map(drop))
    }

    fn quarantine(&mut self, ordinal: u64, reason: &str, raw: &[u8]) -> Result<(), Fault> {
        self.quarantined += 1;
        let Some((path, file)) = &mut self.quarantine else {
            eprintln!("record {ordinal}: {reason}");
            return Ok(());
        };
        let line = serde_json::json!({"ordinal": ordinal, "reason": reason, "raw": String::from_utf8_lossy(raw)});
        writeln!(file, "{line}").map_err(|source| Fault::Quarantine { path: path.clone(), source })
    }

    /// What is left of the file cannot be had: because it cannot be read, or because of what it is.
    fn unreadable(&mut self, ordinal: u64, error: LinesError, path: &Path) -> Result<(), Fault> {
        let source = match error {
            LinesError::Source(source) => source,
            grew @ LinesError::LastLineGrew => return self.quarantine(ordinal, &grew.to_string(), b""),
        };
        let source = match RowsError::from_read(source) {
            RowsError::Source(source) => source,
            refused => return self.quarantine(ordinal, &refused.to_string(), b""),
        };
        match InflateError::from_read(source) {
            InflateError::Source(source) => Err(Fault::Read { path: path.to_owned(), source }),
            damaged => self.quarantine(ordinal, &damaged.to_string(), b""),
        }
    }

    fn finish(mut self) -> Result<u64, Fault> {
        self.out.flush()?;
        if self.skipped_lines > 0 {
            eprintln!("lines that are no records: {}", self.skipped_lines);
        }
        if self.marks_bytes > 0 {
            eprintln!("null bytes and byte order marks before lines, passed over: {} bytes", self.marks_bytes);
        }
        if let Some((path, mut file)) = self.quarantine {
            file.flush().map_err(|source| Fault::Quarantine { path, source })?;
        }
        Ok(self.quarantined)
    }
}
