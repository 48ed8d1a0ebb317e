//! lakeFS audit logs: rows of Parquet files that lakeFS Cloud delivers once, or the lines that a server of one's own writes.

mod path;

mod targets;

use std::borrow::Cow;

use crate::delta::Growth;
use crate::event::Activity;
use crate::event::Actor;
use crate::event::Api;
use crate::event::Class;
use crate::event::Cloud;
use crate::event::Endpoint;
use crate::event::Event;
use crate::event::Fault;
use crate::event::Fields;
use crate::event::HttpRequest;
use crate::event::HttpResponse;
use crate::event::Json;
use crate::event::Mask;
use crate::event::Members;
use crate::event::Metadata;
use crate::event::Product;
use crate::event::Reader;
use crate::event::Secrets;
use crate::event::Status;
use crate::event::Text;
use crate::event::User;
use crate::event::mend_surrogates;
use crate::event::moment;
use crate::family::Context;
use crate::family::Family;
use crate::family::Partitions;
use crate::family::Refusal;
use crate::family::lakefs::path::RequestPath;
use crate::family::lakefs::path::secrets_in;
use crate::family::lakefs::targets::Source;
use crate::family::lakefs::targets::user_of;
use crate::records::Framing;
use crate::records::LineRole;
use crate::records::Record;

pub(super) const FAMILY: Family = Family {
    name: "lakefs",
    growth: Growth::Once,
    framing: Framing::Rows(role),
    // `etl/v1/data/region=<r>/organization=org-<o>/year=<YY>/month=<MM>/day=<DD>/hour=<HH>/<name>-snappy.parquet`.
    keys: &["**/*.parquet"],
    decode,
    parsed,
};

const PRODUCT: Product = Product { name: "lakeFS", vendor: "Treeverse", log_name: "lakefs.audit" };

/// The fields that are known, as a server writes them. lakeFS Cloud calls each `data_` and so.
const NAMES: [&str; 17] = [
    "user",
    "repository",
    "ref",
    "status_code",
    "service_name",
    "request_id",
    "path",
    "operation_id",
    "method",
    "time",
    "client",
    "host",
    "source_ip",
    "sent_bytes",
    "took",
    "msg",
    "level",
];

const CLOUD_PREFIX: &str = "data_";

/// A server's log holds other lines than the audit log's: those have no `log_audit`. What begins as Parquet, but comes as
/// lines since it was packed once more, must be refused and not passed over.
fn role(line: &[u8], _open: bool) -> LineRole {
    let is_audit = |name: &[u8]| {
        let rest = memchr::memmem::find(line, name).map(|at| line[at + name.len()..].trim_ascii_start());
        let value = rest.and_then(|rest| rest.strip_prefix(b":")).map(<[u8]>::trim_ascii_start);
        value.is_some_and(|value| value.starts_with(b"true") || value.starts_with(b"\"true\""))
    };
    let of_cloud = || memchr::memmem::find(line, b"\"data_operation_id\"").is_some();
    if is_audit(b"\"log_audit\"") || of_cloud() || line.starts_with(b"PAR1") {
        LineRole::Record
    } else {
        LineRole::Other
    }
}

fn decode(context: &Context<'_>, record: &Record<'_>, emit: &mut dyn FnMut(&Event<'_>)) -> Result<(), Refusal> {
    let text = whole_text(record)?;
    match read(text) {
        Ok(line) => line.emit(context, text, emit),
        Err(Fault::HalfSurrogate(_)) => {
            let mended = mend_surrogates(text);
            read(&mended).map_err(refusal)?.emit(context, &mended, emit)
        }
        Err(fault) => Err(refusal(fault)),
    }
}

fn parsed(_: &Context<'_>, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut text = Cow::Borrowed(whole_text(record)?);
    if let Err(Fault::HalfSurrogate(_)) = read(&text) {
        text = Cow::Owned(mend_surrogates(&text));
    }
    let line = read(&text).map_err(refusal)?;
    let number = match line.get(Name::Time) {
        Some(Json::Number(digits)) => of_number(digits).map(|ms| (offset_in(&text, digits), digits.len(), ms)),
        _ => None,
    };
    match number.and_then(|(at, length, ms)| Some((at, length, jiff::Timestamp::from_millisecond(ms).ok()?))) {
        Some((at, length, time)) => {
            out.extend_from_slice(text[..at].trim_start().as_bytes());
            out.extend_from_slice(format!("\"{time}\"").as_bytes());
            out.extend_from_slice(text[at + length..].trim_end().as_bytes());
        }
        None => out.extend_from_slice(text.trim().as_bytes()),
    }
    Ok(())
}

fn whole_text<'a>(record: &Record<'a>) -> Result<&'a str, Refusal> {
    record.text.ok_or(Refusal::new("the record is no UTF-8"))
}

