//! Writes an event as OCSF, one JSON object with `time` first: version 1.8.0, or an older one derived from it.

mod form;

pub(crate) mod objects;

mod observables;

mod places;

mod projection;

mod shape;

mod version;

use crate::event::class::OTHER;
use crate::event::id::hyphenated;
use crate::event::members::{close, int, text, texts};
use crate::event::value::write_int;
use crate::event::{Activity, Class, Event, HttpRequest, Options, Seen, Status, Text, any_says_something, moment};
use crate::records::escaped::write_escaped;

use places::Attributes;
use version::Schema;

/// The label of an event that lacks what the class of the mapping requires.
pub(crate) const CLASS_FALLBACK: &str = "class_fallback";

/// The values of `http_request.http_method`.
const HTTP_METHODS: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// The usual size of an event in bytes, on top of three times its record.
const USUAL_BYTES: usize = 1024;

/// The first size of the buffer for an event that is to be converted, in bytes. Most events are smaller.
const WHOLE_BYTES: usize = 4096;

/// Whether the event has what its class requires, besides what every event has.
pub(crate) fn fits(class: Class, event: &Event<'_>) -> bool {
    let target = &event.target;
    let has_user = target.user.as_ref().is_some_and(|user| user.is_known());
    let has_group = target.group.as_ref().is_some_and(|group| group.is_known());
    let has_service = target.service.as_ref().is_some_and(Text::says_something);
    let has_privileges = !target.privileges.is_empty();
    match class {
        Class::BaseEvent | Class::ApiActivity => true,
        Class::AccountChange => has_user,
        Class::Authentication => has_user && (has_service || event.dst.as_ref().is_some_and(|dst| dst.is_known())),
        Class::AuthorizeSession => has_user && has_privileges != has_group,
        Class::EntityManagement => target.entity.as_ref().is_some_and(|entity| entity.is_known()),
        Class::UserAccess => has_user && has_privileges,
        Class::GroupManagement => has_group,
        Class::HttpActivity => event.http_response.is_some() || event.http_request.is_known(),
        Class::DatastoreActivity => {
            target.database.as_ref().is_some_and(|database| database.is_known())
                || target.table.as_ref().is_some_and(|table| table.is_known())
                || target.databucket.as_ref().is_some_and(|bucket| bucket.is_known())
        }
    }
}

/// Appends the event, without a line end. Returns the class it is written in.
pub(crate) fn write(out: &mut Vec<u8>, event: &Event<'_>, seen: &Seen<'_>, options: Options) -> Class {
    let fell_back = !fits(event.activity.class, event);
    let activity = if fell_back { event.activity.as_api_activity() } else { event.activity };
    out.reserve(seen.record.len() * 3 + USUAL_BYTES);
    let written = Written { event, seen, options, activity, fell_back };
    match Schema::of(options.ocsf_version) {
        None => written.write(out),
        Some(schema) => written.write_older(out, schema),
    }
}

/// An event, and how it is to be written.
struct Written<'w, 'a> {
    event: &'w Event<'a>,
    seen: &'w Seen<'a>,
    options: Options,
    activity: &'static Activity,
    fell_back: bool,
}

impl Written<'_, '_> {
    fn write(&self, out: &mut Vec<u8>) -> Class {
        out.push(b'{');
        self.write_members(out);
        places::write_unmapped(out, self.event, self.seen, Attributes::of(self.activity.class), &[]);
        self.write_raw_data(out);
        close(out, b'}');
        self.activity.class
    }

    /// Writes the event as 1.8.0 first and then converts that, so that every attribute that the older version lacks is
    /// known by its name.
    fn write_older(&self, out: &mut Vec<u8>, schema: &'static Schema) -> Class {
        let mut whole = Vec::with_capacity(WHOLE_BYTES);
        whole.push(b'{');
        self.write_members(&mut whole);
        self.write_raw_data(&mut whole);
        close(&mut whole, b'}');
        let whole = String::from_utf8_lossy(&whole);
        match projection::project(out, &whole, schema, self.event, self.activity) {
            Ok((class, moved)) => {
                places::write_unmapped(out, self.event, self.seen, Attributes::of(self.activity.class), &moved);
                close(out, b'}');
                class
            }
            // Every version has API Activity, and all that it requires is always written.
            Err(_) if self.activity.class != Class::ApiActivity => {
                Self { activity: self.activity.as_api_activity(), fell_back: true, ..*self }.write_older(out, schema)
            }
            Err(_) => self.write(out),
        }
    }

    /// Writes all members but `unmapped` and `raw_data`, each followed by a comma.
    fn write_members(&self, out: &mut Vec<u8>) {
        let Self { event, seen, options, activity, fell_back } = *self;
        out.extend_from_slice(b"\"time\":");
        write_int(out, event.time_ms);
        out.extend_from_slice(b",\"time_dt\":\"");
        moment::write(out, event.time_ms);
        out.extend_from_slice(b"\",");
        write_activity(out, event, activity);
        write_status(out, event, seen);
        text(out, "\"message\":", event.message.as_ref());
        int(out, "\"start_time\":", event.start_time_ms);
        int(out, "\"end_time\":", event.end_time_ms);
        int(out, "\"duration\":", event.duration_ms);
        write_metadata(out, event, seen, options, fell_back);
        let attributes = Attributes::of(activity.class);
        places::write_parties(out, event, attributes);
        places::write_request(out, event, attributes);
        places::write_target(out, event, attributes);
        if options.observables {
            observables::write_observables(out, event);
        }
    }

