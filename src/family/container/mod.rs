//! What container runtimes write around a line of log, and how the pieces of a line that they cut are joined.
//!
//! Docker writes `{"log":"<line>\n","stream":"stdout","time":"..."}`, the runtimes of Kubernetes (CRI)
//! `<time> stdout F <line>`. Both cut long lines in pieces.

mod head;

mod redact;

mod runtime;

mod split;

use std::borrow::Cow;

use crate::event::{Fault, Json, Members, Reader, Text, Value};
use crate::family::container::runtime::{Joined, Runtime, first_line, last_line};
use crate::family::envelope::{self, Sought};
use crate::family::refusal::Refusal;
use crate::records::{Around, Asked, LineRole, Record, Stream};

pub(super) use redact::{copies, redacted, redacted_json};
pub(super) use split::{Trust, parts};

/// One line of a file, without what a runtime or shipper put around it.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) inside: Cow<'a, [u8]>,
    /// Whether the line is, or begins, a record of the family.
    pub(super) is_accepted: bool,
    /// Whether a record is open on the line's stream.
    pub(super) is_open: bool,
}

/// Whether the last piece of a line is a record of its own, and no part of the line that all pieces make.
pub(super) type StandsAlone = fn(last: &[u8], joined: &[u8]) -> bool;

/// [`StandsAlone`] for records that are JSON objects: the last piece is one, and the joined pieces are not.
pub(super) fn object_stands_alone(last: &[u8], joined: &[u8]) -> bool {
    is_object(last) && !is_object(joined)
}

/// A record without what a runtime or shipper put around it.
#[derive(Debug, Default)]
pub(super) struct Inside<'a> {
    bytes: Cow<'a, [u8]>,
    /// The bytes as text, if they are known to be UTF-8.
    text: Option<&'a str>,
    /// Whether the bytes are, or begin, a record of the family.
    pub(super) is_accepted: bool,
    /// The offset of the bytes in the record. `None` if they are a copy.
    offset: Option<usize>,
    /// The members that stood around the line, the runtime's before the shipper's.
    pub(super) around: Members<'a>,
    /// When the runtime read the line, as the runtime wrote it.
    pub(super) time: Option<Text<'a>>,
    /// Whether the record was taken out of an object such as shippers write. Anyone who can write a log line can write
    /// such an object.
    is_enveloped: bool,
    /// Whether the members around the line may hold a record as well.
    is_asked_around: bool,
}

/// Removes what a runtime or shipper put around a line, or around the pieces of one. An envelope is opened only if it
/// holds a record of the family.
///
/// # Errors
/// The role of the line, if that is known already: a piece, or a last piece that is a line of its own.
pub(super) fn line<'a>(
    lines: &'a [u8],
    around: &mut Around<'_>,
    sought: &Sought<'_>,
    stands_alone: StandsAlone,
) -> Result<Line<'a>, LineRole> {
    let Some(first) = Runtime::of(first_line(lines), sought) else {
        let is_open = around.on(Stream::Only);
        return Ok(opened(Cow::Borrowed(lines), is_open, sought));
    };
    let is_open = around.on(first.stream());
    let joined = Joined::of(lines, first, sought);
    if joined.is_partial && around.asked() == Asked::Line {
        return Err(LineRole::Piece);
    }
    let line = opened(joined.bytes, is_open, sought);
    let last = last_line(lines);
    if around.asked() == Asked::Joined
        && let Some(last) = Runtime::of(last, sought)
    {
        let last = opened(Joined::of(b"", last, sought).bytes, is_open, sought);
        // If all pieces before it are empty, the last piece is the whole line.
        if last.is_accepted && last.inside != line.inside && stands_alone(&last.inside, &line.inside) {
            return Err(LineRole::Anew);
        }
    }
    Ok(line)
}

/// A record whose pieces have been joined.
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    /// Whether lines of another stream stood between the pieces. They are left out.
    pub(super) is_mixed: bool,
}

/// Joins the pieces of a record, in the format in which the runtime would have written a shorter line. `None` if the
/// record is one line, or no runtime wrote it.
pub(super) fn in_one(record: &[u8], sought: &Sought<'_>) -> Option<Whole> {
    memchr::memchr(b'\n', record)?;
    let first = Runtime::of(first_line(record), sought)?;
    let joined = Joined::of(record, first, sought);
    // A record whose last piece is missing is refused when it is decoded.
    (!joined.is_partial).then(|| Whole { bytes: first.written(&joined.bytes), is_mixed: joined.is_mixed })
}

fn opened<'a>(line: Cow<'a, [u8]>, is_open: bool, sought: &Sought<'_>) -> Line<'a> {
    if sought.accepts(&line) {
        return Line { inside: line, is_accepted: true, is_open };
    }
    match envelope::line(&line, sought) {
        Some(found) => Line { inside: Cow::Owned(found.into_bytes()), is_accepted: true, is_open },
        None => Line { inside: line, is_accepted: false, is_open },
    }
}

