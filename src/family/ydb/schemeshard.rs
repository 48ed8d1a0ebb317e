//! The text form that the schemeshard component writes into the common log, one line a transaction or operation.
//!
//! Only the protobuf request is escaped. Database, subject, reason and paths are raw, and may contain what looks like
//! the next field. So fields are found by their labels in the order of the grammar, never by commas. If more than one
//! reading is possible, the request (its directory and name) decides, and the line is marked ambiguous.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::family::refusal::Refusal;
use crate::family::ydb::label::{Label, label, next_label, pairs};
use crate::family::ydb::proto::{Path, Proto};

/// A parsed line. Its values are raw.
#[derive(Clone, Debug, Default)]
pub(super) struct Transaction<'a> {
    pub(super) timestamp: &'a str,
    pub(super) node: Option<&'a str>,
    pub(super) component: &'a str,
    pub(super) level: &'a str,
    pub(super) tx_id: &'a str,
    pub(super) database: Option<&'a str>,
    pub(super) subject: Option<&'a str>,
    pub(super) status: &'a str,
    pub(super) reason: Option<&'a str>,
    pub(super) operations: Vec<Operation<'a>>,
    /// Whether more than one reading was possible.
    pub(super) is_ambiguous: bool,
    /// How many further requests were tried in search of the one with the operation's path.
    requests_tried: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Operation<'a> {
    pub(super) name: &'a str,
    pub(super) paths: Vec<&'a str>,
    pub(super) src_paths: Vec<&'a str>,
    pub(super) dst_paths: Vec<&'a str>,
    /// The line says `no path`.
    pub(super) has_no_path: bool,
    pub(super) owner: Option<&'a str>,
    pub(super) added: Vec<&'a str>,
    pub(super) removed: Vec<&'a str>,
    pub(super) request: Option<Proto<'a>>,
    /// Text after the fields that the grammar does not know.
    pub(super) rest: Option<&'a str>,
}

/// The line's beginning: time, node, component and level, up to the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Prefix<'a> {
    pub(super) node: Option<&'a str>,
    pub(super) component: &'a str,
    pub(super) level: &'a str,
    pub(super) text: &'a str,
}

const OPERATION: &str = ", operation: ";
const STATUS: &str = ", status: ";
const SUBJECT: &str = ", subject: ";
const REASON: &str = ", reason: ";
const REQUEST: &str = ", protobuf request: ";

static FIND_OPERATION: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(OPERATION));
static FIND_STATUS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(STATUS));
static FIND_SUBJECT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(SUBJECT));
static FIND_REQUEST: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(REQUEST));

/// The most operations that are read from a stretch of a line. A transaction has a few: this bounds the work that an
/// attacker can cause.
const OPERATIONS_MAX: usize = 10_000;

/// The most further requests that are tried in a line, since each try reads the rest of the line. If its paths contain
/// the labels of more requests, the others are not tried.
const REQUESTS_MAX: usize = 16;

impl<'a> Prefix<'a> {
    /// Reads what follows the time in any line of the common log, ` node 1 :FLAT_TX_SCHEMESHARD NOTICE: <text>`.
    pub(super) fn of(after_time: &'a str) -> Option<Self> {
        let rest = after_time.strip_prefix(' ')?;
        let (node, rest) = match rest.strip_prefix("node ") {
            Some(rest) => rest.split_once(' ').map(|(node, rest)| (Some(node), rest))?,
            None => (None, rest),
        };
        let (component, rest) = rest.strip_prefix(':')?.split_once(' ')?;
        let (level, text) = match pairs(rest, b':').next() {
            Some(at) => (&rest[..at], &rest[at + 2..]),
            None => (rest.strip_suffix(':')?, ""),
        };
        let is_capital = |byte: u8| byte.is_ascii_uppercase() | byte.is_ascii_digit() | (byte == b'_');
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_capital);
        (is_word(component) && is_word(level)).then_some(Self { node, component, level, text })
    }

    /// The text after `AUDIT: `. `None` if this is no audit line. A source position may precede `AUDIT: `.
    pub(super) fn audit(&self) -> Option<&'a str> {
        if self.component != "FLAT_TX_SCHEMESHARD" {
            return None;
        }
        self.text.strip_prefix("AUDIT: ").or_else(|| {
            let (position, rest) = self.text.split_once(' ')?;
            position.ends_with(':').then(|| rest.strip_prefix("AUDIT: "))?
        })
    }
}

