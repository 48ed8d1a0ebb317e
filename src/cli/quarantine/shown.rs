//! Prints entries of the quarantine, as text for people or as one JSON object a line.

use std::io::{self, Read as _, Write as _};

use serde_json::{Value, json};

use crate::checkpoint::{Entry, Inspection, Kind};
use crate::cli::quarantine::{Fault, Filter, Form, Where, look};
use crate::visible::visible;

/// How many inflated bytes of a body are printed. `--body` prints the whole body.
const SHOWN_BYTES_MAX: u64 = 64 << 10;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    place: Where,
    /// List at most this many entries, the newest ones.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ShowArgs {
    #[command(flatten)]
    place: Where,
    /// Write only the body, unchanged.
    #[arg(long)]
    body: bool,
    /// The entry's number in the list.
    id: u64,
}

/// Lists entries, and prints to standard error how many more there are.
pub(super) fn list(args: &ListArgs) -> Result<(), Fault> {
    let (entries, all) = look(&args.place)?.newest(&args.filter.selection(), args.limit)?;
    write_list(&entries, all, args.place.output, line, as_json, "nothing is in quarantine that fits")
}

/// Writes the items, newest last. Prints to standard error how many of `all` are not listed, or the message `none` if
/// there are no items.
pub(super) fn write_list<T>(
    items: &[T],
    all: u64,
    form: Form,
    line: impl Fn(&T) -> String,
    as_json: impl Fn(&T) -> Value,
    none: &str,
) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    for item in items {
        let line = match form {
            Form::Text => line(item),
            Form::Json => as_json(item).to_string(),
        };
        writeln!(out, "{line}").map_err(Fault::Write)?;
    }
    out.flush().map_err(Fault::Write)?;
    match all - (items.len() as u64).min(all) {
        0 if all == 0 && form == Form::Text => eprintln!("{none}"),
        0 => {}
        more => eprintln!("{more} older ones are not shown; --limit shows more"),
    }
    Ok(())
}

/// Prints all of one entry.
pub(super) fn show(args: &ShowArgs) -> Result<(), Fault> {
    let quarantine = look(&args.place)?;
    let entry = quarantine.entry(args.id)?.ok_or_else(|| Fault::NotThere(vec![args.id]))?;
    let mut out = io::stdout().lock();
    if args.body {
        let body = quarantine.body(args.id)?.ok_or(Fault::NoBody)?;
        let mut inflated = zstd::Decoder::new(&body[..]).map_err(Fault::Body)?;
        io::copy(&mut inflated, &mut out).map_err(Fault::Write)?;
        return out.flush().map_err(Fault::Write);
    }
    let body = beginning(&quarantine, args.id)?;
    match args.place.output {
        Form::Text => out.write_all(page(&entry, body.as_ref()).as_bytes()),
        Form::Json => {
            let mut value = as_json(&entry);
            if let Some(body) = &body {
                match std::str::from_utf8(&body.bytes) {
                    Ok(text) => value["body"] = json!(text),
                    Err(_) => value["body_base64"] = json!(aws_smithy_types::base64::encode(&body.bytes)),
                }
                value["body_is_cut"] = json!(body.is_cut);
            }
            writeln!(out, "{value}")
        }
    }
    .and_then(|()| out.flush())
    .map_err(Fault::Write)
}

/// Prints what was done to how many entries.
pub(in crate::cli::quarantine) fn told(form: Form, what: &str, count: u64) -> Result<(), Fault> {
    let mut out = io::stdout().lock();
    match form {
        Form::Text if what == "requeued" && count > 0 => {
            writeln!(out, "{what} {count}: tried again by the running daemon within seconds, or when one is started")
        }
        Form::Text => writeln!(out, "{what} {count}"),
        Form::Json => writeln!(out, "{}", json!({ what: count })),
    }
    .map_err(Fault::Write)
}

/// The part of a body that is printed.
struct Beginning {
    bytes: Vec<u8>,
    is_cut: bool,
}

