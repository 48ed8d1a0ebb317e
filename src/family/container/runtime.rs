//! The line formats of Docker and of the runtimes of Kubernetes, and how lines are joined from their pieces.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::event::{Copies, Fields, Json, Members, Reader, Text};
use crate::family::container::head::Head;
use crate::family::envelope::{self, Sought};
use crate::family::redaction::{Edit, applied, offset_in};
use crate::records::Stream;

/// Docker splits longer lines into pieces of this many bytes (the buffer of its copier). Only the last piece has a line
/// end.
const DOCKER_PIECE_BYTES: usize = 16 << 10;

/// The longest time, in bytes. `2016-10-06T00:17:09.669794202+00:00` has 35.
const TIME_BYTES_MAX: usize = 40;

/// A member of each object that Docker writes.
static LOG: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"log\""));

/// A line of a file, or a piece of a line, as a container runtime wrote it.
#[derive(Clone, Copy)]
pub(super) enum Runtime<'a> {
    Cri(Cri<'a>),
    Docker(Docker<'a>),
    /// Written not by a runtime, but by another program that carries lines.
    Head(Head<'a>),
}

impl<'a> Runtime<'a> {
    pub(super) fn of(line: &'a [u8], sought: &Sought<'_>) -> Option<Self> {
        let docker = || Docker::of(line, sought).map(Self::Docker);
        Cri::of(line).map(Self::Cri).or_else(docker).or_else(|| Head::of(line, sought).map(Self::Head))
    }

    pub(super) fn stream(&self) -> Stream {
        match self {
            Self::Cri(cri) => stream(cri.tag),
            Self::Docker(docker) => docker.stream,
            Self::Head(_) => Stream::Only,
        }
    }

    /// A line in the runtime's format, in one piece.
    pub(super) fn written(&self, line: &[u8]) -> Vec<u8> {
        self.written_with(line, Vec::new())
    }

    /// As [`written`](Self::written), with edits of what stands around the line. Their offsets are those of Docker's
    /// object.
    pub(super) fn written_with(&self, line: &[u8], mut around: Vec<Edit>) -> Vec<u8> {
        match self {
            Self::Cri(cri) => {
                let tagged = |line| [cri.time.as_bytes(), b" ", cri.tag.as_bytes(), b" F ", line].concat();
                line.split(|byte| *byte == b'\n').map(tagged).collect::<Vec<_>>().join(&b'\n')
            }
            Self::Docker(docker) => {
                let inside = envelope::escaped(&format!("{}\n", String::from_utf8_lossy(line)));
                let at = docker.log_at();
                around.push(Edit { at: at..at + docker.log.len(), replacement: inside });
                applied(docker.text, &around).into_bytes()
            }
            Self::Head(head) => [head.text.as_bytes(), line].concat(),
        }
    }

    /// The size of what stands around the line, in bytes.
    pub(super) fn around_bytes(&self) -> usize {
        match self {
            Self::Cri(cri) => cri.time.len() + cri.tag.len(),
            Self::Docker(docker) => docker.text.len() - docker.log.len(),
            Self::Head(head) => head.text.len(),
        }
    }

    /// The bytes of the line or piece, and whether more pieces follow.
    pub(super) fn piece(&self) -> (Cow<'a, [u8]>, bool) {
        match self {
            Self::Cri(cri) => (Cow::Borrowed(cri.inside), cri.is_partial),
            Self::Docker(docker) => {
                let (piece, is_partial) = docker.piece();
                (Cow::Owned(piece), is_partial)
            }
            Self::Head(head) => (Cow::Borrowed(head.line), false),
        }
    }
}

fn stream(name: &str) -> Stream {
    match name {
        "stdout" => Stream::Output,
        "stderr" => Stream::Error,
        _ => Stream::Only,
    }
}

/// What the runtime was given on the stream of the first line, its pieces joined.
pub(super) struct Joined<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// Whether the last piece is missing.
    pub(super) is_partial: bool,
    /// Whether lines of other streams stood between the pieces.
    pub(super) is_mixed: bool,
    /// Whether it was one line of the file.
    pub(super) is_single: bool,
}

impl<'a> Joined<'a> {
    /// Joins `lines`. `first` is the first of them, parsed.
    pub(super) fn of(lines: &'a [u8], first: Runtime<'a>, sought: &Sought<'_>) -> Self {
        let (piece, mut is_partial) = first.piece();
        if memchr::memchr(b'\n', lines).is_none() {
            return Self { bytes: piece, is_partial, is_mixed: false, is_single: true };
        }
        let mut bytes = Vec::with_capacity(lines.len());
        bytes.extend_from_slice(&piece);
        let mut is_mixed = false;
        for line in physical(lines).skip(1) {
            let (piece, partial) = match Runtime::of(line, sought) {
                Some(runtime) if runtime.stream() == first.stream() => runtime.piece(),
                None if first.stream() == Stream::Only => (Cow::Borrowed(line), false),
                _ => {
                    is_mixed = true;
                    continue;
                }
            };
            if !is_partial {
                bytes.push(b'\n');
            }
            bytes.extend_from_slice(&piece);
            is_partial = partial;
        }
        Self { bytes: Cow::Owned(bytes), is_partial, is_mixed, is_single: false }
    }
}

/// `2016-10-06T00:17:09.669794202Z stdout F <line>`. `P` in place of `F` marks a piece that more pieces follow.
#[derive(Clone, Copy)]
pub(super) struct Cri<'a> {
    pub(super) time: &'a str,
    /// The stream: `stdout` or `stderr`.
    pub(super) tag: &'a str,
    is_partial: bool,
    inside: &'a [u8],
}

