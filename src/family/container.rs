//! What container runtimes write around a line of log, and how a line that they cut in pieces is put together again.
//!
//! Docker writes `{"log":"<line>\n","stream":"stdout","time":"..."}`, the runtimes of Kubernetes (CRI)
//! `<time> stdout F <line>`. Both cut long lines in pieces.

use std::borrow::Cow;

use crate::event::Fields;
use crate::event::Json;
use crate::event::Mask;
use crate::event::Members;
use crate::event::Reader;
use crate::event::Secrets;
use crate::event::Text;
use crate::event::Value;
use crate::family::Refusal;
use crate::family::envelope;
use crate::family::envelope::Accept;
use crate::family::envelope::RedactLine;
use crate::family::redaction::Edit;
use crate::family::redaction::applied;
use crate::family::redaction::offset_in;

/// Docker hands on a line's bytes in pieces of this size (its copier's buffer); only the last has a line end.
const DOCKER_PIECE_BYTES: usize = 16 << 10;

/// `2016-10-06T00:17:09.669794202+00:00` has 35.
const TIME_BYTES_MAX: usize = 40;

/// One line of a file, without what stands around it.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) inside: Cow<'a, [u8]>,
    /// A container runtime wrote it.
    pub(super) is_wrapped: bool,
    /// The runtime cut it here; its rest is in the next line.
    pub(super) is_partial: bool,
    /// It is, or begins, what the family looks for.
    pub(super) is_accepted: bool,
}

/// A record without what stands around it.
#[derive(Debug)]
pub(super) struct Inside<'a> {
    bytes: Cow<'a, [u8]>,
    /// Where in the record the bytes are, unless they are a copy.
    offset: Option<usize>,
    /// What stood around, the pieces' first.
    pub(super) around: Members<'a>,
    /// When the runtime read the line.
    pub(super) time: Option<Text<'a>>,
    /// What stood around holds secrets.
    hides: bool,
}

/// Takes off one line what stands around it. `accept` tells whether a text is what the family looks for, so that an
/// envelope is opened only for its sake.
pub(super) fn line<'a>(line: &'a [u8], accept: Accept) -> Line<'a> {
    let (wrapped, is_wrapped, is_partial) = if let Some(cri) = Cri::of(line) {
        (Cow::Borrowed(cri.inside), true, cri.is_partial)
    } else if let Some(docker) = Docker::of(line) {
        let (piece, is_partial) = docker.piece();
        (Cow::Owned(piece), true, is_partial)
    } else {
        (Cow::Borrowed(line), false, false)
    };
    if accept(&wrapped) {
        return Line { inside: wrapped, is_wrapped, is_partial, is_accepted: true };
    }
    match envelope::line(&wrapped, accept) {
        Some(found) => {
            let inside = Cow::Owned(found.into_bytes());
            Line { inside, is_wrapped, is_partial, is_accepted: true }
        }
        None => Line { inside: wrapped, is_wrapped, is_partial, is_accepted: false },
    }
}

/// Takes off a record what stands around it, and joins its pieces.
///
/// # Errors
/// When the runtime cut a line and its rest is not there.
pub(super) fn unwrap(record: &[u8], accept: Accept) -> Result<Inside<'_>, Refusal> {
    let first = &record[..memchr::memchr(b'\n', record).unwrap_or(record.len())];
    let mut inside = if let Some(cri) = Cri::of(first) {
        joined_cri(record, &cri)?
    } else if let Some(docker) = Docker::of(first) {
        joined_docker(record, docker)?
    } else {
        Inside { bytes: Cow::Borrowed(record), offset: Some(0), around: Members::new(), time: None, hides: false }
    };
    if let Some(opened) = envelope::opened(&inside.bytes, accept) {
        inside.around.extend(opened.around);
        inside.hides |= opened.hides;
        (inside.bytes, inside.offset) = (Cow::Owned(opened.line.into_bytes()), None);
    }
    Ok(inside)
}

