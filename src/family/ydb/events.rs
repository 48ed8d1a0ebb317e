//! The events of a YDB record: one for each operation, and one for each access entry of an operation.

use crate::event::{Activity, Actor, Api, Class, Event, HttpRequest, Members, Product, Status, Text, Value, moment};
use crate::family::Context;
use crate::family::refusal::Refusal;
use crate::family::ydb::access::Entry;
use crate::family::ydb::members::{no_path, others, places};
use crate::family::ydb::names;
use crate::family::ydb::party::{endpoint, user};
use crate::family::ydb::schemeshard::{Operation, Transaction};
use crate::family::ydb::sequence::{Sequence, events_of};
use crate::family::ydb::stream::Parts;
use crate::family::ydb::targets::{self, Objects};
use crate::family::ydb::words::Words;

const PRODUCT: Product = Product { name: "YDB", vendor: "YDB", log_name: "ydb.audit" };

/// The mark that YDB's monitoring puts at the end of a request body that it truncates.
pub(super) const TRUNCATED: &str = "**TRUNCATED_BY_YDB**";

/// The operation by which a user logs on.
const LOGIN: &str = "LOGIN";

/// Few records have more unmapped fields.
const USUAL_UNMAPPED: usize = 12;

/// What the events of a record take from its surroundings.
pub(super) struct Common<'c> {
    pub(super) context: &'c Context<'c>,
    pub(super) around: &'c Members<'c>,
    pub(super) runtime_time: Option<&'c Text<'c>>,
    /// A label for how the record was shipped.
    pub(super) label: Option<&'static str>,
    /// Whether the record may be part of an earlier record's value, and so be forged by the writer of that value.
    pub(super) may_be_within: bool,
}

impl Common<'_> {
    /// The record's time in milliseconds since the epoch, and false. If it has none, the time of the container runtime
    /// or the object, and true: the time is inferred.
    fn time(&self, time: Option<&str>) -> Result<(i64, bool), Refusal> {
        if let Some(time_ms) = time.and_then(moment::of_text) {
            return Ok((time_ms, false));
        }
        let of_runtime = self.runtime_time.and_then(|time| moment::of_text(&time.plain()));
        let inferred = of_runtime.or_else(|| self.context.last_modified_ms.and_then(moment::plausible));
        inferred.map(|time_ms| (time_ms, true)).ok_or(Refusal::new("neither the record nor its object has a time"))
    }
}

/// The changes of access to an object: the new owner, and the entries to add and to remove.
#[derive(Default)]
struct Access<'a> {
    owner: Option<Text<'a>>,
    added: Vec<Text<'a>>,
    removed: Vec<Text<'a>>,
}

impl Access<'_> {
    fn entries(&self) -> usize {
        usize::from(self.owner.is_some()) + self.added.len() + self.removed.len()
    }
}