fn refusal(fault: Fault) -> Refusal {
    Refusal::new(fault.to_string())
}

/// The places of [`NAMES`].
#[derive(Clone, Copy)]
enum Name {
    User,
    Repository,
    Ref,
    StatusCode,
    ServiceName,
    RequestId,
    Path,
    OperationId,
    Method,
    Time,
    Client,
    Host,
    SourceIp,
    SentBytes,
    Took,
    Msg,
    Level,
}

/// One record.
#[derive(Debug, Default)]
struct Line<'a> {
    known: [Option<Json<'a>>; NAMES.len()],
    /// Whether the fields are called as lakeFS Cloud calls them.
    is_cloud: bool,
    others: Fields<'a>,
}

fn read(text: &str) -> Result<Line<'_>, Fault> {
    let mut line = Line::default();
    let mut hosted = [None; NAMES.len()];
    let mut reader = Reader::new(text);
    reader.object(|reader, key| {
        let value = reader.value()?;
        if let Some(place) = key.strip_prefix(CLOUD_PREFIX).and_then(place) {
            line.known[place] = Some(value);
            line.is_cloud = true;
        } else if let Some(place) = place(&key) {
            hosted[place] = Some(value);
        } else {
            line.others.insert(key, value);
        }
        Ok(())
    })?;
    reader.end()?;
    if line.is_cloud {
        // Another pipeline's column of the same name is not the record's.
        for (name, value) in NAMES.into_iter().zip(hosted) {
            if let Some(value) = value {
                line.others.insert(Cow::Borrowed(name), value);
            }
        }
    } else {
        line.known = hosted;
    }
    Ok(line)
}