impl<'a> Cri<'a> {
    pub(super) fn of(line: &'a [u8]) -> Option<Self> {
        if !line.first()?.is_ascii_digit() {
            return None;
        }
        let head = &line[..line.len().min(TIME_BYTES_MAX + 1)];
        let after = &line[memchr::memchr(b' ', head)? + 1..];
        // Decides early, since most lines are not a runtime's.
        if !after.starts_with(b"std") {
            return None;
        }
        let (time, rest) = word(line)?;
        let (tag, rest) = word(rest)?;
        if stream(tag) == Stream::Only || time.len() > TIME_BYTES_MAX || !time.contains('T') {
            return None;
        }
        // An empty line has nothing after its tags. Further tags may follow the first, separated by colons.
        let (tags, inside) = word(rest).or_else(|| std::str::from_utf8(rest).ok().map(|tags| (tags, &b""[..])))?;
        let is_partial = match tags.split(':').next()? {
            "P" => true,
            "F" => false,
            _ => return None,
        };
        Some(Self { time, tag, is_partial, inside })
    }
}

/// Splits off a short word and the space after it.
fn word(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let head = &bytes[..bytes.len().min(TIME_BYTES_MAX + 1)];
    let space = memchr::memchr(b' ', head)?;
    Some((std::str::from_utf8(&bytes[..space]).ok()?, &bytes[space + 1..]))
}

pub(super) fn first_line(lines: &[u8]) -> &[u8] {
    match memchr::memchr(b'\n', lines) {
        Some(newline) => lines[..newline].strip_suffix(b"\r").unwrap_or(&lines[..newline]),
        None => lines,
    }
}

pub(super) fn last_line(lines: &[u8]) -> &[u8] {
    &lines[memchr::memrchr(b'\n', lines).map_or(0, |newline| newline + 1)..]
}

/// The lines of a record as they stand in the file, without their line ends.
fn physical(record: &[u8]) -> impl Iterator<Item = &[u8]> {
    record.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// An object of Docker's JSON file, or what a shipper made of it.
#[derive(Clone, Copy)]
pub(super) struct Docker<'a> {
    log: &'a str,
    stream: Stream,
    pub(super) text: &'a str,
    /// Whether a member other than the line may be, or hold, a record.
    pub(super) may_hold_records: bool,
    /// Whether all members are such as Docker writes.
    pub(super) is_plain: bool,
}

impl<'a> Docker<'a> {
    pub(super) fn of(line: &'a [u8], sought: &Sought<'_>) -> Option<Self> {
        if line.first() != Some(&b'{') || LOG.find(line).is_none() {
            return None;
        }
        let text = std::str::from_utf8(line).ok()?;
        let (mut log, mut is_runtime, mut stream_of) = (None, true, Stream::Only);
        let mut may_hold_records = false;
        let mut is_plain = true;
        let mut members = 0;
        let mut reader = Reader::new(text);
        let read = reader.object(|reader, key| {
            let value = reader.value()?;
            members += 1;
            is_plain &= matches!(&*key, "log" | "stream" | "time" | "attrs");
            match (&*key, value) {
                ("log", Json::String(inside)) => log = Some(inside),
                ("stream", Json::String(name)) => stream_of = stream(name),
                ("time", _) => {}
                ("recordType" | "auditPayload" | "operation" | "log_audit" | "serviceName" | "actionName", _) => {
                    is_runtime = false;
                }
                (_, Json::Object(_) | Json::Array(_)) => may_hold_records = true,
                (_, Json::String(inside)) => may_hold_records |= envelope::may_begin(inside.as_bytes()),
                _ => {}
            }
            Ok(())
        });
        read.and_then(|()| reader.end()).ok()?;
        // A product's own line may have a member called `log` as well.
        let is_runtime = is_runtime && members <= FIELDS_MAX && (stream_of != Stream::Only || !sought.is_own(line));
        log.filter(|_| is_runtime).map(|log| Self { log, stream: stream_of, text, may_hold_records, is_plain })
    }

    /// The offset of the line's text in the object.
    pub(super) fn log_at(&self) -> usize {
        offset_in(self.text, self.log)
    }

    /// The bytes of the line or piece, and whether more pieces follow.
    fn piece(&self) -> (Vec<u8>, bool) {
        let mut bytes = Text::Escaped(self.log).plain().into_owned().into_bytes();
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
            return (bytes, false);
        }
        let is_partial = bytes.len() >= DOCKER_PIECE_BYTES;
        (bytes, is_partial)
    }

    /// All members but the line, and the time that one of them gives.
    pub(super) fn around(&self) -> (Members<'a>, Option<Text<'a>>) {
        let fields = Fields::read(&mut Reader::new(self.text)).unwrap_or_default();
        let mut copies = Copies::default();
        let others = fields.iter().filter(|field| field.key != "log");
        let around = others.map(|field| (field.name(), copies.copy(field.value))).collect();
        let time = ["time", "@timestamp"].into_iter().find_map(|key| fields.get(key).and_then(Json::text));
        (around, time)
    }
}

/// The most members of an object that a runtime or shipper writes.
const FIELDS_MAX: usize = 100;
