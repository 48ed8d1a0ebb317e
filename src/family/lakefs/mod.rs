//! lakeFS audit logs: Parquet files that lakeFS Cloud delivers once, or log lines of a self-hosted server.

mod line;

mod logrus;

mod path;

mod targets;

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::delta::Growth;
use crate::event::{
    Activity, Class, Cloud, Copies, Endpoint, Event, Fault, Fields, HttpResponse, Json, Metadata, Product, Reader,
    Status, Text, User, UserKind, http_status, mend_surrogates, moment,
};
use crate::family::container::{self, Inside};
use crate::family::envelope::{self, Sought};
use crate::family::lakefs::line::{Line, Name, read};
use crate::family::lakefs::logrus::{is_yes, json_of};
use crate::family::lakefs::path::RequestPath;
use crate::family::lakefs::targets::{Operation, Source, user_of};
use crate::family::redaction::{self, Redaction};
use crate::family::refusal::Refusal;
use crate::family::{Context, Family, Partitions};
use crate::records::{Around, Framing, LineRole, Record};

pub(super) const FAMILY: Family = Family {
    name: targets::NAME,
    growth: Growth::Once,
    framing: Framing::Rows(role),
    // `etl/v1/data/region=<r>/organization=org-<o>/year=<YY>/month=<MM>/day=<DD>/hour=<HH>/<name>-snappy.parquet`.
    keys: &["**/*.parquet"],
    example: Some("year=26/month=01/day=15/hour=08/part-0-snappy.parquet"),
    decode,
    parsed,
    redact,
    redactable: redaction::any_path,
    sought: Some(&SOUGHT),
};

/// Nothing inside the server's other lines is a record.
static SOUGHT: Sought<'static> = Sought::of(is_record, is_own);

const PRODUCT: Product = Product { name: "lakeFS", vendor: "Treeverse", log_name: "lakefs.audit" };

fn role(line: &[u8], around: &mut Around<'_>) -> LineRole {
    let sought = SOUGHT.with(around.members());
    match container::line(line, around, &sought, container::object_stands_alone) {
        Ok(found) if found.is_accepted || names_audit(&found.inside) => LineRole::Record,
        Ok(_) => LineRole::Other,
        Err(role) => role,
    }
}

/// Whether a line, or the first piece of one, is a record. Other lines of a server's log have no `log_audit`.
fn is_record(bytes: &[u8]) -> bool {
    if logrus::begins(bytes) {
        return logrus::is_audit(bytes);
    }
    bytes.trim_ascii_start().first() == Some(&b'{') && names_audit(bytes) && !is_around(bytes)
}

/// Whether the object is whole and has no member that names a record: then such a member stands deeper inside.
fn is_around(bytes: &[u8]) -> bool {
    container::peek(bytes, bytes, |key, _| matches!(key, "log_audit" | "data_operation_id"))
}

fn names_audit(bytes: &[u8]) -> bool {
    let is_audit = || {
        let rest = LOG_AUDIT.find(bytes).map(|at| bytes[at + LOG_AUDIT.needle().len()..].trim_ascii_start());
        let value = rest.and_then(|rest| rest.strip_prefix(b":")).map(<[u8]>::trim_ascii_start);
        let end = |value: &[u8]| value.iter().position(|byte| b",} \t\r\n".contains(byte)).unwrap_or(value.len());
        value.is_some_and(|value| is_yes(value[..end(value)].trim_ascii()))
    };
    OPERATION_ID.find(bytes).is_some() || is_audit() || envelope::has_escapes(bytes) && names_audit_escaped(bytes)
}

/// As [`names_audit`], for an object whose names may have escapes.
fn names_audit_escaped(bytes: &[u8]) -> bool {
    let mut is_audit = false;
    container::peek(bytes, bytes, |key, value| {
        is_audit |= key == "data_operation_id"
            || key == "log_audit"
                && match value {
                    Json::Bool(is_audit) => is_audit,
                    Json::String(text) | Json::Number(text) => is_yes(text.as_bytes()),
                    _ => false,
                };
        is_audit
    });
    is_audit
}

/// A member of each audit line of a server.
static LOG_AUDIT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"log_audit\""));

