//! Databricks audit logs: one JSON object a line, in files that are overwritten with more lines.

mod targets;

use std::borrow::Cow;

use crate::delta::Growth;
use crate::event::{
    Activity, Actor, Api, Class, Cloud, Copies, Endpoint, Event, Fault, Fields, HttpRequest, Json, Members, Metadata,
    Product, Reader, Status, Text, User, UserKind, Value, http_status, mend_surrogates, moment,
};
use crate::family::container::{self, Inside};
use crate::family::envelope::{self, Sought};
use crate::family::redaction::{self, Redaction};
use crate::family::refusal::Refusal;
use crate::family::{Context, Family};
use crate::records::{Framing, LineRole, Record};

pub(super) const FAMILY: Family = Family {
    name: "databricks",
    growth: Growth::Overwritten,
    framing: Framing::Lines(|_, _| LineRole::Record),
    // `workspaceId=<id>/date=<day>/auditlogs_<id>.json`, and the legacy `date=<day>/part-<n>.json.gz`.
    keys: &["**/*.json", "**/*.json.gz"],
    example: Some("workspaceId=1234/date=2026-01-15/auditlogs_1234.json"),
    decode,
    parsed,
    redact,
    redactable: redaction::any_path,
    sought: Some(&SOUGHT),
};

/// Databricks writes nothing but records, so no line is excluded as another line of the product.
static SOUGHT: Sought<'static> = Sought::of(is_record, |_| false);

/// The members that identify a record. A line without them is a record if it has a time and names an actor.
const OWN_NAMES: [&str; 2] = ["serviceName", "actionName"];

/// Most records can be identified by this many of their first bytes.
const HEAD_BYTES: usize = 256;

/// Whether a text is, or begins, a record. Its members are read only until one decides.
fn is_record(bytes: &[u8]) -> bool {
    let decides = |head: &[u8]| {
        let mut is_record = false;
        container::peek(head, bytes, |key, _| {
            is_record |= OWN_NAMES.contains(&key);
            is_record
        });
        is_record
    };
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    bytes.trim_ascii_start().first() == Some(&b'{') && (decides(head) || head.len() < bytes.len() && decides(bytes))
}

/// The record without what a runtime or shipper put around it.
fn unwrap<'a>(context: &Context<'_>, record: &Record<'a>) -> Result<Inside<'a>, Refusal> {
    let text = record.text.ok_or(Refusal::new("the record is no UTF-8"))?;
    if is_record(record.bytes) {
        return Ok(Inside::bare(record));
    }
    let inside = container::unwrap(record, &SOUGHT.with(&context.settings.line_members))?;
    if inside.is_accepted {
        return Ok(inside);
    }
    match read(&envelope::with_whole_pairs(text)) {
        Err(fault) => Err(refusal(fault)),
        Ok(line) if line.timestamp.is_none() => {
            Err(Refusal::new("the line is no audit record: it has neither a service, nor an action, nor a time"))
        }
        Ok(_) if names_record(text) => Err(Refusal::new("what names a record is inside of an object that is none")),
        Ok(_) => Ok(Inside::bare(record)),
    }
}

/// Whether one of [`OWN_NAMES`] is the name of a member in a JSON text, at any depth, or stands in one of its strings.
fn names_record(text: &str) -> bool {
    fn value(reader: &mut Reader<'_>) -> Result<bool, Fault> {
        let mut found = false;
        match reader.peek() {
            Some(b'{') => reader.object(|reader, key| {
                found |= OWN_NAMES.contains(&&*key) | value(reader)?;
                Ok(())
            })?,
            Some(b'[') => reader.array(|reader| {
                found |= value(reader)?;
                Ok(())
            })?,
            _ => {
                if let Json::String(inside) = reader.value()? {
                    found =
                        OWN_NAMES.iter().any(|name| memchr::memmem::find(inside.as_bytes(), name.as_bytes()).is_some());
                }
            }
        }
        Ok(found)
    }
    value(&mut Reader::new(&envelope::with_whole_pairs(text))).unwrap_or(true)
}

fn redact(context: &Context<'_>, record: &Record<'_>, redaction: &Redaction) -> Result<Option<Vec<u8>>, Refusal> {
    let sought = SOUGHT.with(&context.settings.line_members);
    let of_record = |bytes: &[u8]| container::redacted_json(bytes, &sought, redaction);
    if is_record(record.bytes) {
        return of_record(record.bytes);
    }
    container::redacted(record.bytes, &sought, redaction, &of_record)
}

const PRODUCT: Product = Product { name: "Databricks", vendor: "Databricks", log_name: "databricks.audit" };

/// Jobs, autoscaling and other automatic actions run as this user (audit log documentation, "Audit events").
const SYSTEM_USER: &str = "System-User";

