//! `auditferry decode`: prints the events of a file or object, record by record, without delivering anything.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::cli::content::{Refused, content};
use crate::cli::decoded::{Fault, LINE_BYTES_MAX, Report, looks_like};
use crate::cli::origin::{Origin, Wanted, open};
use crate::cli::{Status, loaded};
use crate::event::{Columns, EncodingName, OcsfVersion};
use crate::family::{self, Family};
use crate::notification::ObjectId;
use crate::records::block::Item;
use crate::records::lines::{Lines, LinesError, Start};
use crate::sink;

/// How many bytes of a file's beginning are used to recognise its family.
const SAMPLE_BYTES: usize = 64 << 10;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The kind of log: databricks, lakefs, s3_access, immuta, ydb. Not needed if a feed of --config reads the object.
    #[arg(long, value_parser = family_named, required_unless_present = "config")]
    family: Option<&'static Family>,
    /// A configuration file, repeatable. The object is read, decoded and redacted as by its feed, with the daemon's
    /// event ids.
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// The bucket in which FILE is a key.
    #[arg(long, value_name = "NAME", conflicts_with = "object_key")]
    bucket: Option<String>,
    /// The form of the output: parsed (the source's own fields), raw (the record unchanged), ocsf, ecs, columns (of a
    /// table).
    #[arg(long, default_value = "ocsf")]
    encoding: Encoding,
    /// The version of OCSF. Default: 1.8.0.
    #[arg(long, value_name = "VERSION", value_parser = version_named)]
    ocsf_version: Option<OcsfVersion>,
    /// With ocsf and ecs: the record itself as text too, secrets masked.
    #[arg(long)]
    raw_data: bool,
    /// With ocsf and ecs: leave out the list of the event's names and addresses.
    #[arg(long)]
    no_observables: bool,
    /// With ocsf and ecs: leave out the labels that say how an event was made.
    #[arg(long)]
    no_labels: bool,
    /// With columns: the table whose columns are written, such as databricks_audit.
    #[arg(long, value_name = "NAME", value_parser = table_named, required_if_eq("encoding", "columns"))]
    table: Option<String>,
    /// With raw: put each record in an envelope with its id, feed, object and number.
    #[arg(long)]
    envelope: bool,
    /// With raw: mask secrets, as the other encodings do.
    #[arg(long)]
    mask_secrets: bool,
    /// The object's key in its bucket; events contain the key's partitions. Default: the file's name.
    #[arg(long, value_name = "KEY")]
    object_key: Option<String>,
    /// A file for records that cannot be decoded, one JSON object each. Default: they are reported on standard error.
    #[arg(long, value_name = "FILE")]
    quarantine: Option<PathBuf>,
    /// The file, plain or compressed with gzip, zstd, bzip2 or xz; - for standard input; s3://BUCKET/KEY for an object.
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
    /// The requested encoding as a sink's configuration; `None` for `parsed`.
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

    /// What to decode; `None` if an object's bucket or key is empty.
    fn wanted(&self) -> Option<Wanted<'_>> {
        let object = |bucket: &str, key: &str| {
            (!bucket.is_empty() && !key.is_empty()).then(|| Wanted::Object(ObjectId::new(bucket, key)))
        };
        match (&self.bucket, self.file.to_str()) {
            (Some(bucket), Some(key)) => object(bucket, key),
            (Some(_), None) => None,
            (None, Some(text)) if text.starts_with("s3://") => {
                let (bucket, key) = text["s3://".len()..].split_once('/')?;
                object(bucket, key)
            }
            (None, _) => Some(Wanted::File { path: &self.file, key: self.object_key.as_deref() }),
        }
    }

    /// The given flags that have no effect on the chosen output.
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

