//! Makes the event of a line of an access log.

use std::borrow::Cow;

use crate::event::{
    Activity, Class, Cloud, Databucket, Dropped, Endpoint, Event, File, HttpRequest, HttpResponse, Members, Metadata,
    Product, Resource, Role, Row, Status, Target, Text, User, UserKind, Value, http_status, moment, write_without,
};
use crate::family::redaction::offset_in;
use crate::family::refusal::Refusal;
use crate::family::s3_access::field::{FIELDS, Field, NAMES};
use crate::family::s3_access::line::Line;
use crate::family::s3_access::referrer::Referrer;
use crate::family::s3_access::request::{self, Cut, Request};
use crate::family::s3_access::{percent, place};
use crate::family::{Context, S3aPrincipal};
use crate::records::Record;

const PRODUCT: Product = Product { name: "Amazon S3", vendor: "AWS", log_name: "aws.s3_access" };

/// The name of S3 as an API.
const SERVICE: &str = "s3.amazonaws.com";

/// OCSF has 32 bits for the bytes and milliseconds of a response. Greater numbers stay in `unmapped`.
const INT_MAX: u64 = i32::MAX as u64;

/// Emits the line's event. `text` is the record as text, from which `line` was read.
pub(super) fn emit(
    line: &Line<'_>,
    context: &Context<'_>,
    record: &Record<'_>,
    text: &str,
    emit: &mut dyn FnMut(&Event<'_>),
) -> Result<(), Refusal> {
    let sent = line.get(Field::Referrer);
    let referrer = sent.and_then(|header| Referrer::read(header, context.settings));
    let mut source = Source { line, left: ALL };
    let action = source.take(Field::Operation).unwrap_or(Event::UNKNOWN_ACTION);
    let (time_ms, time_inferred) = time(line, context)?;
    source.take(Field::Time);
    // The event is filled in place, since large parts of it are slow to move.
    let mut event = Event::new(PRODUCT, Activity::of(Class::ApiActivity, 0), line.text(action), time_ms);
    source.metadata(&mut event.metadata, action, referrer.as_ref());
    event.metadata.time_inferred = time_inferred;
    if source.requester(&mut event.actor.user, context.settings.s3a_principal, referrer.as_ref()) {
        event.metadata.labels.push("claimed_user");
    }
    event.src = source.take(Field::RemoteIp).map(|ip| line.text(ip)).and_then(Endpoint::of_address);
    event.cloud = Some(source.cloud(context));
    source.answer(&mut event);
    source.target(&mut event, context, action);
    source.request(&mut event.http_request);
    let cuts = referrer.as_ref().map_or(&[][..], |referrer| &referrer.cuts);
    event.http_request.referrer = sent.map(|header| source.cut(header, cuts));
    event.dropped = sent.map(|header| dropped(record, text, header, cuts)).unwrap_or_default();
    source.take(Field::Referrer);
    event.http_request.user_agent = source.take(Field::UserAgent).map(|agent| line.text(agent));
    event.unmapped = source.unmapped(referrer);
    emit(&event);
    Ok(())
}

/// The parts of the record that must not leave: parts of the referrer. If `text` is a corrected copy of the record, its
/// offsets are not those of the record, so the whole record is replaced.
fn dropped(record: &Record<'_>, text: &str, header: &str, cuts: &[Cut]) -> Vec<Dropped> {
    if cuts.is_empty() {
        return Vec::new();
    }
    let from = offset_in(text, header);
    let mut dropped: Vec<Dropped> = cuts
        .iter()
        .map(|(at, replacement)| Dropped {
            at: from + at.start..from + at.end,
            replacement: Cow::Borrowed(*replacement),
        })
        .collect();
    dropped.sort_by_key(|part| part.at.start);
    if record.text.is_some() {
        return dropped;
    }
    let mut left = Vec::with_capacity(text.len());
    write_without(&mut left, text.as_bytes(), &dropped);
    let replacement = Cow::Owned(String::from_utf8_lossy(&left).into_owned());
    vec![Dropped { at: 0..record.bytes.len(), replacement }]
}

/// The record's time, or else that of its object; and whether it was inferred so.
fn time(line: &Line<'_>, context: &Context<'_>) -> Result<(i64, bool), Refusal> {
    if let Some(time_ms) = line.get(Field::Time).and_then(moment::of_web_log) {
        return Ok((time_ms, false));
    }
    let inferred = context.last_modified_ms.and_then(moment::plausible);
    inferred.map(|time_ms| (time_ms, true)).ok_or(Refusal::new("neither the record nor its object has a time"))
}

/// A line, and which of its fields the event does not hold yet.
struct Source<'l, 'a> {
    line: &'l Line<'a>,
    left: u32,
}

/// A bit for each field.
const ALL: u32 = (1 << FIELDS) - 1;

impl<'a> Source<'_, 'a> {
    /// The field's value, which the event holds from now on. `None` for an empty value, which stays in `unmapped`.
    fn take(&mut self, field: Field) -> Option<&'a str> {
        let value = self.value_of(field);
        if value.is_some() {
            self.holds(field);
        }
        value
    }

    /// Notes that the event holds the field.
    const fn holds(&mut self, field: Field) {
        self.left &= !(1 << field as u32);
    }

    /// The field's value, unless it is logged as `""`.
    fn value_of(&self, field: Field) -> Option<&'a str> {
        self.line.get(field).filter(|value| !value.is_empty())
    }

    /// The field's number if it is at most `max`; any other value stays in `unmapped`.
    fn take_number(&mut self, field: Field, max: u64) -> Option<u64> {
        let number = self.line.get(field)?.parse().ok().filter(|number| *number <= max)?;
        self.holds(field);
        Some(number)
    }

    fn metadata(&mut self, metadata: &mut Metadata<'a>, action: &'a str, referrer: Option<&Referrer<'a>>) {
        let line = self.line;
        let request_id = line.get(Field::RequestId).map(|id| line.text(id));
        let parameter = |key: &str| referrer.and_then(|referrer| referrer.get(key));
        metadata.event_code = Some(match parameter("op") {
            Some(op) => Text::from([action, "/", op].concat()),
            None => line.text(action),
        });
        if line.ambiguous || referrer.is_some_and(|referrer| referrer.ambiguous) {
            metadata.labels.push("ambiguous");
        }
        metadata.correlation_uid =
            parameter("id").map(|span| line.text_of(span.clone())).or_else(|| request_id.clone());
        metadata.original_uid = request_id;
        metadata.tenant_uid = self.take(Field::BucketOwner).map(|owner| line.text(owner));
        metadata.original_time = line.get(Field::Time).map(|time| line.text(time));
        metadata.is_truncated = referrer.is_some_and(|referrer| referrer.partial.is_some());
    }

    /// Sets who sent the request. Returns whether that is only the client's claim: the session of an assumed role may
    /// say that it acts for another user.
    fn requester(&mut self, user: &mut User<'a>, principal: S3aPrincipal, referrer: Option<&Referrer<'a>>) -> bool {
        let requester = self.take(Field::Requester).filter(|requester| !requester.eq_ignore_ascii_case("anonymous"));
        let Some(requester) = requester else {
            user.name = Some(Text::word("anonymous"));
            return false;
        };
        let line = self.line;
        if requester == "AmazonS3" {
            (user.name, user.kind) = (Some(Text::from(requester)), UserKind::System);
            return false;
        }
        if requester.starts_with("svc:") {
            (user.name, user.kind) = (Some(line.text(requester)), UserKind::Service);
            return false;
        }
        user.uid = Some(line.text(requester));
        let Some((account, own)) = place::of_principal(requester) else { return false };
        user.account_uid = place::is_account(account).then(|| line.text(account));
        if let Some(path) = own.strip_prefix("user/") {
            let name = memchr::memrchr(b'/', path.as_bytes()).map_or(path, |slash| &path[slash + 1..]);
            user.name = Some(line.text(name));
            user.kind = UserKind::User;
        } else if let Some(session) = own.strip_prefix("assumed-role/") {
            let claimed = referrer
                .filter(|_| principal == S3aPrincipal::Claimed)
                .and_then(|own| own.get("pr"))
                .filter(|name| !name.is_empty());
            user.name = Some(claimed.map_or_else(|| line.text(session), |name| line.text_of(name.clone())));
            return claimed.is_some();
        }
        false
    }

    fn cloud(&self, context: &Context<'a>) -> Cloud<'a> {
        let of_key = place::of_key(&context.object.key);
        let of_arn = || self.line.get(Field::AccessPointArn).and_then(place::of_arn);
        let of_host = || self.line.get(Field::HostHeader).and_then(place::of_host);
        let region = of_key.map(|(_, region)| region).or_else(of_arn).or_else(of_host);
        let account = of_key.map(|(account, _)| (Text::from(account), "AWS Account"));
        Cloud { provider: "AWS", region: region.map(Text::from), account }
    }

    /// Sets the response of S3, and how long it took.
    fn answer(&mut self, event: &mut Event<'a>) {
        let status = self.take(Field::HttpStatus);
        let error = self.take(Field::ErrorCode);
        let code = status.and_then(|status| status.parse().ok()).and_then(http_status);
        event.status = if error.is_some() { Status::Failure } else { Status::of_answer(code) };
        let line = self.line;
        event.status_code = status.map(|status| line.text(status));
        event.status_detail = error.map(|error| line.text(error));
        event.api.service = Some(Text::word(SERVICE));
        event.api.request_uid = self.take(Field::RequestId).map(|id| line.text(id));
        event.api.response_code = code;
        event.api.response_error = error.map(|error| line.text(error));
        let ms = self.take_number(Field::TotalTime, INT_MAX);
        event.duration_ms = ms.and_then(|ms| i64::try_from(ms).ok());
        event.http_response = code.map(|code| HttpResponse {
            code,
            body_length: self.take_number(Field::BytesSent, INT_MAX),
            latency_ms: self.take_number(Field::TurnAroundTime, INT_MAX).and_then(|ms| i64::try_from(ms).ok()),
            content_type: None,
        });
    }

    /// Applies the first matching row whose class fits the record, with the objects that the row names.
    fn target(&mut self, event: &mut Event<'a>, context: &Context<'_>, action: &str) {
        let Some(rows) = context.rows else { return };
        let key = self.value_of(Field::Key);
        let fact = move |name: &str| match (name, key) {
            ("key present", Some(_)) | ("no key", None) => Some(""),
            _ => None,
        };
        let mut missed = None;
        for row in rows.matching(action, &fact) {
            // Without a key, the ACL is that of the bucket.
            if row.selector == "REST.PUT.ACL" && key.is_none() {
                continue;
            }
            self.name_objects(&mut event.target, row);
            if event.fits(row.activity.class) {
                event.activity = row.activity;
                event.caption = row.caption.map(Text::from);
                if missed.is_some_and(|class| class != row.activity.class) {
                    event.metadata.labels.push("class_fallback");
                }
                self.hold(event);
                return;
            }
            event.target = Target::default();
            if !row.is_fallback {
                missed = Some(row.activity.class);
            }
        }
    }

    fn name_objects(&self, target: &mut Target<'a>, row: &Row) {
        let bucket = self.value_of(Field::Bucket).map(|bucket| self.line.text(bucket));
        for slot in &row.slots {
            match slot.role {
                Role::Databucket => {
                    let databucket = Databucket { name: bucket.clone(), kind: Some("S3"), ..Databucket::default() };
                    target.databucket = Some(databucket);
                }
                Role::File => {
                    if let Some(bucket) = &mut target.databucket {
                        bucket.file = self.file();
                    }
                }
                Role::Resource if bucket.is_some() => target.resources.push(Resource {
                    kind: Some(Text::word("bucket")),
                    name: bucket.clone(),
                    ..Resource::default()
                }),
                _ => {}
            }
        }
    }

    fn file(&self) -> Option<File<'a>> {
        let key = self.value_of(Field::Key)?;
        Some(File {
            path: self.line.text(key),
            size: self.line.get(Field::ObjectSize).and_then(|size| size.parse().ok()),
            version: self.line.get(Field::VersionId).map(|version| self.line.text(version)),
            is_folder: key.ends_with('/'),
        })
    }

    /// Notes which fields the event's objects hold.
    fn hold(&mut self, event: &Event<'a>) {
        let file = event.target.databucket.as_ref().and_then(|bucket| bucket.file.as_ref());
        let holds = [
            (Field::Bucket, event.target.databucket.is_some() || !event.target.resources.is_empty()),
            (Field::Key, file.is_some()),
            (Field::VersionId, file.is_some_and(|file| file.version.is_some())),
            (Field::ObjectSize, file.is_some_and(|file| file.size.is_some_and(|size| i64::try_from(size).is_ok()))),
        ];
        for (field, _) in holds.into_iter().filter(|(_, holds)| *holds) {
            self.holds(field);
        }
    }

    /// Sets the HTTP request. A malformed request line stays in `unmapped`, whole.
    fn request(&mut self, request: &mut HttpRequest<'a>) {
        let line = self.line;
        let uri = line.get(Field::RequestUri).unwrap_or_default();
        let Some(own) = Request::read(uri) else {
            let method = uri.split(' ').next().filter(|method| !method.is_empty());
            request.method = method.map(|method| line.text(method));
            return;
        };
        self.take(Field::RequestUri);
        request.query = own.query.map(|query| line.text(query));
        request.method = Some(line.text(own.method));
        request.path = Some(line.text(own.path));
        request.version = Some(line.text(own.version));
        request.hostname = self.take(Field::HostHeader).map(|host| line.text(host));
    }

    /// A part of a field, with its cuts applied.
    fn cut(&self, part: &'a str, cuts: &[Cut]) -> Text<'a> {
        self.line.text_of(request::cut(part, cuts))
    }

    fn unmapped(self, referrer: Option<Referrer<'a>>) -> Members<'a> {
        let mut members = Members::with_capacity(FIELDS / 2);
        let mut left = self.left;
        while left != 0 {
            let (field, name) = NAMES[left.trailing_zeros() as usize];
            left &= left - 1;
            let Some(value) = self.line.get(field) else { continue };
            members.push((Text::word(name), super::scalar(self.line, field, value)));
        }
        if let Some(decoded) = self.line.get(Field::Key).and_then(percent::decode_key) {
            members.push((Text::word("key_decoded"), Value::Text(Text::from(decoded))));
        }
        if !self.line.extra.is_empty() {
            members.push((Text::word("extra"), super::extra(self.line)));
        }
        if let Some(referrer) = referrer {
            members.push((Text::word("s3a"), super::s3a(self.line, referrer)));
        }
        members
    }
}