/// Whether a line contains an operation. If not, the record continues in the next line.
pub(super) fn has_operation(line: &[u8]) -> bool {
    FIND_OPERATION.find(line).is_some()
}

impl<'a> Transaction<'a> {
    /// Reads what follows `AUDIT: `.
    ///
    /// # Errors
    /// If a mandatory field is missing, or the line breaks off.
    pub(super) fn read(timestamp: &'a str, prefix: Prefix<'a>, audit: &'a str) -> Result<Self, Refusal> {
        let Prefix { node, component, level, .. } = prefix;
        let mut line = Self { timestamp, node, component, level, ..Self::default() };
        let rest = line.read_head(audit)?;
        line.read_operations(rest)?;
        Ok(line)
    }

    /// Reads the transaction's fields except the reason, and returns what follows them.
    fn read_head(&mut self, audit: &'a str) -> Result<&'a str, Refusal> {
        let missing = |what: &'static str| Refusal::new(format!("the audit line has no {what}"));
        let rest = audit.strip_prefix("txId: ").ok_or_else(|| missing("txId"))?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (tx_id, rest) = rest.split_at(digits);
        if tx_id.is_empty() {
            return Err(missing("txId"));
        }
        self.tx_id = tx_id;
        let status_at = self.find_status(rest).ok_or_else(|| missing("status"))?;
        let (head, tail) = rest.split_at(status_at);
        let head = match head.strip_prefix(", database: ") {
            Some(head) => {
                let end = FIND_SUBJECT.find(head.as_bytes()).unwrap_or(head.len());
                self.database = Some(&head[..end]);
                &head[end..]
            }
            None => head,
        };
        if let Some(subject) = head.strip_prefix(SUBJECT) {
            self.is_ambiguous |= FIND_SUBJECT.find(subject.as_bytes()).is_some();
            self.subject = Some(subject);
        } else if !head.is_empty() {
            return Err(missing("subject"));
        }
        let tail = &tail[STATUS.len()..];
        let end = token_length(tail);
        self.status = &tail[..end];
        Ok(&tail[end..])
    }

    /// The position of the status. Text within a request is never the status, but a subject may contain what looks like
    /// one.
    fn find_status(&mut self, rest: &str) -> Option<usize> {
        let request = FIND_REQUEST.find(rest.as_bytes()).unwrap_or(rest.len());
        let mut before = statuses(&rest[..request]);
        let first = before.next();
        // Another match, for example in the reason, is as plausible as the first.
        self.is_ambiguous |= first.is_none() || before.next().is_some();
        first.or_else(|| statuses(rest).next())
    }

    /// Reads the reason and the operations: stretches that each end with a request, or with the line.
    fn read_operations(&mut self, mut rest: &'a str) -> Result<(), Refusal> {
        while !rest.is_empty() {
            let first = FIND_REQUEST.find(rest.as_bytes());
            let (stretch, request) = match first.and_then(|first| self.read_request(rest, first)) {
                Some((at, request)) => (&rest[..at], Some(request)),
                None => (rest, None),
            };
            // An unreadable request must not hide the operations before it.
            self.is_ambiguous |= first.is_some() && request.is_none();
            let of_request = request.as_ref().map_or(0, |request| REQUEST.len() + request.text.len());
            rest = &rest[stretch.len() + of_request..];
            self.read_stretch(stretch, request)?;
        }
        if self.operations.is_empty() {
            return Err(Refusal::new("the audit line has no operation"));
        }
        Ok(())
    }

    /// Reads the request whose label is at `first`. If that label is part of the operation's path, reads a later
    /// request instead: the first with that path, or else the first that can be read. Also returns the position of the
    /// label. `None` if no request can be read.
    fn read_request(&mut self, rest: &'a str, first: usize) -> Option<(usize, Proto<'a>)> {
        let read = |at: usize| {
            let text = &rest[at + REQUEST.len()..];
            Proto::read(text, |rest| operation_places(rest).next()).ok().map(|request| (at, request))
        };
        let operation = operation_places(&rest[..first]).last();
        let says_path = |(at, request): &(usize, Proto<'_>)| {
            let path = request.path();
            operation.zip(path).is_some_and(|(from, path)| Operation::is_of_path(&rest[from..*at], &path))
        };
        let request = read(first);
        let end = request.as_ref().map_or(rest.len(), |(at, request)| at + REQUEST.len() + request.text.len());
        let mut further = FIND_REQUEST.find_iter(&rest.as_bytes()[first + 1..end]).map(|at| first + 1 + at).peekable();
        if further.peek().is_none() || request.as_ref().is_some_and(says_path) {
            return request;
        }
        let left = REQUESTS_MAX - self.requests_tried;
        let mut readable = None;
        for found in further.take(left).inspect(|_| self.requests_tried += 1).filter_map(read) {
            if says_path(&found) {
                self.is_ambiguous = true;
                return Some(found);
            }
            readable.get_or_insert(found);
        }
        self.is_ambiguous |= request.is_none();
        request.or(readable)
    }

    /// Reads the operations before one request (mostly one operation) and, before the first operation of the line, the
    /// reason. The request belongs to the last operation.
    fn read_stretch(&mut self, stretch: &'a str, request: Option<Proto<'a>>) -> Result<(), Refusal> {
        let reason = stretch.strip_prefix(REASON).filter(|_| self.operations.is_empty());
        let stretch = reason.unwrap_or(stretch);
        let mut places: Vec<usize> = operation_places(stretch).take(OPERATIONS_MAX).collect();
        if places.is_empty() {
            // The name has an unusual spelling.
            places.extend(FIND_OPERATION.find(stretch.as_bytes()));
        }
        self.is_ambiguous |= places.len() > 1;
        let path = request.as_ref().and_then(Proto::path);
        let whole = path
            .as_ref()
            .filter(|_| places.len() > 1)
            .and_then(|path| places.iter().position(|at| Operation::is_of_path(&stretch[*at..], path)));
        if let Some(whole) = whole {
            // The matches after it are part of the path.
            places.truncate(whole + 1);
        }
        if reason.is_some() {
            // A match without a path is no operation, but part of the reason.
            let first = places.iter().position(|at| Operation::has_place(&stretch[*at..])).unwrap_or(0);
            places.drain(..first);
        }
        let first = *places.first().ok_or(Refusal::new("the audit line has no operation"))?;
        match reason {
            Some(_) => self.reason = Some(&stretch[..first]),
            None if first > 0 => {
                // A name with an unusual spelling, or an unknown field.
                self.is_ambiguous = true;
                places.insert(0, 0);
            }
            None => {}
        }
        let ends = places.iter().skip(1).copied().chain([stretch.len()]);
        for (at, end) in places.iter().zip(ends) {
            let path = path.as_ref().filter(|_| end == stretch.len());
            let (mut operation, is_clear) = Operation::read(&stretch[*at..end], path);
            self.is_ambiguous |= !is_clear;
            if end < stretch.len() || request.is_none() {
                operation.request = operation.take_unread();
            }
            self.operations.push(operation);
        }
        if let (Some(last), Some(request)) = (self.operations.last_mut(), request) {
            last.request = Some(request);
        }
        Ok(())
    }
}

/// The positions where a status may be: a single word before a reason or an operation.
fn statuses(text: &str) -> impl Iterator<Item = usize> {
    FIND_STATUS.find_iter(text.as_bytes()).filter(|at| {
        let value = &text[at + STATUS.len()..];
        let after = &value[token_length(value)..];
        after.len() < value.len() && (after.is_empty() || after.starts_with(REASON) || after.starts_with(OPERATION))
    })
}

/// The positions where an operation may begin: the label, and a field that is a name in capitals.
fn operation_places(text: &str) -> impl Iterator<Item = usize> {
    FIND_OPERATION.find_iter(text.as_bytes()).filter(|at| {
        let value = &text[at + OPERATION.len()..];
        is_name(value, capitals_length(value))
    })
}

fn is_name(text: &str, length: usize) -> bool {
    length > 0 && (length == text.len() || text[length..].starts_with(", "))
}

/// Length in bytes of the name at the beginning of `text`: capitals, or else all text before the next `, `.
fn name_length(text: &str) -> usize {
    let capitals = capitals_length(text);
    if is_name(text, capitals) { capitals } else { pairs(text, b',').next().unwrap_or(text.len()) }
}

/// Length in bytes of a name such as `ALTER TABLE ADD CDC STREAM`, or of a request's raw type,
/// `ESchemeOp_DEPRECATED_35`.
fn capitals_length(text: &str) -> usize {
    if text.starts_with("ESchemeOp") {
        return token_length(text);
    }
    let is_name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b' ' | b'_' | b'-');
    text.bytes().take_while(is_name).count()
}