fn place(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

impl<'a> Line<'a> {
    fn get(&self, name: Name) -> Option<Json<'a>> {
        self.known[name as usize]
    }

    fn said(&self, name: Name) -> Option<Text<'a>> {
        self.get(name).and_then(Json::text)
    }

    /// The field's text; it counts as mapped, and so does null.
    fn map(&mut self, name: Name) -> Option<Text<'a>> {
        let value = self.get(name)?;
        let text = value.text();
        if text.is_some() || value == Json::Null {
            self.known[name as usize] = None;
        }
        text
    }

    /// Makes the record's event and hands it on. `text` is the record.
    fn emit(
        mut self,
        context: &'a Context<'_>,
        text: &'a str,
        emit: &mut dyn FnMut(&Event<'_>),
    ) -> Result<(), Refusal> {
        let (time_ms, time_inferred) = self.time(context)?;
        let service = self.service();
        let operation = self.map(Name::OperationId).unwrap_or(Text::from("unknown"));
        let code = targets::code(&service, &operation.plain());
        let mut event = Event::new(PRODUCT, Activity::of(Class::ApiActivity, 0), operation, time_ms);
        let partitions = &context.partitions;
        event.metadata = Metadata {
            original_uid: self.said(Name::RequestId),
            correlation_uid: self.said(Name::RequestId),
            feature: self.said(Name::ServiceName),
            tenant_uid: organization(partitions),
            log_level: self.map(Name::Level),
            original_time: self.said(Name::Time),
            time_inferred,
            ..Metadata::default()
        };
        if !time_inferred {
            self.map(Name::Time);
        }
        event.message = self.map(Name::Msg);
        event.api =
            Api { service: self.map(Name::ServiceName), request_uid: self.map(Name::RequestId), ..Api::default() };
        let user = self.map(Name::User);
        event.actor = Actor { user: user.clone().map_or_else(User::default, user_of), ..Actor::default() };
        event.src = self.map(Name::SourceIp).and_then(Endpoint::of_address);
        event.cloud = partitions.value("region").map(|region| Cloud {
            provider: "AWS",
            region: Some(Text::from(region)),
            account: None,
        });
        self.answer(&mut event);
        self.duration(&mut event);
        self.request(&mut event, text, &code, user);
        event.metadata.event_code = Some(Text::from(code));
        let mut secrets = Secrets::of(text);
        event.unmapped = self.unmapped(&mut secrets);
        event.metadata.is_truncated = secrets.truncated;
        event.masks.append(&mut secrets.masks);
        emit(&event);
        Ok(())
    }

    /// Which of the two servers answered: the record says it, or its path does.
    fn service(&self) -> Cow<'a, str> {
        match self.get(Name::ServiceName) {
            Some(Json::String(inside)) if !inside.is_empty() => unescaped(inside),
            _ => match self.get(Name::Path) {
                Some(Json::String(inside)) if !inside.starts_with("/api/") => Cow::Borrowed("s3_gateway"),
                _ => Cow::Borrowed("rest_api"),
            },
        }
    }

    /// The record's time; or else the object's, or the hour in its key, and that it was inferred.
    fn time(&self, context: &Context<'_>) -> Result<(i64, bool), Refusal> {
        let of_record = match self.get(Name::Time) {
            Some(Json::Number(digits)) => of_number(digits),
            Some(other) => moment::of_json(other),
            None => None,
        };
        if let Some(time_ms) = of_record {
            return Ok((time_ms, false));
        }
        let of_object = context.last_modified_ms.and_then(moment::plausible);
        let inferred = of_object.or_else(|| hour(&context.partitions));
        inferred.map(|time_ms| (time_ms, true)).ok_or(Refusal::new("neither the record nor its object has a time"))
    }

    fn answer(&mut self, event: &mut Event<'a>) {
        let code = self.get(Name::StatusCode).and_then(Json::integer);
        event.status = match code {
            None | Some(..100) => Status::Unknown,
            Some(..400) => Status::Success,
            Some(_) => Status::Failure,
        };
        event.status_code = self.map(Name::StatusCode);
        let code = code.and_then(|code| i32::try_from(code).ok()).filter(|code| *code >= 100);
        event.api.response_code = code;
        let Some(code) = code else { return };
        // OCSF has 32 bits for the length; a longer one stays as the source's own field.
        let sent = self.get(Name::SentBytes).and_then(Json::integer).filter(|sent| i32::try_from(*sent).is_ok());
        let body_length = sent.and_then(|sent| u64::try_from(sent).ok());
        if body_length.is_some() {
            self.map(Name::SentBytes);
        }
        event.http_response = Some(HttpResponse { code, body_length, latency_ms: None, content_type: None });
    }

    /// How long the request took, in nanoseconds; these stay as the source's own field.
    fn duration(&self, event: &mut Event<'a>) {
        let Some(took) = self.get(Name::Took).and_then(Json::integer).filter(|took| *took >= 0) else { return };
        let duration_ms = took / 1_000_000;
        if i32::try_from(duration_ms).is_err() {
            return;
        }
        event.duration_ms = Some(duration_ms);
        // A server writes its line when the request is over. What lakeFS Cloud makes of it is documented as the start.
        if !self.is_cloud && !event.metadata.time_inferred {
            event.start_time_ms = moment::plausible(event.time_ms - duration_ms);
            event.end_time_ms = Some(event.time_ms);
        }
    }

    /// The request, and what it was done to.
    fn request(&mut self, event: &mut Event<'a>, text: &'a str, code: &str, user: Option<Text<'a>>) {
        let logged = self.get(Name::Path);
        let path = match logged {
            Some(Json::String(inside)) if !inside.is_empty() => {
                let masked = masked(inside, text, &mut event.masks);
                Some(RequestPath::new(masked))
            }
            _ => None,
        };
        event.http_request = HttpRequest {
            method: self.said(Name::Method),
            user_agent: self.map(Name::Client),
            ..HttpRequest::default()
        };
        let method = event.http_request.method.as_ref().map(Text::plain);
        let row = targets::row(code, method.as_deref());
        drop(method);
        let source = Source {
            path: path.as_ref(),
            user,
            repository: self.said(Name::Repository),
            reference: self.said(Name::Ref),
        };
        if let Some(row) = row {
            source.fill(event, row);
        }
        let method_is_known = event.http_request.method.as_ref().is_some_and(|method| is_method(&method.plain()));
        if method_is_known || self.get(Name::Method) == Some(Json::Null) {
            self.map(Name::Method);
        }
        if let Some(bucket) = &event.target.databucket {
            // They are in the event where the path does not name others.
            let is =
                |held: Option<&Text<'a>>, own: Option<Text<'a>>| held.map(Text::plain) == own.as_ref().map(Text::plain);
            let (name, version) = (bucket.name.as_ref(), bucket.version.as_ref());
            let held = (is(name, self.said(Name::Repository)), is(version, self.said(Name::Ref)));
            if held.0 {
                self.map(Name::Repository);
            }
            if held.1 {
                self.map(Name::Ref);
            }
        } else if event
            .target
            .resources
            .iter()
            .any(|one| one.name.is_some() && word_is(one.kind.as_ref(), "repository"))
        {
            let name = event.target.resources[0].name.as_ref().map(|name| name.plain().into_owned());
            if self.said(Name::Repository).is_some_and(|own| Some(&*own.plain()) == name.as_deref()) {
                self.map(Name::Repository);
            }
        }
        let Some(path) = path else {
            self.map(Name::Path);
            return;
        };
        let in_file = event.target.databucket.as_ref().is_some_and(|bucket| bucket.file.is_some());
        if path.is_absolute() {
            event.http_request.path = Some(path.path());
            event.http_request.query = path.query().map(|query| Text::from(query.to_owned()));
            event.http_request.hostname = self.map(Name::Host);
            self.map(Name::Path);
        } else if in_file {
            self.map(Name::Path);
        } else if !event.masks.is_empty() {
            // What is left of it stands among the unmapped, and must not tell what was masked.
            event.http_request.path = Some(path.path());
            self.map(Name::Path);
        }
    }

    fn unmapped(&self, secrets: &mut Secrets<'a>) -> Members<'a> {
        let mut members = Members::with_capacity(self.others.len() + 2);
        for (name, value) in NAMES.into_iter().zip(self.known) {
            let Some(value) = value else { continue };
            // Nothing is said by nothing.
            if matches!(value, Json::Null | Json::String("")) {
                continue;
            }
            let key = if self.is_cloud { Text::from(format!("{CLOUD_PREFIX}{name}")) } else { Text::from(name) };
            members.push((key, secrets.carry(name, value)));
        }
        for field in self.others.unmapped() {
            let value = secrets.carry(&field.key, field.value);
            members.push((field.name(), value));
        }
        members
    }
}