/// Emits the events of a line of the common log.
pub(super) fn of_transaction<'a>(
    common: &Common<'a>,
    line: &Transaction<'a>,
    words: Words<'a>,
    emit: &mut dyn FnMut(&Event<'_>),
) -> Result<(), Refusal> {
    let (time_ms, time_inferred) = common.time(Some(line.timestamp))?;
    let status = words.take(line.status);
    let events = line.operations.iter().map(|operation| {
        let entries = usize::from(operation.owner.is_some()) + operation.added.len() + operation.removed.len();
        events_of(operation.name, entries)
    });
    let mut sequence = Sequence::of(events.sum());
    let node = line
        .node
        .map(|node| (Text::word("node"), node.parse().map_or_else(|_| Value::Text(words.take(node)), Value::Int)));
    // Members that all operations share are copied once.
    let mut shared: Members<'a> = node.into_iter().chain(common.around.iter().cloned()).collect();
    for operation in &line.operations {
        if sequence.has_passed(common.context.budget.events_max) {
            break;
        }
        let mut event = blank(words.take(operation.name), time_ms);
        event.metadata.time_inferred = time_inferred;
        event.metadata.labels.extend(common.label);
        // These consist of digits and letters, of which JSON escapes nothing.
        event.metadata.original_time = Some(Text::Escaped(line.timestamp));
        event.metadata.original_uid = Some(Text::Escaped(line.tx_id));
        event.metadata.correlation_uid = Some(Text::Escaped(line.tx_id));
        event.metadata.feature = Some(Text::Escaped(line.component));
        event.metadata.log_level = Some(Text::Escaped(line.level));
        if line.is_ambiguous || common.may_be_within {
            event.metadata.labels.push("ambiguous");
        }
        event.api = Api { service: Some(Text::Escaped(line.component)), ..Api::default() };
        event.actor = Actor {
            user: user(line.subject.filter(|subject| *subject != "no subject").map(|text| words.take(text))),
            ..Actor::default()
        };
        event.status = scheme_status(line.status);
        event.status_code = Some(status.clone());
        event.status_detail = line.reason.map(|text| words.take(text));
        event.shared = shared.len();
        event.unmapped = shared;
        event.unmapped.extend(operation.has_no_path.then(no_path));
        event.unmapped.extend(others(operation, words));
        let objects = objects_of(line, operation, words);
        let access = Access {
            owner: operation.owner.map(|text| words.take(text)),
            added: operation.added.iter().map(|entry| words.take(entry)).collect(),
            removed: operation.removed.iter().map(|entry| words.take(entry)).collect(),
        };
        fan_out(common, &mut event, &objects, access, &mut sequence, emit);
        shared = event.unmapped;
    }
    Ok(())
}

fn objects_of<'a>(line: &Transaction<'a>, operation: &Operation<'a>, words: Words<'a>) -> Objects<'a> {
    let request = operation.request.as_ref();
    let login = |names: &[&str]| request.and_then(|request| request.login(names)).map(Text::from);
    let targets = operation.paths.iter().chain(&operation.dst_paths);
    Objects {
        database: line.database.map(|text| words.take(text)),
        paths: targets.map(|path| words.take(path)).collect(),
        sources: operation.src_paths.iter().map(|path| words.take(path)).collect(),
        table: None,
        user: login(&["User", "Member"]),
        group: login(&["Group"]),
        places: places(operation, words),
    }
}

/// Emits the events of a record of the audit stream. `time` is the time before its fields, if it has one there.
pub(super) fn of_parts<'a>(
    common: &Common<'a>,
    mut parts: Parts<'a>,
    time: Option<&'a str>,
    emit: &mut dyn FnMut(&Event<'_>),
) -> Result<(), Refusal> {
    let own_time = parts.get(names::AT_TIMESTAMP).filter(|_| time.is_none());
    let own_time = own_time.as_ref().map(Text::plain);
    let (time_ms, time_inferred) = common.time(time.or(own_time.as_deref()))?;
    let action = parts.map(names::OPERATION).unwrap_or(Text::word(Event::UNKNOWN_ACTION));
    let mut event = blank(action, time_ms);
    event.metadata.time_inferred = time_inferred;
    event.metadata.labels.extend(common.label);
    event.metadata.original_time = time.map(Text::Escaped).or_else(|| parts.map(names::AT_TIMESTAMP));
    let (tx, request) = (parts.map(names::TX_ID), parts.map(names::REQUEST_ID));
    event.metadata.correlation_uid = tx.clone().or_else(|| request.clone());
    event.metadata.original_uid = parts.get(names::ID).or_else(|| request.clone()).or(tx);
    event.metadata.feature = parts.map(names::COMPONENT);
    if parts.is_ambiguous || common.may_be_within {
        event.metadata.labels.push("ambiguous");
    }
    let is_truncated = |text: &Text<'_>| text.plain().ends_with(TRUNCATED);
    event.metadata.is_truncated = [names::BODY, names::QUERY_TEXT]
        .into_iter()
        .any(|name| parts.get(name).is_some_and(|text| is_truncated(&text)));
    // In a logon, the login name is all that is known of the actor. In other operations it is the target.
    let logs_on_as = parts.get(names::LOGIN_USER).filter(|_| event.action.is(LOGIN));
    let subject = parts.map(names::SUBJECT);
    let is_claimed = subject.is_none() && logs_on_as.is_some();
    event.actor = Actor { user: user(subject.or(logs_on_as)), ..Actor::default() };
    event.src = parts.map(names::REMOTE_ADDRESS).map(endpoint);
    event.api = Api { service: parts.map(names::GRPC_METHOD), request_uid: request, ..Api::default() };
    outcome(&mut event, &mut parts);
    if is_claimed && event.status != Status::Success {
        event.metadata.labels.push("claimed_user");
    }
    event.start_time_ms = parts.get(names::START_TIME).and_then(|time| moment::of_text(&time.plain()));
    let end_time_ms = parts.get(names::END_TIME).and_then(|time| moment::of_text(&time.plain()));
    event.end_time_ms = end_time_ms.filter(|end| event.start_time_ms.is_none_or(|start| start <= *end));
    event.target.query = parts.map(names::QUERY_TEXT);
    event.http_request = http_request(&mut parts);
    let access = access_of_parts(&mut parts);
    let mut objects = objects_of_parts(&parts);
    let (unmapped, places) = left_of_parts(&parts);
    event.unmapped = unmapped;
    objects.places = places;
    event.unmapped.extend(common.around.iter().cloned());
    event.shared = event.unmapped.len();
    let events = events_of(&event.action.plain(), access.entries());
    let mut sequence = Sequence::of(events);
    fan_out(common, &mut event, &objects, access, &mut sequence, emit);
    Ok(())
}