/// A member of each record of lakeFS Cloud.
static OPERATION_ID: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"data_operation_id\""));

/// Whether a line is one of a server's log, audit or not.
fn is_own(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    Fields::read(&mut Reader::new(text)).is_ok_and(|fields| fields.get("msg").is_some())
}

fn decode(context: &Context<'_>, record: &Record<'_>, emit: &mut dyn FnMut(&Event<'_>)) -> Result<(), Refusal> {
    // Most rows begin like this and have nothing around them.
    if let Some(text) = record.text.filter(|text| text.starts_with("{\"data_"))
        && let Some(line) = read(text).ok().filter(Line::is_row)
    {
        return line.emit(context, &Inside::bare(record), emit);
    }
    let inside = container::unwrap(record, &SOUGHT.with(&context.settings.line_members))?;
    let text = json_of(&inside)?;
    let text = &*text;
    match read(text) {
        Ok(line) => known(line, &inside)?.emit(context, &inside, emit),
        Err(Fault::HalfSurrogate(_)) => {
            let mended = mend_surrogates(text);
            let line = known(read(&mended).map_err(refusal)?, &inside)?;
            line.emit(context, &inside, emit)
        }
        Err(fault) => Err(refusal(fault)),
    }
}

fn parsed(context: &Context<'_>, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let inside = container::unwrap(record, &SOUGHT.with(&context.settings.line_members))?;
    let mut text = json_of(&inside)?;
    if let Err(Fault::HalfSurrogate(_)) = read(&text) {
        text = Cow::Owned(mend_surrogates(&text));
    }
    let line = known(read(&text).map_err(refusal)?, &inside)?;
    let number = match line.get(Name::Time) {
        Some(number @ Json::Number(digits)) => {
            moment::of_json(number).map(|ms| (offset_in(&text, digits), digits.len(), ms))
        }
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

/// The line, if it is recognized as a record of a server or of lakeFS Cloud.
fn known<'a>(line: Line<'a>, inside: &Inside<'_>) -> Result<Line<'a>, Refusal> {
    if inside.is_accepted || line.is_cloud {
        return Ok(line);
    }
    Err(Refusal::new(match names_audit(inside.bytes()) {
        true => "what names a record is inside of an object that is none",
        false => "it has no field of an audit record",
    }))
}

fn redact(context: &Context<'_>, record: &Record<'_>, redaction: &Redaction) -> Result<Option<Vec<u8>>, Refusal> {
    let sought = SOUGHT.with(&context.settings.line_members);
    container::redacted(record.bytes, &sought, redaction, &|bytes| {
        if !logrus::begins(bytes) {
            return container::redacted_json(bytes, &sought, redaction);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Refusal::new("the record is no UTF-8"))?;
        // A redacted line of text becomes JSON.
        container::redacted_json(logrus::as_json(text)?.as_bytes(), &sought, redaction)
    })
}

fn refusal(fault: Fault) -> Refusal {
    Refusal::new(fault.to_string())
}

impl<'a> Line<'a> {
    /// Emits the record's event.
    fn emit(
        mut self,
        context: &'a Context<'_>,
        inside: &'a Inside<'a>,
        emit: &mut dyn FnMut(&Event<'_>),
    ) -> Result<(), Refusal> {
        let (time_ms, time_inferred) = self.time(context, inside)?;
        let service = self.service();
        let name = self.map(Name::OperationId).unwrap_or(Text::from(Event::UNKNOWN_ACTION));
        let operation = Operation::of(&service, &name.plain());
        // The event is filled in place, since large parts of it are slow to move.
        let mut event = Event::new(PRODUCT, Activity::of(Class::ApiActivity, 0), name, time_ms);
        self.metadata(&mut event.metadata, context);
        event.metadata.time_inferred = time_inferred;
        event.metadata.labels.extend(inside.label());
        if !time_inferred {
            self.map(Name::Time);
        }
        event.message = self.map(Name::Msg);
        event.api.service = self.map(Name::ServiceName);
        event.api.request_uid = self.map(Name::RequestId);
        let user = self.map(Name::User);
        if let Some(id) = &user {
            event.actor.user = who(id.clone(), context);
        }
        event.src = self.map(Name::SourceIp).and_then(Endpoint::of_address);
        event.cloud = context.partitions.value("region").map(|region| Cloud {
            provider: "AWS",
            region: Some(Text::from(region)),
            account: None,
        });
        self.answer(&mut event);
        self.duration(&mut event);
        self.request(&mut event, &operation, user);
        event.metadata.event_code = Some(Text::from(operation.code));
        let mut copies = Copies::default();
        event.unmapped = self.unmapped(&mut copies);
        event.unmapped.extend(inside.around.iter().cloned());
        event.metadata.is_truncated = copies.truncated;
        emit(&event);
        Ok(())
    }

    fn metadata(&mut self, metadata: &mut Metadata<'a>, context: &'a Context<'_>) {
        metadata.original_uid = self.text_of(Name::RequestId);
        metadata.correlation_uid = self.text_of(Name::RequestId);
        metadata.feature = self.text_of(Name::ServiceName);
        metadata.tenant_uid = organization(&context.partitions);
        metadata.log_level = self.map(Name::Level);
        metadata.original_time = self.text_of(Name::Time);
    }

    /// The server that responded, `rest_api` or `s3_gateway`. If the record does not name it, its path decides.
    fn service(&self) -> Cow<'a, str> {
        match self.get(Name::ServiceName) {
            Some(Json::String(inside)) if !inside.is_empty() => unescaped(inside),
            _ => match self.get(Name::Path) {
                Some(Json::String(inside)) if !inside.starts_with("/api/") => Cow::Borrowed("s3_gateway"),
                _ => Cow::Borrowed("rest_api"),
            },
        }
    }

    /// The record's time, or else that of the container runtime, of the object or of the hour in its key; and whether
    /// it was inferred so.
    fn time(&self, context: &Context<'_>, inside: &Inside<'_>) -> Result<(i64, bool), Refusal> {
        if let Some(time_ms) = self.get(Name::Time).and_then(moment::of_json) {
            return Ok((time_ms, false));
        }
        let of_runtime = inside.time.as_ref().and_then(|time| moment::of_text(&time.plain()));
        let of_object = || context.last_modified_ms.and_then(moment::plausible);
        let inferred = of_runtime.or_else(of_object).or_else(|| hour(&context.partitions));
        inferred.map(|time_ms| (time_ms, true)).ok_or(Refusal::new("neither the record nor its object has a time"))
    }

    fn answer(&mut self, event: &mut Event<'a>) {
        let code = self.get(Name::StatusCode).and_then(Json::integer).and_then(http_status);
        event.status = Status::of_answer(code);
        event.status_code = self.map(Name::StatusCode);
        event.api.response_code = code;
        let Some(code) = code else { return };
        // OCSF has 32 bits for the length. A longer one stays in `unmapped`.
        let sent = self.get(Name::SentBytes).and_then(Json::integer).filter(|sent| i32::try_from(*sent).is_ok());
        let body_length = sent.and_then(|sent| u64::try_from(sent).ok());
        if body_length.is_some() {
            self.map(Name::SentBytes);
        }
        event.http_response = Some(HttpResponse { code, body_length, latency_ms: None, content_type: None });
    }

    /// Sets how long the request took. The source's nanoseconds stay in `unmapped` as well.
    fn duration(&self, event: &mut Event<'a>) {
        let Some(took) = self.get(Name::Took).and_then(Json::integer).filter(|took| *took >= 0) else { return };
        let duration_ms = took / 1_000_000;
        if i32::try_from(duration_ms).is_err() {
            return;
        }
        event.duration_ms = Some(duration_ms);
        // A server logs a request when it is over. In lakeFS Cloud, the time is documented as the start of the request.
        if !self.is_cloud && !event.metadata.time_inferred {
            event.start_time_ms = moment::plausible(event.time_ms - duration_ms);
            event.end_time_ms = Some(event.time_ms);
        }
    }

    /// Sets the request and its targets.
    fn request(&mut self, event: &mut Event<'a>, operation: &Operation, user: Option<Text<'a>>) {
        let path = match self.get(Name::Path) {
            Some(Json::String(inside)) if !inside.is_empty() => Some(RequestPath::new(unescaped(inside))),
            _ => None,
        };
        let (repository, reference) = (self.text_of(Name::Repository), self.text_of(Name::Ref));
        let method = self.text_of(Name::Method);
        let source = Source { path: path.as_ref(), user, repository, reference };
        if let Some(row) = operation.row(method.as_ref()) {
            source.fill(event, row);
        }
        event.http_request.method = method;
        event.http_request.user_agent = self.map(Name::Client);
        if event.http_request.method.is_none() || event.http_request.known_method().is_some() {
            self.map(Name::Method);
        }
        let bucket = event.target.databucket.as_ref();
        self.map_if(Name::Ref, bucket.and_then(|bucket| bucket.version.as_ref()));
        let resource = event.target.resources.first().and_then(|resource| resource.name.as_ref());
        self.map_if(Name::Repository, bucket.and_then(|bucket| bucket.name.as_ref()).or(resource));
        let in_file = bucket.is_some_and(|bucket| bucket.file.is_some());
        let Some(path) = path else {
            self.map(Name::Path);
            return;
        };
        if path.is_absolute() {
            event.http_request.path = Some(path.path());
            event.http_request.query = path.query();
            event.http_request.hostname = self.map(Name::Host);
        }
        if path.is_absolute() || in_file {
            self.map(Name::Path);
        }
    }
}

/// The user with this id, with the e-mail address that the installation has for the user.
fn who<'a>(id: Text<'a>, context: &'a Context<'_>) -> User<'a> {
    let email = if id.says_something() { context.email(&id.plain()) } else { None };
    let user = user_of(id);
    match email {
        Some(email) => User { email: Some(Text::from(email)), kind: UserKind::User, ..user },
        None => user,
    }
}

/// The offset of a slice in its text.
fn offset_in(text: &str, slice: &str) -> usize {
    (slice.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize).min(text.len())
}

fn unescaped(inside: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Cow::Borrowed(inside);
    }
    Cow::Owned(Text::Escaped(inside).plain().into_owned())
}