fn beginning(quarantine: &Inspection, id: u64) -> Result<Option<Beginning>, Fault> {
    let Some(body) = quarantine.body(id)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let inflated = zstd::Decoder::new(&body[..]).map_err(Fault::Body)?;
    inflated.take(SHOWN_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Fault::Body)?;
    let is_cut = bytes.len() as u64 > SHOWN_BYTES_MAX;
    bytes.truncate(SHOWN_BYTES_MAX as usize);
    if is_cut && let Err(error) = std::str::from_utf8(&bytes) {
        // A character that the cut would split is left out whole.
        let whole = error.valid_up_to();
        bytes.truncate(if error.error_len().is_none() { whole } else { bytes.len() });
    }
    Ok(Some(Beginning { bytes, is_cut }))
}

fn as_json(entry: &Entry) -> Value {
    let source = if entry.kind == Kind::Message { "queue" } else { "feed" };
    json!({
        "id": entry.id,
        "at": at(entry),
        "kind": entry.kind.name(),
        source: entry.feed,
        "object": entry.object.as_ref().map(ToString::to_string),
        "etag": entry.etag,
        "further": entry.further,
        "ordinal": entry.ordinal,
        "offset": entry.offset,
        "sink": entry.sink,
        "place": entry.place,
        "event": entry.event_index,
        "uid": entry.uid.map(|uid| uid.to_string()),
        "reason": entry.reason,
        "body_zstd_bytes": entry.body_zstd_bytes,
        "can_requeue": entry.can_requeue,
        "requeued": entry.is_requeued,
        "delivered_to": entry.had,
    })
}

fn at(entry: &Entry) -> String {
    jiff::Timestamp::from_millisecond(entry.at_ms).map(|at| at.to_string()).unwrap_or_default()
}

/// One line of the list.
fn line(entry: &Entry) -> String {
    let requeued = if entry.is_requeued { " (requeued)" } else { "" };
    let place = place(entry).map(|place| format!("  {place}")).unwrap_or_default();
    let sink = entry.sink.as_deref().map(|sink| format!(" -> {}", visible(sink.chars()))).unwrap_or_default();
    let (id, kind, at) = (entry.id, entry.kind.name(), at(entry));
    format!(
        "{id}  {at}  {kind}  {}{sink}{place}  {}{requeued}",
        visible(entry.feed.chars()),
        visible(entry.reason.chars())
    )
}

/// The coordinates of a record, object or event; for an entry that stands for many, their number.
fn place(entry: &Entry) -> Option<String> {
    let object = entry.object.as_ref().map(|object| visible(object.to_string().chars()));
    let of_object = object.as_deref().map(|object| format!("{object} ")).unwrap_or_default();
    if let (None, Some(place), Some(index)) = (entry.further, entry.place, entry.event_index) {
        return Some(format!("{of_object}event {index} of accepted record {place}"));
    }
    match (entry.further, entry.ordinal, entry.offset) {
        (Some(further), Some(ordinal), Some(offset)) => {
            Some(format!("{of_object}{} from record {ordinal} at byte {offset} on", counted(further, entry.kind)))
        }
        (Some(further), ..) if entry.kind == Kind::Event && object.is_some() => {
            Some(format!("{of_object}events of {}", counted(further, Kind::Record)))
        }
        (Some(further), ..) => Some(format!("{of_object}{}, counted and not kept", counted(further, entry.kind))),
        (None, Some(ordinal), Some(offset)) => Some(format!("{of_object}record {ordinal} at byte {offset}")),
        (None, ..) => object,
    }
}

/// For example `7 further records`.
fn counted(further: u64, kind: Kind) -> String {
    format!("{further} further {}{}", kind.name(), if further == 1 { "" } else { "s" })
}

/// Explains an entry that stands for many records or events, and what the operator can do about it; `None` for other
/// entries.
fn stands_for(entry: &Entry) -> Option<String> {
    let further = counted(entry.further?, entry.kind);
    Some(match entry.object {
        Some(_) if entry.kind == Kind::Event => format!(
            "events of {} of the object, past limits.quarantine_entries_per_object or quarantine_entries_max; \
             requeue reads the object again and sends all events of each of them",
            counted(entry.further?, Kind::Record)
        ),
        Some(_) => format!(
            "{further} of the object, past limits.quarantine_entries_per_object or quarantine_entries_max; \
             requeue reads the object again and tries each of them"
        ),
        None => format!("{further} past limits.quarantine_entries_max; nothing else is known of them"),
    })
}