fn access_of_parts<'a>(parts: &mut Parts<'a>) -> Access<'a> {
    let begins = |rest: &str| rest.starts_with(['+', '-']);
    let added = parts.list(names::ACL_ADD, begins);
    let removed = parts.list(names::ACL_REMOVE, begins);
    for name in [names::ACL_ADD, names::ACL_REMOVE] {
        parts.map(name);
    }
    Access { owner: parts.map(names::NEW_OWNER), added, removed }
}

/// Members that no event maps, and the paths, which some events map and others do not.
fn left_of_parts<'a>(parts: &Parts<'a>) -> (Members<'a>, Members<'a>) {
    let mut unmapped = Members::with_capacity(USUAL_UNMAPPED);
    let (mut places, mut times) = (Members::new(), Members::new());
    for part in parts.iter().filter(|part| !part.is_mapped) {
        let member = (part.name(), parts.copied(part));
        match part.known {
            // Each event maps these, or adds them to its unmapped members.
            Some(names::DATABASE | names::TABLE) => {}
            Some(names::PATHS) => places.push(member),
            // OCSF has attributes of these names that hold milliseconds.
            Some(names::START_TIME | names::END_TIME) => times.push(member),
            _ => unmapped.push(member),
        }
    }
    if !times.is_empty() {
        unmapped.push((Text::word("times"), Value::Object(times)));
    }
    (unmapped, places)
}

fn objects_of_parts<'a>(parts: &Parts<'a>) -> Objects<'a> {
    let login = |name| parts.get(name);
    let member = login(names::LOGIN_MEMBER).filter(|_| parts.get(names::LOGIN_GROUP).is_some());
    Objects {
        database: parts.get(names::DATABASE),
        paths: parts.list(names::PATHS, |_| true),
        sources: Vec::new(),
        table: parts.get(names::TABLE),
        user: member.or_else(|| login(names::LOGIN_USER)),
        group: login(names::LOGIN_GROUP),
        places: Members::new(),
    }
}

/// The HTTP request. The parameters are mapped only if there is a path, the method only if it is a known one.
fn http_request<'a>(parts: &mut Parts<'a>) -> HttpRequest<'a> {
    let (method, path) = (parts.get(names::METHOD), parts.map(names::URL));
    let query = path.as_ref().and_then(|_| parts.map(names::PARAMS));
    let request = HttpRequest { method, path, query, ..HttpRequest::default() };
    if request.method.is_none() || request.known_method().is_some() {
        parts.map(names::METHOD);
    }
    request
}