    fn write_raw_data(&self, out: &mut Vec<u8>) {
        if self.options.raw_data
            && let Some(record) = self.seen.raw_record()
        {
            write_raw_data(out, record, self.event);
        }
    }
}

fn write_activity(out: &mut Vec<u8>, event: &Event<'_>, activity: &Activity) {
    out.extend_from_slice(activity.members.as_bytes());
    if activity.id == OTHER {
        let caption = event.caption.as_ref().unwrap_or(&event.action);
        out.extend_from_slice(b"\"activity_name\":");
        if caption.says_something() {
            caption.write(out);
        } else {
            out.extend_from_slice(b"\"Other\"");
        }
        out.push(b',');
    }
}

fn write_status(out: &mut Vec<u8>, event: &Event<'_>, seen: &Seen<'_>) {
    out.extend_from_slice(match event.status {
        Status::Unknown => b"\"status_id\":0,\"status\":\"Unknown\",".as_slice(),
        Status::Success => b"\"status_id\":1,\"status\":\"Success\",".as_slice(),
        Status::Failure => b"\"status_id\":2,\"status\":\"Failure\",".as_slice(),
    });
    text(out, "\"status_code\":", event.status_code.as_ref());
    text(out, "\"status_detail\":", seen.shared_text(&event.status_detail));
}

fn write_metadata(out: &mut Vec<u8>, event: &Event<'_>, seen: &Seen<'_>, options: Options, fell_back: bool) {
    let metadata = &event.metadata;
    out.extend_from_slice(b"\"metadata\":{\"version\":\"1.8.0\",\"uid\":\"");
    out.extend_from_slice(&hyphenated(&seen.id));
    out.extend_from_slice(b"\",\"product\":{\"name\":\"");
    out.extend_from_slice(event.product.name.as_bytes());
    out.extend_from_slice(b"\",\"vendor_name\":\"");
    out.extend_from_slice(event.product.vendor.as_bytes());
    out.extend_from_slice(b"\",");
    if let Some(feature) = &metadata.feature {
        out.extend_from_slice(b"\"feature\":{\"name\":");
        feature.write(out);
        out.extend_from_slice(b"},");
    }
    close(out, b'}');
    out.extend_from_slice(b",\"profiles\":");
    out.extend_from_slice(if event.cloud.is_some() { b"[\"cloud\",\"datetime\"]" } else { b"[\"datetime\"]" });
    out.push(b',');
    text(out, "\"original_event_uid\":", metadata.original_uid.as_ref());
    text(out, "\"correlation_uid\":", metadata.correlation_uid.as_ref());
    text(out, "\"event_code\":", metadata.event_code.as_ref());
    text(out, "\"tenant_uid\":", metadata.tenant_uid.as_ref());
    text(out, "\"original_time\":", metadata.original_time.as_ref());
    text(out, "\"log_version\":", metadata.log_version.as_ref());
    text(out, "\"log_level\":", metadata.log_level.as_ref());
    out.extend_from_slice(b"\"log_name\":\"");
    out.extend_from_slice(event.product.log_name.as_bytes());
    out.extend_from_slice(b"\",\"log_provider\":\"");
    out.extend_from_slice(event.product.name.as_bytes());
    out.extend_from_slice(b"\",\"log_source\":\"");
    out.extend_from_slice(seen.origin.source.as_bytes());
    out.extend_from_slice(b"\",");
    int(out, "\"logged_time\":", seen.origin.last_modified_ms.and_then(moment::plausible));
    int(out, "\"sequence\":", metadata.sequence.map(i64::from));
    if metadata.is_truncated {
        out.extend_from_slice(b"\"is_truncated\":true,");
    }
    if options.labels {
        write_labels(out, event, fell_back);
    }
    close(out, b'}');
    out.push(b',');
}

fn write_labels(out: &mut Vec<u8>, event: &Event<'_>, fell_back: bool) {
    let labels: Vec<Text<'_>> = labels(event, fell_back).map(Text::from).collect();
    texts(out, "\"labels\":", &labels);
}

/// The labels that say how the event came about.
pub(crate) fn labels(event: &Event<'_>, fell_back: bool) -> impl Iterator<Item = &'static str> {
    let is_told = event.src.as_ref().is_some_and(|src| !src.via.is_empty());
    let conditional = [
        (event.metadata.time_inferred, "time_inferred"),
        (fell_back, CLASS_FALLBACK),
        // A client can claim any address to the first proxy.
        (is_told, "claimed_address"),
    ];
    let holding = conditional.into_iter().filter(|(holds, _)| *holds).map(|(_, label)| label);
    holding.chain(event.metadata.labels.iter().copied())
}

/// Writes the record as text, secrets masked. Invalid UTF-8 becomes U+FFFD.
fn write_raw_data(out: &mut Vec<u8>, record: &[u8], event: &Event<'_>) {
    let shown = event.shown(record);
    let shown = String::from_utf8_lossy(&shown);
    out.extend_from_slice(b"\"raw_data\":\"");
    write_escaped(out, &shown);
    out.extend_from_slice(b"\",");
    int(out, "\"raw_data_size\":", i64::try_from(shown.len()).ok());
}

impl HttpRequest<'_> {
    /// Whether there is anything to write.
    pub(crate) fn is_known(&self) -> bool {
        self.known_method().is_some()
            || any_says_something([&self.url, &self.path, &self.user_agent, &self.referrer, &self.version])
    }

    /// The method as OCSF spells it. `None` if it is none of OCSF's.
    pub fn known_method(&self) -> Option<&'static str> {
        let method = self.method.as_ref()?.plain();
        HTTP_METHODS.into_iter().find(|known| known.eq_ignore_ascii_case(&method))
    }
}