fn decode(context: &Context<'_>, record: &Record<'_>, emit: &mut dyn FnMut(&Event<'_>)) -> Result<(), Refusal> {
    if let Some(text) = record.text
        && let Some(line) = read(text).ok().filter(Line::is_record)
    {
        return line.emit(context, &Inside::bare(record), emit);
    }
    let inside = unwrap(context, record)?;
    let text = container::on_one_line(inside.text()?)?;
    let text = &*text;
    match read(text) {
        Ok(line) => line.emit(context, &inside, emit),
        Err(Fault::HalfSurrogate(_)) => {
            let mended = mend_surrogates(text);
            read(&mended).map_err(refusal)?.emit(context, &inside, emit)
        }
        Err(fault) => Err(refusal(fault)),
    }
}

fn parsed(context: &Context<'_>, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let inside = unwrap(context, record)?;
    let text = container::on_one_line(inside.text()?)?;
    let text = &*text;
    match read(text) {
        Ok(_) => out.extend_from_slice(text.trim().as_bytes()),
        Err(Fault::HalfSurrogate(_)) => {
            let mended = mend_surrogates(text);
            read(&mended).map_err(refusal)?;
            out.extend_from_slice(mended.trim().as_bytes());
        }
        Err(fault) => return Err(refusal(fault)),
    }
    Ok(())
}

fn refusal(fault: Fault) -> Refusal {
    Refusal::new(fault.to_string())
}

/// One line, with the names of the audit log schema.
#[derive(Debug, Default)]
struct Line<'a> {
    version: Option<Json<'a>>,
    timestamp: Option<Json<'a>>,
    source_address: Option<Json<'a>>,
    user_agent: Option<Json<'a>>,
    session_id: Option<Json<'a>>,
    service: Option<Json<'a>>,
    action: Option<Json<'a>>,
    request_id: Option<Json<'a>>,
    event_id: Option<Json<'a>>,
    workspace_id: Option<Json<'a>>,
    account_id: Option<Json<'a>>,
    user: Fields<'a>,
    params: Fields<'a>,
    response: Fields<'a>,
    /// Fields that the schema does not name, and named ones that should be objects but are not.
    others: Fields<'a>,
}

fn read(text: &str) -> Result<Line<'_>, Fault> {
    let mut line = Line { others: Fields::with_capacity(8), ..Line::default() };
    let mut reader = Reader::new(text);
    reader.object(|reader, key| {
        let place = match &*key {
            "version" => &mut line.version,
            "timestamp" => &mut line.timestamp,
            "sourceIPAddress" => &mut line.source_address,
            "userAgent" => &mut line.user_agent,
            "sessionId" => &mut line.session_id,
            "serviceName" => &mut line.service,
            "actionName" => &mut line.action,
            "requestId" => &mut line.request_id,
            "eventId" | "event_id" => &mut line.event_id,
            "workspaceId" => &mut line.workspace_id,
            "accountId" => &mut line.account_id,
            "userIdentity" | "requestParams" | "response" if reader.peek() == Some(b'{') => {
                let fields = Fields::read(reader)?;
                match &*key {
                    "userIdentity" => line.user = fields,
                    "requestParams" => line.params = fields,
                    _ => line.response = fields,
                }
                return Ok(());
            }
            "userIdentity" | "requestParams" | "response" if reader.peek() == Some(b'n') => {
                return reader.value().map(drop);
            }
            _ => {
                let value = reader.value()?;
                line.others.insert(key, value);
                return Ok(());
            }
        };
        *place = Some(reader.value()?);
        Ok(())
    })?;
    reader.end()?;
    Ok(line)
}

impl<'a> Line<'a> {
    /// Whether the line is recognized as a record with nothing around it.
    fn is_record(&self) -> bool {
        self.service.is_some() || self.action.is_some()
    }