fn token_length(text: &str) -> usize {
    text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
}

impl<'a> Operation<'a> {
    /// Reads `, operation: NAME` and the fields after it. `path` is the request's path: if the text has it, it is taken
    /// whole, even where it contains labels. Also returns whether only one reading was possible.
    fn read(text: &'a str, path: Option<&Path<'_>>) -> (Self, bool) {
        let text = &text[OPERATION.len()..];
        let (name, mut rest) = text.split_at(name_length(text));
        let mut operation = Self { name, ..Self::default() };
        let mut is_clear = true;
        let mut rank = 0;
        while let Some((label, length)) = label(rest, rank) {
            rest = &rest[length..];
            rank = label.rank();
            let mut end = if label == Label::NoPath { 0 } else { next_label(rest, rank) };
            if label == Label::Path
                && let Some(whole) = path.and_then(|path| whole_path(rest, path)).filter(|whole| *whole != end)
            {
                (end, is_clear) = (whole, false);
            }
            let value = &rest[..end];
            rest = &rest[end..];
            match label {
                Label::Path => operation.paths.push(value),
                Label::SrcPath => operation.src_paths.push(value),
                Label::DstPath => operation.dst_paths.push(value),
                Label::NoPath => operation.has_no_path = true,
                Label::Owner => operation.owner = Some(value.strip_prefix(' ').unwrap_or(value)),
                Label::Added => operation.added.push(value),
                Label::Removed => operation.removed.push(value),
            }
        }
        // Unknown fields, or the rest of a name with an unusual spelling.
        if !rest.is_empty() {
            operation.rest = Some(rest.strip_prefix(", ").unwrap_or(rest));
        }
        (operation, is_clear)
    }