/// All of one entry as text.
fn page(entry: &Entry, body: Option<&Beginning>) -> String {
    let source = if entry.kind == Kind::Message { "queue" } else { "feed" };
    let mut lines = vec![
        ("id", entry.id.to_string()),
        ("since", at(entry)),
        ("kind", entry.kind.name().to_owned()),
        (source, visible(entry.feed.chars())),
    ];
    lines.extend(entry.sink.as_deref().map(|sink| ("sink", visible(sink.chars()))));
    lines.extend(place(entry).map(|place| ("place", place)));
    lines.extend(entry.uid.map(|uid| ("uid", uid.to_string())));
    lines.extend(entry.etag.as_deref().map(|etag| ("etag", visible(etag.chars()))));
    lines.extend(stands_for(entry).map(|what| ("for", what)));
    lines.push(("reason", visible(entry.reason.chars())));
    let requeue = match (entry.is_requeued, entry.can_requeue) {
        (true, _) if !entry.had.is_empty() => {
            format!("under way; delivered to {}", visible(entry.had.join(", ").chars()))
        }
        (true, _) => "under way".to_owned(),
        (false, true) => "possible".to_owned(),
        (false, false) => "not possible: what that takes was not kept".to_owned(),
    };
    lines.push(("requeue", requeue));
    let body_line = match (entry.body_zstd_bytes, body) {
        (Some(bytes), Some(Beginning { is_cut: true, .. })) => {
            format!("{bytes} bytes compressed; its beginning follows, --body writes all of it")
        }
        (Some(bytes), _) => format!("{bytes} bytes compressed; it follows"),
        (None, _) if entry.further.is_some() && entry.object.is_some() => "not kept: the object holds them".to_owned(),
        (None, _) => "not kept".to_owned(),
    };
    lines.push(("body", body_line));
    let mut page: String = lines.iter().map(|(name, value)| format!("{name:<8} {value}\n")).collect();
    if let Some(body) = body {
        page.push('\n');
        let text = String::from_utf8_lossy(&body.bytes);
        page.extend(text.split_inclusive('\n').map(|line| match line.strip_suffix('\n') {
            Some(line) => format!("{}\n", visible(line.chars())),
            None => format!("{}\n", visible(line.chars())),
        }));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::notification::ObjectId;

    fn event() -> Entry {
        Entry {
            id: 7,
            at_ms: 0,
            feed: "dbx".to_owned(),
            kind: Kind::Event,
            object: Some(ObjectId::new("logs", "a.json")),
            etag: Some("e1".to_owned()),
            further: None,
            ordinal: None,
            place: Some(17),
            sink: Some("siem\u{1b}".to_owned()),
            event_index: Some(1),
            uid: Some(EventId([0xab; 16])),
            offset: None,
            reason: "mapping: no such field".to_owned(),
            body_zstd_bytes: Some(9),
            is_requeued: false,
            can_requeue: true,
            had: Vec::new(),
        }
    }

    #[test]
    fn an_event_is_shown_with_its_sink_its_identity_and_its_place() {
        let expected = "7  1970-01-01T00:00:00Z  event  dbx -> siem\\u{1b}  s3://logs/a.json event 1 of accepted record 17  mapping: no such field";
        assert_eq!(line(&event()), expected);
        let body = Beginning { bytes: b"{\"a\":1}".to_vec(), is_cut: false };
        let page = page(&event(), Some(&body));
        for expected in [
            "sink     siem\\u{1b}\n",
            "place    s3://logs/a.json event 1 of accepted record 17\n",
            "uid      abababab-abab-abab-abab-abababababab\n",
            "\n{\"a\":1}\n",
        ] {
            assert!(page.contains(expected), "{page}");
        }
        let shown = as_json(&event());
        assert_eq!((&shown["sink"], &shown["event"], &shown["place"]), (&json!("siem\u{1b}"), &json!(1), &json!(17)));
        assert_eq!(shown["uid"], "abababab-abab-abab-abab-abababababab");
        let further = Entry { further: Some(3), place: None, event_index: None, uid: None, ..event() };
        assert!(line(&further).contains("s3://logs/a.json events of 3 further records"), "{}", line(&further));
    }
}