    /// Emits the line's event.
    fn emit(
        mut self,
        context: &'a Context<'_>,
        inside: &'a Inside<'a>,
        emit: &mut dyn FnMut(&Event<'_>),
    ) -> Result<(), Refusal> {
        let service = text_of(self.service);
        let action = text_of(self.action).unwrap_or(Text::from(Event::UNKNOWN_ACTION));
        let mut room = [0; CODE_BYTES];
        let code = code(service.as_ref(), &action, &mut room);
        let unknown = Activity::of(Class::ApiActivity, 0);
        let (time_ms, time_inferred) = self.time(context)?;
        let mut event = Event::new(PRODUCT, unknown, action, time_ms);
        let mut copies = Copies::default();
        event.metadata = Metadata {
            original_uid: text_of(self.event_id).or_else(|| text_of(self.request_id)),
            correlation_uid: text_of(self.request_id),
            feature: service.clone(),
            tenant_uid: text_of(self.workspace_id).or_else(|| context.partitions.value("workspaceId").map(Text::from)),
            log_version: text_of(self.version),
            original_time: text_of(self.timestamp),
            time_inferred,
            labels: inside.label().into_iter().collect(),
            ..Metadata::default()
        };
        let user = self.acting_user();
        event.actor = Actor { user, session_uid: text_of(self.session_id), ..Actor::default() };
        event.src = text_of(self.source_address).and_then(Endpoint::of_address);
        // Only Databricks on AWS delivers its logs to S3.
        let account = text_of(self.account_id).map(|account| (account, "Databricks Account"));
        event.cloud = Some(Cloud { provider: "AWS", region: None, account });
        event.http_request = HttpRequest { user_agent: text_of(self.user_agent), ..HttpRequest::default() };
        event.api = Api { service, request_uid: text_of(self.request_id), ..Api::default() };
        self.answer(&mut event, &mut copies);
        if let Some(rows) = context.rows {
            targets::fill(&mut event, rows, &code, &mut self.params, &self.user);
        }
        targets::particulars(&mut event, &code, &mut self.params);
        if event.metadata.event_code.is_none() {
            event.metadata.event_code = Some(Text::from(code.into_owned()));
        }
        event.unmapped = self.unmapped(&mut copies);
        event.unmapped.extend(inside.around.iter().cloned());
        event.metadata.is_truncated = copies.truncated;
        emit(&event);
        Ok(())
    }

    /// The record's time, or else that of the object or of the day in its key; and whether it was inferred so.
    fn time(&self, context: &Context<'_>) -> Result<(i64, bool), Refusal> {
        if let Some(time_ms) = self.timestamp.and_then(moment::of_json) {
            return Ok((time_ms, false));
        }
        let of_object = context.last_modified_ms.and_then(moment::plausible);
        let of_key = || context.partitions.value("date").and_then(moment::of_date);
        let inferred = of_object.or_else(of_key);
        inferred.map(|time_ms| (time_ms, true)).ok_or(Refusal::new("neither the record nor its object has a time"))
    }

    fn acting_user(&mut self) -> User<'a> {
        let Some(name) = self.user.map("email").or_else(|| self.user.map("subjectName")) else {
            return User::default();
        };
        let kind = match &*name.plain() {
            "unknown" => return User::default(),
            SYSTEM_USER => UserKind::System,
            address if memchr::memchr(b'@', address.as_bytes()).is_some() => UserKind::User,
            // A service principal acts under its application id.
            id if is_uuid(id) => UserKind::Service,
            _ => UserKind::Unsaid,
        };
        User {
            email: (kind == UserKind::User).then(|| name.clone()),
            uid: (kind == UserKind::Service).then(|| name.clone()),
            display_name: self.user.map("subjectName"),
            name: Some(name),
            kind,
            ..User::default()
        }
    }

    /// Sets the status and the result from the response.
    fn answer(&mut self, event: &mut Event<'a>, copies: &mut Copies) {
        let code = self.response.get("statusCode").and_then(Json::integer).and_then(http_status);
        event.status = Status::of_answer(code);
        event.status_code = self.response.map("statusCode");
        event.api.response_code = code;
        if let Some(message) = self.response.get("errorMessage") {
            event.status_detail = copies.copy_as_text(message);
            self.response.map("errorMessage");
        }
        if let Some(result) = self.response.get("result")
            && self.response.map("result").is_some()
        {
            event.api.response_result = Some(copies.copy(result));
        }
        if event.status == Status::Failure && event.status_code.is_none() && event.status_detail.is_none() {
            event.status_detail = Some(event.action.clone());
        }
    }

    fn unmapped(&self, copies: &mut Copies) -> Members<'a> {
        let mut members = Members::with_capacity(self.others.len() + 3);
        let objects = [("requestParams", &self.params), ("response", &self.response), ("userIdentity", &self.user)];
        for (name, fields) in objects {
            let left = copies.copy_unmapped(fields);
            if !left.is_empty() && self.others.get(name).is_none() {
                members.push((Text::word(name), Value::Object(left)));
            }
        }
        members.extend(copies.copy_unmapped(&self.others));
        members
    }
}

fn text_of(value: Option<Json<'_>>) -> Option<Text<'_>> {
    value.and_then(Json::text)
}

/// In bytes; longer than `service/action` in any row of the mapping.
const CODE_BYTES: usize = 96;

/// The key of the mapping: `service/action`, in `room` if it fits.
fn code<'c>(service: Option<&Text<'_>>, action: &Text<'_>, room: &'c mut [u8; CODE_BYTES]) -> Cow<'c, str> {
    let service = service.map(Text::plain).unwrap_or_default();
    let action = action.plain();
    let length = service.len() + 1 + action.len();
    if let Some(room) = room.get_mut(..length) {
        room[..service.len()].copy_from_slice(service.as_bytes());
        room[service.len()] = b'/';
        room[service.len() + 1..].copy_from_slice(action.as_bytes());
        if let Ok(code) = std::str::from_utf8(room) {
            return Cow::Borrowed(code);
        }
    }
    Cow::Owned(format!("{service}/{action}"))
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().zip(0..).all(|(byte, at)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