/// The record with the line in it redacted; nothing when none of it is concerned. What the runtime cut in pieces is then in
/// one, as the runtime would have written a line that is short enough; lines of another stream between them are gone.
///
/// # Errors
/// When the line cannot be redacted, or would be no record any more.
pub(super) fn redacted(record: &[u8], accept: Accept, redact: RedactLine<'_>) -> Result<Option<Vec<u8>>, Refusal> {
    let first = &record[..memchr::memchr(b'\n', record).unwrap_or(record.len())];
    if let Some(cri) = Cri::of(first) {
        let Some(shown) = redacted_line(&joined_cri(record, &cri)?.bytes, accept, redact)? else { return Ok(None) };
        let lines = shown.split(|byte| *byte == b'\n');
        let tagged = |line| [cri.time.as_bytes(), b" ", cri.stream.as_bytes(), b" F ", line].concat();
        return Ok(Some(lines.map(tagged).collect::<Vec<_>>().join(&b'\n')));
    }
    let Some(docker) = Docker::of(first) else { return redacted_line(record, accept, redact) };
    let text = docker.text;
    let bytes = joined_docker(record, docker)?.bytes;
    let line = redacted_line(&bytes, accept, redact)?;
    let mut edits = Vec::new();
    let mut refused = Ok(());
    let logged = format!("{}\n", String::from_utf8_lossy(line.as_deref().unwrap_or(&bytes)));
    let read = Reader::new(text).object(|reader, key| {
        match reader.value()? {
            Json::String(inside) if key == "log" => {
                let at = offset_in(text, inside);
                edits.push(Edit { at: at..at + inside.len(), shown: envelope::escaped(&logged) });
            }
            other if refused.is_ok() => refused = envelope::redacted(text, other, accept, redact, &mut edits),
            _ => {}
        }
        Ok(())
    });
    read.map_err(|fault| Refusal::new(fault.to_string()))?;
    refused?;
    // Each `log` was written again, whether or not anything is redacted.
    let is_concerned = line.is_some() || edits.iter().any(|edit| edit.shown != envelope::escaped(&logged));
    Ok(is_concerned.then(|| applied(text, &edits).into_bytes()))
}

/// The same of what the runtime was given.
fn redacted_line(bytes: &[u8], accept: Accept, redact: RedactLine<'_>) -> Result<Option<Vec<u8>>, Refusal> {
    if accept(bytes) || envelope::line(bytes, accept).is_none() {
        return redact(bytes);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::new("the envelope is no UTF-8"))?;
    let mut edits = Vec::new();
    envelope::redacted(text, Json::Object(text), accept, redact, &mut edits)?;
    if edits.is_empty() {
        return Ok(None);
    }
    let shown = applied(text, &edits).into_bytes();
    // Else the envelope would be taken for the record.
    match envelope::line(&shown, accept) {
        Some(_) => Ok(Some(shown)),
        None => Err(Refusal::new("what is left of the record after its redaction is none")),
    }
}

impl Inside<'_> {
    /// The line, or lines, as the product wrote them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same as text.
    ///
    /// # Errors
    /// When they are not UTF-8.
    pub(super) fn text(&self) -> Result<&str, Refusal> {
        let text = std::str::from_utf8(&self.bytes);
        text.map_err(|error| Refusal::new(format!("no UTF-8 at byte {}", error.valid_up_to())))
    }

    /// Where in the record the secrets stand that were met in `text`, which is the line or, where `is_altered`, a copy
    /// that shows less. Where places of the one are no places of the other, the whole record is shown as `text` is.
    pub(super) fn masks(&self, masks: Vec<Mask>, text: &str, is_altered: bool, record: &[u8]) -> Vec<Mask> {
        if masks.is_empty() && !is_altered && !self.hides {
            return masks;
        }
        match self.offset.filter(|_| !is_altered && !self.hides) {
            Some(0) => masks,
            Some(offset) => {
                let moved = |mask: Mask| Mask { at: mask.at.start + offset..mask.at.end + offset, ..mask };
                masks.into_iter().map(moved).collect()
            }
            None => vec![Mask { at: 0..record.len(), shown: Cow::Owned(masked(text, masks)) }],
        }
    }
}

/// The text with its secrets replaced.
fn masked(text: &str, mut masks: Vec<Mask>) -> String {
    masks.sort_by_key(|mask| mask.at.start);
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for mask in masks {
        // A secret inside of another is gone with it.
        let Some(between) = text.get(from..mask.at.start) else { continue };
        shown.push_str(between);
        shown.push_str(&mask.shown);
        from = mask.at.end;
    }
    shown.push_str(text.get(from..).unwrap_or_default());
    shown
}

/// `2016-10-06T00:17:09.669794202Z stdout F <line>`, where `P` stands for a piece that others follow.
#[derive(Clone, Copy)]
struct Cri<'a> {
    time: &'a str,
    stream: &'a str,
    is_partial: bool,
    inside: &'a [u8],
}

impl<'a> Cri<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        if !line.first()?.is_ascii_digit() {
            return None;
        }
        let (time, rest) = word(line)?;
        let (stream, rest) = word(rest)?;
        if !matches!(stream, "stdout" | "stderr") || time.len() > TIME_BYTES_MAX || !time.contains('T') {
            return None;
        }
        // An empty line has nothing after its tags. More tags may follow the first, after colons.
        let (tags, inside) = word(rest).or_else(|| std::str::from_utf8(rest).ok().map(|tags| (tags, &b""[..])))?;
        let is_partial = match tags.split(':').next()? {
            "P" => true,
            "F" => false,
            _ => return None,
        };
        Some(Self { time, stream, is_partial, inside })
    }
}