fn word_is(text: Option<&Text<'_>>, word: &str) -> bool {
    text.is_some_and(|text| text.plain() == word)
}

/// OCSF's methods.
fn is_method(method: &str) -> bool {
    matches!(method, "CONNECT" | "DELETE" | "GET" | "HEAD" | "OPTIONS" | "PATCH" | "POST" | "PUT" | "TRACE")
}

/// The path with its secrets masked, and where they stand in the record.
fn masked<'a>(inside: &'a str, record: &str, masks: &mut Vec<Mask>) -> Cow<'a, str> {
    const SHOWN: &str = "***";
    let secrets = secrets_in(inside);
    if secrets.is_empty() {
        return unescaped(inside);
    }
    let at = offset_in(record, inside);
    let mut shown = String::with_capacity(inside.len());
    let mut from = 0;
    for (begin, end) in secrets {
        shown.push_str(&inside[from..begin]);
        shown.push_str(SHOWN);
        from = end;
        masks.push(Mask { at: at + begin..at + end, shown: Cow::Borrowed(SHOWN) });
    }
    shown.push_str(&inside[from..]);
    Cow::Owned(Text::Escaped(&shown).plain().into_owned())
}

/// Where in a text a slice of it begins.
fn offset_in(text: &str, slice: &str) -> usize {
    (slice.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize).min(text.len())
}

fn unescaped(inside: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Cow::Borrowed(inside);
    }
    Cow::Owned(Text::Escaped(inside).plain().into_owned())
}

/// The organization without the `org-` that its name has in the key.
fn organization<'a>(partitions: &'a Partitions) -> Option<Text<'a>> {
    let value = partitions.value("organization")?;
    Some(Text::from(value.strip_prefix("org-").unwrap_or(value)))
}

/// The beginning of the hour that the key names. The documents write years of two digits, and of four.
fn hour(partitions: &Partitions) -> Option<i64> {
    let part = |name: &str| partitions.value(name)?.parse::<i16>().ok();
    let year = part("year").map(|year| if (0..100).contains(&year) { 2000 + year } else { year })?;
    let (month, day) = (i8::try_from(part("month")?).ok()?, i8::try_from(part("day")?).ok()?);
    let hour = part("hour").and_then(|hour| i8::try_from(hour).ok()).unwrap_or(0);
    let civil = jiff::civil::DateTime::new(year, month, day, hour, 0, 0, 0).ok()?;
    moment::plausible(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// A time as a bare number, in seconds, milliseconds, microseconds or nanoseconds by its size.
fn of_number(digits: &str) -> Option<i64> {
    let Ok(number) = digits.parse::<i64>() else { return moment::of_json(Json::Number(digits)) };
    moment::plausible(match number {
        ..100_000_000_000 => number.checked_mul(1000)?,
        ..100_000_000_000_000 => number,
        ..100_000_000_000_000_000 => number / 1000,
        _ => number / 1_000_000,
    })
}