/// The organization in the key, without its prefix `org-`.
fn organization<'a>(partitions: &'a Partitions) -> Option<Text<'a>> {
    let value = partitions.value("organization")?;
    Some(Text::from(value.strip_prefix("org-").unwrap_or(value)))
}

/// The beginning of the hour that the key names. The documents write years with two and with four digits.
fn hour(partitions: &Partitions) -> Option<i64> {
    let part = |name: &str| partitions.value(name)?.parse::<i16>().ok();
    let year = part("year").map(|year| if (0..100).contains(&year) { 2000 + year } else { year })?;
    let (month, day) = (i8::try_from(part("month")?).ok()?, i8::try_from(part("day")?).ok()?);
    let hour = part("hour").and_then(|hour| i8::try_from(hour).ok()).unwrap_or(0);
    let civil = jiff::civil::DateTime::new(year, month, day, hour, 0, 0, 0).ok()?;
    moment::plausible(jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?.as_millisecond())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::event::Scope;
    use crate::notification::ObjectId;

    use super::*;

    fn outcome(record: &[u8]) -> (Result<(), Refusal>, Result<(), Refusal>) {
        let object = ObjectId::new("b", "year=2025/month=12/day=25/a.parquet");
        let context = Context::new(&FAMILY, &object, Scope::Object(&object), None, "test");
        let record = Record::new(0, record);
        (decode(&context, &record, &mut |_| {}), parsed(&context, &record, &mut Vec::new()))
    }

    #[test]
    fn a_bare_number_is_parsed_as_a_time_and_everything_else_as_it_came() {
        let parsed = |record: &str| {
            let object = ObjectId::new("b", "a");
            let context = Context::new(&FAMILY, &object, Scope::Object(&object), None, "test");
            let mut out = Vec::new();
            super::parsed(&context, &Record::new(0, record.as_bytes()), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            parsed(" {\"data_time\": 1766665800123 , \"a\":1.0} "),
            "{\"data_time\": \"2025-12-25T12:30:00.123Z\" , \"a\":1.0}"
        );
        assert_eq!(parsed("{\"data_time\":\"2025-12-25 12:30\"}"), "{\"data_time\":\"2025-12-25 12:30\"}");
    }

    #[test]
    fn only_audit_lines_are_records() {
        for (line, expected) in [
            (r#"{"log_audit":true}"#, LineRole::Record),
            (r#"{"log_audit" : "true"}"#, LineRole::Record),
            (r#"{"log_audit":"True","a":1}"#, LineRole::Record),
            (r#"{"a":0,"log_audit":1}"#, LineRole::Record),
            (r#"{"log_audit":"1"}"#, LineRole::Record),
            (r#"{"log_\u0061udit":1}"#, LineRole::Record),
            (r#"{"log_audit":10}"#, LineRole::Other),
            (r#"{"log_audit":0}"#, LineRole::Other),
            (r#"{"log_audit":"trueish"}"#, LineRole::Other),
            ("time=x level=info msg=\"HTTP call ended\" log_audit=true user=ci", LineRole::Record),
            ("time=x level=info msg=\"HTTP call ended\" log_audit=true user=\"c", LineRole::Record),
            ("time=x level=info msg=\"a log_audit=true\"", LineRole::Other),
            ("2024-01-15T08:00:00Z stdout F time=x log_audit=true", LineRole::Record),
            (r#"{"log":"time=x log_audit=true\n","stream":"stdout"}"#, LineRole::Record),
            (r#"{"log_audit":false}"#, LineRole::Other),
            (r#"{"msg":"\"log_audit\":true"}"#, LineRole::Other),
            (r#"{"data_operation_id":null}"#, LineRole::Record),
            (r#"junk {"log_audit":true}"#, LineRole::Record),
            (r#"{"message":"{\"log_audit\":true}"}"#, LineRole::Record),
            (r#"{"message":"\"log_audit\":true"}"#, LineRole::Other),
            (r#"{"level":"info","msg":"{\"log_audit\":true}"}"#, LineRole::Other),
            (r#"{"log":"{\"msg\":\"{}\",\"log_audit\":true}\n","stream":"stdout"}"#, LineRole::Record),
            (r#"{"log":"{\"msg\":\"a\"}\n","stream":"stdout"}"#, LineRole::Other),
            (r#"{"log":{"log_audit":true},"stream":"stdout"}"#, LineRole::Record),
            (r#"{"log":{"log_audit":false},"stream":"stdout"}"#, LineRole::Other),
            (r#"{"log":{"log_audit":true"#, LineRole::Record),
            (r#"2024-01-15T08:00:00Z stdout F {"log_audit":true}"#, LineRole::Record),
            (r#"2024-01-15T08:00:00Z stdout P {"log_audit":true}"#, LineRole::Piece),
            ("time=\"...\" level=info", LineRole::Other),
        ] {
            assert_eq!(role(line.as_bytes(), &mut Around::alone()), expected, "{line}");
        }
    }

    #[test]
    fn the_hour_of_a_key_is_read_with_years_of_two_digits_and_of_four() {
        for key in ["year=24/month=02/day=12/hour=13/f", "year=2024/month=2/day=12/hour=13/f"] {
            // 2024-02-12T13:00:00Z.
            assert_eq!(hour(&Partitions::of(key)), Some(1_707_742_800_000));
        }
        assert_eq!(hour(&Partitions::of("year=24/month=13/day=12/f")), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(record in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (decoded, parsed) = outcome(&record);
            prop_assert!(parsed.is_err() || decoded.is_ok());
        }

        #[test]
        fn any_field_may_hold_anything(
            name in prop::sample::select(&["path", "time", "status_code", "took", "user", "operation_id", "source_ip", "sent_bytes"][..]),
            value in prop_oneof![any::<i64>().prop_map(|number| number.to_string()), ".*".prop_map(|text| serde_json::Value::from(text).to_string()), Just("{\"a\":[1]}".to_owned())],
            service in prop::sample::select(&["rest_api", "s3_gateway", ""][..]),
        ) {
            let record = format!("{{\"data_service_name\":\"{service}\",\"data_repository\":\"r\",\"data_{name}\":{value}}}");
            prop_assert_eq!(outcome(record.as_bytes()), (Ok(()), Ok(())));
        }
    }
}