fn outcome<'a>(event: &mut Event<'a>, parts: &mut Parts<'a>) {
    let detailed = parts.map(names::DETAILED_STATUS);
    let status = parts.get(names::STATUS);
    let plain = status.as_ref().map(Text::plain);
    event.status = match plain.as_deref() {
        Some("SUCCESS") => Status::Success,
        // A later record has the outcome.
        Some("IN-PROCESS") => Status::Unknown,
        Some(_) => Status::Failure,
        None => detailed.as_ref().map_or(Status::Unknown, |detailed| scheme_status(&detailed.plain())),
    };
    // The detailed status includes all that these statuses say.
    if matches!(plain.as_deref(), Some("SUCCESS" | "ERROR")) && detailed.is_some() {
        parts.map(names::STATUS);
    }
    event.status_code = match detailed {
        Some(detailed) => Some(detailed),
        None => parts.map(names::STATUS),
    };
    event.status_detail = parts.map(names::REASON);
}

/// The outcome that a status of the schemeshard means. `StatusAccepted` and `StatusAlreadyExists` count as success.
fn scheme_status(status: &str) -> Status {
    match status {
        "StatusSuccess" | "StatusAccepted" | "StatusAlreadyExists" | "SUCCESS" => Status::Success,
        _ => Status::Failure,
    }
}

fn blank<'a>(action: Text<'a>, time_ms: i64) -> Event<'a> {
    let unknown = Activity::of(Class::ApiActivity, 0);
    Event::new(PRODUCT, unknown, action, time_ms)
}

/// Emits the operation's event and one for each of its access entries. An operation that only changes access has no
/// event besides these.
fn fan_out<'a>(
    common: &Common<'_>,
    event: &mut Event<'a>,
    objects: &Objects<'a>,
    access: Access<'a>,
    sequence: &mut Sequence,
    emit: &mut dyn FnMut(&Event<'_>),
) {
    // Only the operation's first event has these, and the shared members of `unmapped`.
    let mut query = event.target.query.take();
    let mut places = Some(&objects.places);
    let labels = event.metadata.labels.len();
    // What belongs to one event alone is removed before the next.
    let mut hand_on = |event: &mut Event<'a>| {
        if sequence.has_passed(common.context.budget.events_max) {
            return;
        }
        event.metadata.sequence = sequence.next();
        event.target.query = query.take();
        keep_places(event, objects, &mut places);
        emit(event);
        event.unmapped.truncate(event.shared);
        event.metadata.labels.truncate(labels);
    };
    let rows = common.context.rows;
    let has_entries = access.entries() > 0;
    if !has_entries || !event.action.is(targets::MODIFY_ACL) {
        targets::fill(event, rows, objects);
        hand_on(event);
        if !has_entries {
            return;
        }
    }
    if let Some(owner) = access.owner {
        targets::fill_owner(event, rows, objects, owner);
        hand_on(event);
    }
    let added = access.added.into_iter().map(|entry| ("add access", entry));
    let removed = access.removed.into_iter().map(|entry| ("remove access", entry));
    for (fact, text) in added.chain(removed) {
        let entry = Entry::of(&text);
        if entry.as_ref().is_some_and(|entry| entry.is_denial) {
            event.metadata.labels.push("denial");
        }
        targets::fill_entry(event, rows, objects, fact, &text, entry);
        event.unmapped.push((Text::word(fact), Value::Text(text)));
        hand_on(event);
    }
}

/// Adds to the unmapped members the database, table and paths that the event does not map.
fn keep_places<'a>(event: &mut Event<'a>, objects: &Objects<'a>, places: &mut Option<&Members<'a>>) {
    let target = &event.target;
    let has_paths = target.entity.is_some() || target.table.is_some() || !target.resources.is_empty();
    let has_all = has_paths && objects.paths.len() + objects.sources.len() < targets::PATHS_MAX;
    let lacks_database = target.database.is_none();
    let lacks_table = target.table.is_none();
    if !has_all {
        event.unmapped.extend(places.take().into_iter().flatten().cloned());
    }
    let database = objects.database.iter().filter(|_| lacks_database).map(|name| ("database", name));
    let table = objects.table.iter().filter(|_| lacks_table).map(|name| ("table", name));
    let lacking = database.chain(table).map(|(name, text)| (Text::word(name), Value::Text(text.clone())));
    event.unmapped.extend(lacking);
}