    /// Removes from the last field what begins like a request there, and returns it.
    fn take_unread(&mut self) -> Option<Proto<'a>> {
        let single = [self.owner.as_mut(), self.rest.as_mut()];
        let lists = [&mut self.paths, &mut self.src_paths, &mut self.dst_paths, &mut self.added, &mut self.removed];
        let values = single.into_iter().flatten().chain(lists.into_iter().filter_map(|list| list.last_mut()));
        // The last field is the one at the highest address.
        let last = values.max_by_key(|value| value.as_ptr())?;
        let at = FIND_REQUEST.find(last.as_bytes())?;
        let (value, request) = last.split_at(at);
        *last = value;
        Some(Proto::unread(&request[REQUEST.len()..]))
    }

    /// Whether the operation at the beginning of `text` has a path or says that it has none.
    fn has_place(text: &str) -> bool {
        let text = &text[OPERATION.len()..];
        label(&text[name_length(text)..], 0).is_some_and(|(label, _)| label.rank() == 0)
    }

    /// Whether the operation at the beginning of `text` has exactly that path, up to the end or a later field.
    fn is_of_path(text: &str, path: &Path<'_>) -> bool {
        let text = &text[OPERATION.len()..];
        let rest = &text[name_length(text)..];
        rest.strip_prefix(", path: ").is_some_and(|rest| whole_path(rest, path).is_some())
    }
}

/// Length in bytes of the path at the beginning of `text`, if it is the request's path.
fn whole_path(text: &str, path: &Path<'_>) -> Option<usize> {
    let rest = path.strip_from(text)?;
    (rest.is_empty() || label(rest, 1).is_some()).then(|| text.len() - rest.len())
}
