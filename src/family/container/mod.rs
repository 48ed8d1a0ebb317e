//! What container runtimes write around a line of log, and how a line that they cut in pieces is put together again.
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

/// One line of a file, without what stands around it.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) inside: Cow<'a, [u8]>,
    /// It is, or begins, what the family looks for.
    pub(super) is_accepted: bool,
    /// A record is open on its stream.
    pub(super) is_open: bool,
}

/// Tells whether the last piece of a line is a record of its own, and none of the line that all of them give.
pub(super) type StandsAlone = fn(last: &[u8], joined: &[u8]) -> bool;

/// The same for records that are JSON objects: what is inside of one is none that is whole.
pub(super) fn object_stands_alone(last: &[u8], joined: &[u8]) -> bool {
    is_object(last) && !is_object(joined)
}

/// A record without what stands around it.
#[derive(Debug, Default)]
pub(super) struct Inside<'a> {
    bytes: Cow<'a, [u8]>,
    /// The same as text, where that is known already.
    text: Option<&'a str>,
    /// They are, or begin, what the family looks for.
    pub(super) is_accepted: bool,
    /// Where in the record the bytes are, unless they are a copy.
    offset: Option<usize>,
    /// What stood around, the pieces' first.
    pub(super) around: Members<'a>,
    /// When the runtime read the line.
    pub(super) time: Option<Text<'a>>,
    /// The record was taken out of an object of a shipper's. Whoever writes a line of log may write such an object.
    is_enveloped: bool,
    /// What stood around may hold a record as well.
    is_asked_around: bool,
}

/// Takes off a line, or the pieces of one, what stands around it. An envelope is opened only for the sake of what is sought.
///
/// # Errors
/// What the line is instead, where that can be told already: a piece, or pieces that the last is none of.
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
        // Pieces without a byte take nothing from it.
        if last.is_accepted && last.inside != line.inside && stands_alone(&last.inside, &line.inside) {
            return Err(LineRole::Anew);
        }
    }
    Ok(line)
}

/// A record in one piece that its runtime cut in several.
pub(super) struct Whole {
    pub(super) bytes: Vec<u8>,
    /// Lines of another stream stood between its pieces: they are left out.
    pub(super) is_mixed: bool,
}

/// The lines of a record as the runtime would have written them, were they short enough; nothing where it is one line, or has
/// nothing of a runtime around it.
pub(super) fn in_one(record: &[u8], sought: &Sought<'_>) -> Option<Whole> {
    memchr::memchr(b'\n', record)?;
    let first = Runtime::of(first_line(record), sought)?;
    let joined = Joined::of(record, first, sought);
    // Without its rest it is refused.
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

/// Takes off a record what stands around it, and joins its pieces.
///
/// # Errors
/// When the runtime cut a line and its rest is not there, and when the line holds several records.
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

    /// What is to be known of how the record came.
    pub(super) fn label(&self) -> Option<&'static str> {
        self.is_enveloped.then_some("enveloped")
    }

    /// The line, or lines, as the product wrote them.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same as text.
    ///
    /// # Errors
    /// When they are not UTF-8.
    pub(super) fn text(&self) -> Result<&str, Refusal> {
        let text = self.text.map_or_else(|| std::str::from_utf8(&self.bytes), Ok);
        text.map_err(|error| Refusal::new(format!("no UTF-8 at byte {}", error.valid_up_to())))
    }
}

fn cut() -> Refusal {
    Refusal::new("the container runtime cut the line, and its rest does not follow")
}

/// As much from the beginning as is UTF-8.
pub(super) fn valid(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// Reads the members of the JSON object that a line is, or begins with, until `member` has seen enough: it is given each
/// name and its value. `head` is the line or its beginning. Tells whether it was read whole.
pub(super) fn peek(head: &[u8], line: &[u8], mut member: impl FnMut(&str, Json<'_>) -> bool) -> bool {
    let text = envelope::with_whole_pairs(valid(head));
    let is_cut = head.len() < line.len();
    let read = Reader::new(&text).object(|reader, key| {
        let value = reader.value()?;
        if is_cut && reader.at() == text.len() {
            // A number may go on.
            return Err(Fault::Ends(text.len()));
        }
        // No fault: what follows does not matter.
        if member(&key, value) { Err(Fault::Trailing(0)) } else { Ok(()) }
    });
    read.is_ok()
}

/// Whether it is one JSON object and nothing else.
pub(super) fn is_object(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut reader = Reader::new(text.trim_ascii());
    reader.peek() == Some(b'{') && reader.value().and_then(|_| reader.end()).is_ok()
}

/// The JSON text on one line: line ends between its tokens become spaces.
///
/// # Errors
/// When it holds line ends and is no JSON.
pub(super) fn on_one_line(text: &str) -> Result<Cow<'_, str>, Refusal> {
    if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_none() {
        return Ok(Cow::Borrowed(text));
    }
    // No place in the one is another in the other.
    let whole = envelope::with_whole_pairs(text);
    let mut reader = Reader::new(&whole);
    reader.value().and_then(|_| reader.end()).map_err(|fault| Refusal::new(fault.to_string()))?;
    Ok(Cow::Owned(text.replace(['\n', '\r'], " ")))
}