/// A short word and what follows the space after it.
fn word(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let head = &bytes[..bytes.len().min(TIME_BYTES_MAX + 1)];
    let space = memchr::memchr(b' ', head)?;
    Some((std::str::from_utf8(&bytes[..space]).ok()?, &bytes[space + 1..]))
}

/// The lines of a record as they stand in the file.
fn physical(record: &[u8]) -> impl Iterator<Item = &[u8]> {
    record.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn cut() -> Refusal {
    Refusal::new("the container runtime cut the line, and its rest does not follow")
}

fn joined_cri<'a>(record: &'a [u8], first: &Cri<'a>) -> Result<Inside<'a>, Refusal> {
    let around = vec![
        (Text::from("time"), Value::Text(Text::from(first.time))),
        (Text::from("stream"), Value::Text(Text::from(first.stream))),
    ];
    let around = vec![(Text::from("container"), Value::Object(around))];
    let time = Some(Text::from(first.time));
    if memchr::memchr(b'\n', record).is_none() {
        if first.is_partial {
            return Err(cut());
        }
        let offset = Some(record.len() - first.inside.len());
        return Ok(Inside { bytes: Cow::Borrowed(first.inside), offset, around, time, hides: false });
    }
    let mut bytes = Vec::with_capacity(record.len());
    let mut is_partial = true;
    for line in physical(record) {
        let (inside, partial) = match Cri::of(line) {
            Some(cri) if cri.stream == first.stream => (cri.inside, cri.is_partial),
            // The other stream's lines stand between.
            Some(_) => continue,
            None => (line, false),
        };
        bytes.extend_from_slice(inside);
        is_partial = partial;
        if !partial {
            bytes.push(b'\n');
        }
    }
    if is_partial {
        return Err(cut());
    }
    bytes.pop();
    Ok(Inside { bytes: Cow::Owned(bytes), offset: None, around, time, hides: false })
}

/// Docker's JSON file, or what shippers make of it.
struct Docker<'a> {
    log: &'a str,
    text: &'a str,
}

impl<'a> Docker<'a> {
    fn of(line: &'a [u8]) -> Option<Self> {
        if line.first() != Some(&b'{') || memchr::memmem::find(line, b"\"log\"").is_none() {
            return None;
        }
        let text = std::str::from_utf8(line).ok()?;
        let (mut log, mut is_runtime) = (None, true);
        let mut members = 0;
        let mut reader = Reader::new(text);
        let read = reader.object(|reader, key| {
            let value = reader.value()?;
            members += 1;
            match (&*key, value) {
                ("log", Json::String(inside)) => log = Some(inside),
                ("recordType" | "auditPayload" | "operation", _) => is_runtime = false,
                _ => {}
            }
            Ok(())
        });
        read.and_then(|()| reader.end()).ok()?;
        log.filter(|_| is_runtime && members <= FIELDS_MAX).map(|log| Self { log, text })
    }

    /// The bytes of the line or piece, and whether others follow.
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

    /// Everything but the line itself.
    fn around(&self) -> (Fields<'a>, Members<'a>, bool) {
        let fields = Fields::read(&mut Reader::new(self.text)).unwrap_or_default();
        let mut secrets = Secrets::of(self.text);
        let others = fields.iter().filter(|field| field.key != "log");
        let around = others.map(|field| (field.name(), secrets.carry(&field.key, field.value))).collect();
        (fields, around, !secrets.masks.is_empty())
    }
}

/// A runtime's or shipper's object has a few members.
const FIELDS_MAX: usize = 100;

fn joined_docker<'a>(record: &'a [u8], first: Docker<'a>) -> Result<Inside<'a>, Refusal> {
    let (fields, around, hides) = first.around();
    let time = ["time", "@timestamp"].into_iter().find_map(|key| fields.get(key).and_then(Json::text));
    let (mut bytes, mut is_partial) = first.piece();
    for line in physical(record).skip(1) {
        let (piece, partial) = match Docker::of(line) {
            Some(docker) => docker.piece(),
            None => (line.to_vec(), false),
        };
        if !is_partial {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(&piece);
        is_partial = partial;
    }
    if is_partial {
        return Err(cut());
    }
    let around = vec![(Text::from("container"), Value::Object(around))];
    Ok(Inside { bytes: Cow::Owned(bytes), offset: None, around, time, hides })
}

/// The JSON text on one line: line ends between its tokens become spaces.
///
/// # Errors
/// When it holds line ends and is no JSON.
pub(super) fn on_one_line(text: &str) -> Result<Cow<'_, str>, Refusal> {
    if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    let mut reader = Reader::new(text);
    reader.value().and_then(|_| reader.end()).map_err(|fault| Refusal::new(fault.to_string()))?;
    Ok(Cow::Owned(text.replace(['\n', '\r'], " ")))
}