/// Removes what a runtime or shipper put around a record, and joins the record's pieces.
///
/// # Errors
/// If the runtime cut a line and its rest is missing, or if the line holds several records.
pub(super) fn unwrap<'a>(record: &Record<'a>, sought: &Sought<'_>) -> Result<Inside<'a>, Refusal> {
    let mut inside = match Runtime::of(first_line(record.bytes), sought) {
        Some(first) => Inside::of(record.bytes, first, sought)?,
        None => Inside::bare(record),
    };
    if inside.is_asked_around {
        split::asked_around(record.bytes, sought)?;
    }
    inside.text = inside.offset.and_then(|offset| record.text?.get(offset..));
    inside.is_accepted = sought.accepts(&inside.bytes);
    if !inside.is_accepted
        && let Some(opened) = split::alone(&inside.bytes, sought)?
    {
        inside.around.extend(opened.around);
        inside.is_accepted = true;
        inside.is_enveloped = true;
        (inside.bytes, inside.text, inside.offset) = (Cow::Owned(opened.line.into_bytes()), None, None);
    }
    Ok(inside)
}

impl<'a> Inside<'a> {
    /// A record that has nothing around it.
    pub(super) fn bare(record: &Record<'a>) -> Self {
        Self { bytes: Cow::Borrowed(record.bytes), text: record.text, offset: Some(0), ..Self::default() }
    }

    fn of(record: &'a [u8], first: Runtime<'a>, sought: &Sought<'_>) -> Result<Self, Refusal> {
        let joined = Joined::of(record, first, sought);
        if joined.is_partial {
            return Err(cut());
        }
        let is_enveloped = match first {
            Runtime::Cri(_) => false,
            Runtime::Docker(docker) => !docker.is_plain,
            Runtime::Head(_) => true,
        };
        let is_asked_around = matches!(first, Runtime::Docker(docker) if docker.may_hold_records && joined.is_single);
        let (around, time) = match first {
            Runtime::Cri(cri) => {
                let members = [("time", cri.time), ("stream", cri.tag)];
                let around = members.map(|(name, text)| (Text::from(name), Value::Text(Text::from(text))));
                (Members::from(around), Some(Text::from(cri.time)))
            }
            Runtime::Docker(docker) => docker.around(),
            Runtime::Head(head) => {
                let around = vec![(Text::from("head"), Value::Text(Text::from(head.text.trim_end())))];
                (around, head.time.map(Text::from))
            }
        };
        let offset = match &joined.bytes {
            Cow::Borrowed(bytes) => Some(record.len() - bytes.len()),
            Cow::Owned(_) => None,
        };
        let around = vec![(Text::from("container"), Value::Object(around))];
        Ok(Self {
            bytes: joined.bytes,
            text: None,
            is_accepted: false,
            offset,
            around,
            time,
            is_enveloped,
            is_asked_around,
        })
    }

    /// The label of the record's events, if it came in an envelope.
    pub(super) fn label(&self) -> Option<&'static str> {
        self.is_enveloped.then_some("enveloped")
    }

    /// The line, or lines, as the product wrote them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The line, or lines, as text.
    ///
    /// # Errors
    /// If they are not UTF-8.
    pub(super) fn text(&self) -> Result<&str, Refusal> {
        let text = self.text.map_or_else(|| std::str::from_utf8(&self.bytes), Ok);
        text.map_err(|error| Refusal::new(format!("no UTF-8 at byte {}", error.valid_up_to())))
    }
}

fn cut() -> Refusal {
    Refusal::new("the container runtime cut the line, and its rest does not follow")
}

/// The longest beginning of the bytes that is UTF-8.
pub(super) fn valid(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// Reads the JSON object that `line` is, or begins with. `member` gets the name and value of each member, and ends the
/// reading by returning true. `head` is the line or its beginning. Returns whether the object was read to its end.
pub(super) fn peek(head: &[u8], line: &[u8], mut member: impl FnMut(&str, Json<'_>) -> bool) -> bool {
    let text = envelope::with_whole_pairs(valid(head));
    let is_cut = head.len() < line.len();
    let read = Reader::new(&text).object(|reader, key| {
        let value = reader.value()?;
        if is_cut && reader.at() == text.len() {
            // The line may continue a number at the end of `head`.
            return Err(Fault::Ends(text.len()));
        }
        // This fault only ends the reading.
        if member(&key, value) { Err(Fault::Trailing(0)) } else { Ok(()) }
    });
    read.is_ok()
}

/// Whether the bytes are one JSON object and nothing else.
pub(super) fn is_object(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut reader = Reader::new(text.trim_ascii());
    reader.peek() == Some(b'{') && reader.value().and_then(|_| reader.end()).is_ok()
}

/// A JSON text on one line: line ends between its tokens become spaces.
///
/// # Errors
/// If the text has line ends and is not JSON.
pub(super) fn on_one_line(text: &str) -> Result<Cow<'_, str>, Refusal> {
    if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    // `whole` has the same offsets as `text`.
    let whole = envelope::with_whole_pairs(text);
    let mut reader = Reader::new(&whole);
    reader.value().and_then(|_| reader.end()).map_err(|fault| Refusal::new(fault.to_string()))?;
    Ok(Cow::Owned(text.replace(['\n', '\r'], " ")))
}