/// Writes every record of the file to standard output, those that cannot be decoded to the quarantine, and finally the
/// counts to standard error. Returns `Corrupt` if a record could not be decoded, or if the file had no record.
pub(super) fn run(args: &Args) -> Status {
    if let Some(flag) = args.without_effect().first() {
        eprintln!("{flag} has no effect with this --encoding");
        return Status::Usage;
    }
    let Some(wanted) = args.wanted() else {
        eprintln!("expected an object such as s3://bucket/key, or --bucket and a key");
        return Status::Usage;
    };
    if args.object_key.is_some() && matches!(wanted, Wanted::Object(_)) {
        eprintln!("--object-key has no effect with an object of a bucket");
        return Status::Usage;
    }
    let loaded = match args.config.as_slice() {
        [] => None,
        files => match loaded(files) {
            Ok(loaded) => Some(loaded),
            Err(status) => return status,
        },
    };
    let origin = match open(wanted, loaded.as_ref().map(|loaded| &loaded.config), args.family) {
        Ok(origin) => origin,
        Err(error) => {
            eprintln!("{error}");
            return error.status();
        }
    };
    match decode(args, origin) {
        Ok(0) => Status::Done,
        Ok(_) => Status::Corrupt,
        Err(fault) => {
            eprintln!("{fault}");
            match fault {
                // The reader of our output has closed the pipe.
                Fault::Write(error) if error.kind() == ErrorKind::BrokenPipe => Status::Done,
                Fault::Read { .. } | Fault::Quarantine { .. } | Fault::Write(_) => Status::Io,
            }
        }
    }
}

/// Returns the number of records that went to the quarantine.
fn decode(args: &Args, origin: Origin) -> Result<u64, Fault> {
    let Origin { source, object, last_modified_ms, family, contexts } = origin;
    let name = args.file.display().to_string();
    let context = contexts.context(&object, last_modified_ms);
    let encoder = args.encoding().map(|encoding| encoding.encoder());
    let mut report = Report::new(encoder, args.quarantine.as_deref())?;
    let (mut source, of_rows) = match content(family, source, &object) {
        Ok(content) => content,
        Err(Refused(error)) => {
            report.unreadable(0, LinesError::Source(error), &name)?;
            return report.finish();
        }
    };
    let mut lines = Lines::new(family.framing.role(of_rows), LINE_BYTES_MAX, Start::Beginning);
    let (mut next_ordinal, mut content_bytes) = (0, 0);
    let mut sample = Vec::new();
    loop {
        let block = match lines.next_block(&mut source) {
            Ok(None) => break,
            Ok(Some(block)) => block,
            Err(error) => {
                report.unreadable(next_ordinal, error, &name)?;
                break;
            }
        };
        if sample.is_empty() {
            sample.extend_from_slice(&block.bytes[..block.bytes.len().min(SAMPLE_BYTES)]);
        }
        report.skipped_lines += block.others;
        report.marks_bytes += block.marks_bytes;
        content_bytes = block.end_offset();
        for item in block.items() {
            next_ordinal = item.ordinal() + 1;
            match item {
                Item::Whole { record, .. } | Item::Unended { record, .. } => report.record(&context, &record)?,
                Item::TooLong(line) => {
                    let reason = format!("the line has {} bytes, more than {LINE_BYTES_MAX}", line.length);
                    report.refuse(line.ordinal, &reason, b"")?;
                }
            }
        }
    }
    if report.is_without_record() && content_bytes > 0 {
        foreign(&mut report, family, &sample, &object, next_ordinal)?;
    }
    report.finish()
}

/// Reports that the file has no record of the family, and which family it seems to belong to.
fn foreign(report: &mut Report, family: &Family, sample: &[u8], object: &ObjectId, lines: u64) -> Result<(), Fault> {
    let alike = looks_like(sample, family, object).join(" or ");
    let reason = match alike.as_str() {
        "" => format!("the file holds no record of {}: is it another family's, or in another format?", family.name),
        alike => format!("the file holds no record of {}: it looks like {alike}", family.name),
    };
    let first_line = sample.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty());
    // A product's log without a record is no error, and refused lines were reported already.
    if lines > 0 || family.writes(first_line.unwrap_or_default()) {
        eprintln!("{reason}");
        return Ok(());
    }
    report.refuse(0, &reason, b"")
}
