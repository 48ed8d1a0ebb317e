//! The events of a YDB record: one for each operation, and one for each access entry of an operation.

use crate::event::Activity;
use crate::event::Actor;
use crate::event::Api;
use crate::event::Class;
use crate::event::Event;
use crate::event::HttpRequest;
use crate::event::Mask;
use crate::event::Members;
use crate::event::Secrets;
use crate::event::Status;
use crate::event::Text;
use crate::event::Value;
use crate::event::moment;
use crate::family::Context;
use crate::family::Refusal;
use crate::family::ydb::PRODUCT;
use crate::family::ydb::access::Entry;
use crate::family::ydb::party::endpoint;
use crate::family::ydb::party::user;
use crate::family::ydb::schemeshard::Operation;
use crate::family::ydb::schemeshard::Transaction;
use crate::family::ydb::stream::Parts;
use crate::family::ydb::targets;
use crate::family::ydb::targets::Objects;

/// What YDB's monitoring leaves at the end of a request's body that it cut short.
const TRUNCATED: &str = "**TRUNCATED_BY_YDB**";

/// What the proxy that users log on at calls it.
const LOGIN: &str = "LOGIN";

/// What the events of a record have from around it.
pub(super) struct Common<'c> {
    pub(super) context: &'c Context<'c>,
    pub(super) around: &'c Members<'c>,
    pub(super) runtime_time: Option<&'c Text<'c>>,
    /// Of the record's text.
    pub(super) bytes: usize,
    /// Where in the record the secrets stand, from where they stand in its text.
    pub(super) masks: &'c dyn Fn(Vec<Mask>) -> Vec<Mask>,
}

impl Common<'_> {
    /// The time that the record says, or else the runtime's or the object's, and that it was inferred.
    fn time(&self, said: Option<&str>) -> Result<(i64, bool), Refusal> {
        if let Some(time_ms) = said.and_then(moment::of_text) {
            return Ok((time_ms, false));
        }
        let of_runtime = self.runtime_time.and_then(|time| moment::of_text(&time.plain()));
        let inferred = of_runtime.or_else(|| self.context.last_modified_ms.and_then(moment::plausible));
        inferred.map(|time_ms| (time_ms, true)).ok_or(Refusal::new("neither the record nor its object has a time"))
    }
}

/// What the events of one record may take up together, in bytes: each repeats what they have in common.
const EVENTS_BYTES_MAX: usize = 256 << 20;

/// Counts the events of a record.
struct Sequence {
    next: u32,
    is_single: bool,
}

impl Sequence {
    fn of(events: usize, record_bytes: usize) -> Result<Self, Refusal> {
        if events > 1 && events.saturating_mul(record_bytes) > EVENTS_BYTES_MAX {
            return Err(Refusal::new("the record gives more than 256 MiB of events"));
        }
        Ok(Self { next: 0, is_single: events <= 1 })
    }

    fn next(&mut self) -> Option<u32> {
        let number = self.next;
        self.next += 1;
        (!self.is_single).then_some(number)
    }
}

/// How many events an operation gives: one for each of its entries, and one of its own unless it only changes access.
fn events_of(operation: &str, entries: usize) -> usize {
    if operation == targets::MODIFY_ACL { entries.max(1) } else { entries + 1 }
}

/// What is to be done with an object's access: the owner that is set, and the entries.
#[derive(Default)]
struct Access<'a> {
    owner: Option<Text<'a>>,
    added: Vec<Text<'a>>,
    removed: Vec<Text<'a>>,
}

/// The members of an operation by the names of the text form.
pub(super) fn members<'t>(operation: &Operation<'t>, word: fn(&'t str) -> Text<'t>) -> Members<'t> {
    let text = |piece| Value::Text(word(piece));
    let list = |pieces: &[&'t str]| Value::List(pieces.iter().map(|piece| text(piece)).collect());
    let mut members = vec![(Text::from("operation"), text(operation.name))];
    match operation.paths.as_slice() {
        [] => {}
        [path] => members.push((Text::from("path"), text(path))),
        paths => members.push((Text::from("path"), list(paths))),
    }
    let lists = [
        ("src path", &operation.src_paths),
        ("dst path", &operation.dst_paths),
        ("add access", &operation.added),
        ("remove access", &operation.removed),
    ];
    let (paths, entries) = lists.split_at(2);
    let pairs = |lists: &[(&'static str, &Vec<&'t str>)], members: &mut Members<'t>| {
        let said = lists.iter().filter(|(_, pieces)| !pieces.is_empty());
        members.extend(said.map(|(name, pieces)| (Text::from(*name), list(pieces))));
    };
    pairs(paths, &mut members);
    if operation.has_no_path {
        members.push((Text::from("no path"), Value::Json("true".into())));
    }
    members.extend(operation.owner.map(|owner| (Text::from("set owner"), text(owner))));
    pairs(entries, &mut members);
    members.extend(operation.request.as_ref().map(|request| (Text::from("protobuf request"), text(request.text))));
    members.extend(operation.rest.map(|rest| (Text::from("rest"), text(rest))));
    members
}

/// The events of a line of the common log.
pub(super) fn of_transaction<'a>(
    common: &Common<'a>,
    line: &Transaction<'a>,
    word: fn(&'a str) -> Text<'a>,
    emit: &mut dyn FnMut(&Event<'_>),
) -> Result<(), Refusal> {
    let (time_ms, time_inferred) = common.time(Some(line.timestamp))?;
    let status = word(line.status);
    let counts = line.operations.iter().map(|operation| {
        let entries = usize::from(operation.owner.is_some()) + operation.added.len() + operation.removed.len();
        events_of(operation.name, entries)
    });
    let mut sequence = Sequence::of(counts.sum(), common.bytes)?;
    for operation in &line.operations {
        let mut event = blank(word(operation.name), time_ms);
        event.metadata.time_inferred = time_inferred;
        event.metadata.original_time = Some(Text::from(line.timestamp));
        event.metadata.original_uid = Some(Text::from(line.tx_id));
        event.metadata.correlation_uid = Some(Text::from(line.tx_id));
        event.metadata.feature = Some(Text::from(line.component));
        event.metadata.log_level = Some(Text::from(line.level));
        if line.is_ambiguous {
            event.metadata.labels.push("ambiguous");
        }
        event.api = Api { service: Some(Text::from(line.component)), ..Api::default() };
        event.actor =
            Actor { user: user(line.subject.filter(|subject| *subject != "no subject").map(word)), ..Actor::default() };
        event.status = scheme_status(line.status);
        event.status_code = Some(status.clone());
        event.status_detail = line.reason.map(word);
        event.masks = (common.masks)(Vec::new());
        event.unmapped.extend(
            line.node
                .map(|node| (Text::from("node"), node.parse().map_or_else(|_| Value::Text(word(node)), Value::Int))),
        );
        let of_objects = ["path", "src path", "dst path"];
        let of_entries = ["operation", "set owner", "add access", "remove access"];
        let (places, others): (Members<'_>, Members<'_>) =
            members(operation, word).into_iter().partition(|(name, _)| of_objects.contains(&&*name.plain()));
        event.unmapped.extend(others.into_iter().filter(|(name, _)| !of_entries.contains(&&*name.plain())));
        event.unmapped.extend(common.around.iter().cloned());
        let objects = Objects { places, ..objects_of(line, operation, word) };
        let access = Access {
            owner: operation.owner.map(word),
            added: operation.added.iter().map(|entry| word(entry)).collect(),
            removed: operation.removed.iter().map(|entry| word(entry)).collect(),
        };
        fan_out(event, &objects, access, &mut sequence, emit);
    }
    Ok(())
}

fn objects_of<'a>(line: &Transaction<'a>, operation: &Operation<'a>, word: fn(&'a str) -> Text<'a>) -> Objects<'a> {
    let request = operation.request.as_ref();
    let login = |names: &[&str]| request.and_then(|request| request.login(names)).map(Text::from);
    let targets = operation.paths.iter().chain(&operation.dst_paths);
    Objects {
        database: line.database.map(word),
        paths: targets.map(|path| word(path)).collect(),
        sources: operation.src_paths.iter().map(|path| word(path)).collect(),
        table: None,
        user: login(&["User", "Member"]),
        group: login(&["Group"]),
        places: Members::new(),
    }
}

/// The events of a record of the audit stream. `time` stands before it.
pub(super) fn of_parts<'a>(
    common: &Common<'a>,
    mut parts: Parts<'a>,
    time: Option<&'a str>,
    secrets: Secrets<'a>,
    emit: &mut dyn FnMut(&Event<'_>),
) -> Result<(), Refusal> {
    let own_time = parts.get("@timestamp").map(|time| time.plain().into_owned());
    let (time_ms, time_inferred) = common.time(time.or(own_time.as_deref()))?;
    let action = parts.map("operation").unwrap_or(Text::from("unknown"));
    let mut event = blank(action, time_ms);
    event.metadata.time_inferred = time_inferred;
    event.metadata.original_time = time.map(Text::from).or_else(|| parts.map("@timestamp"));
    let (tx, request, id) = (parts.map("tx_id"), parts.map("request_id"), parts.get("id").cloned());
    event.metadata.correlation_uid = tx.clone().or_else(|| request.clone());
    event.metadata.original_uid = id.or_else(|| request.clone()).or(tx);
    event.metadata.feature = parts.map("component");
    if parts.is_ambiguous {
        event.metadata.labels.push("ambiguous");
    }
    let is_truncated = |text: &Text<'_>| text.plain().ends_with(TRUNCATED);
    event.metadata.is_truncated = ["body", "query_text"].iter().any(|name| parts.get(name).is_some_and(is_truncated));
    // What a user logs on as is all that is known of who acts then. Elsewhere it is who is acted upon.
    let logs_on_as = parts.get("login_user").filter(|_| event.action.is(LOGIN)).cloned();
    let subject = parts.map("subject").or(logs_on_as);
    event.actor = Actor { user: user(subject), ..Actor::default() };
    event.src = parts.map("remote_address").map(endpoint);
    event.api = Api { service: parts.map("grpc_method"), request_uid: request, ..Api::default() };
    outcome(&mut event, &mut parts);
    event.start_time_ms = parts.get("start_time").and_then(|time| moment::of_text(&time.plain()));
    let end_time_ms = parts.get("end_time").and_then(|time| moment::of_text(&time.plain()));
    event.end_time_ms = end_time_ms.filter(|end| event.start_time_ms.is_none_or(|start| start <= *end));
    event.target.query = parts.map("query_text");
    event.http_request = http_request(&mut parts);
    let begins = |rest: &str| rest.starts_with(['+', '-']);
    let access = Access {
        added: parts.list("acl_add", begins),
        removed: parts.list("acl_remove", begins),
        owner: parts.map("new_owner"),
    };
    for name in ["acl_add", "acl_remove"] {
        parts.map(name);
    }
    let (mut places, mut times) = (Members::new(), Members::new());
    for part in parts.unmapped() {
        let member = (part.name.clone(), part.value.clone());
        match &*part.name.plain() {
            // Their places are the events' affair.
            "database" | "table" => {}
            "paths" => places.push(member),
            // OCSF's attributes of these names hold milliseconds.
            "start_time" | "end_time" => times.push(member),
            _ => event.unmapped.push(member),
        }
    }
    if !times.is_empty() {
        event.unmapped.push((Text::from("times"), Value::Object(times)));
    }
    event.unmapped.extend(common.around.iter().cloned());
    let objects = Objects { places, ..objects_of_parts(&parts) };
    event.masks = (common.masks)(secrets.masks);
    let entries = usize::from(access.owner.is_some()) + access.added.len() + access.removed.len();
    let mut sequence = Sequence::of(events_of(&event.action.plain(), entries), common.bytes)?;
    fan_out(event, &objects, access, &mut sequence, emit);
    Ok(())
}

fn objects_of_parts<'a>(parts: &Parts<'a>) -> Objects<'a> {
    let login = |name| parts.get(name).cloned();
    Objects {
        database: parts.get("database").cloned(),
        paths: parts.list("paths", |_| true),
        sources: Vec::new(),
        table: parts.get("table").cloned(),
        user: login("login_member").filter(|_| parts.get("login_group").is_some()).or_else(|| login("login_user")),
        group: login("login_group"),
        places: Members::new(),
    }
}

/// The request, as far as an event has places for it: parameters need a path, and a method must be a known one.
fn http_request<'a>(parts: &mut Parts<'a>) -> HttpRequest<'a> {
    let (method, path) = (parts.get("method").cloned(), parts.map("url"));
    let query = path.as_ref().and_then(|_| parts.map("params"));
    let request = HttpRequest { method, path, query, ..HttpRequest::default() };
    if request.method.is_none() || request.known_method().is_some() {
        parts.map("method");
    }
    request
}

fn outcome<'a>(event: &mut Event<'a>, parts: &mut Parts<'a>) {
    let detailed = parts.map("detailed_status");
    let status = parts.get("status").cloned();
    event.status = match status.as_ref().map(Text::plain).as_deref() {
        Some("SUCCESS") => Status::Success,
        // A record with the outcome follows.
        Some("IN-PROCESS") => Status::Unknown,
        Some(_) => Status::Failure,
        None => detailed.as_ref().map_or(Status::Unknown, |detailed| scheme_status(&detailed.plain())),
    };
    if event.status != Status::Unknown {
        // That is what the status says, no less.
        let said = matches!(status.as_ref().map(Text::plain).as_deref(), Some("SUCCESS" | "ERROR"));
        if said && detailed.is_some() {
            parts.map("status");
        }
    }
    event.status_code = match detailed {
        Some(detailed) => Some(detailed),
        None => parts.map("status"),
    };
    event.status_detail = parts.map("reason");
}

/// Accepted, and already there, count as success.
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

/// Hands on the operation's event, and one for each of its entries. What only changes access has no event of its own
/// besides them.
fn fan_out<'a>(
    mut event: Event<'a>,
    objects: &Objects<'a>,
    access: Access<'a>,
    sequence: &mut Sequence,
    emit: &mut dyn FnMut(&Event<'_>),
) {
    let action = event.action.plain().into_owned();
    let query = event.target.query.take();
    let mut hand_on = |event: &mut Event<'a>| {
        event.metadata.sequence = sequence.next();
        keep_places(event, objects);
        emit(event);
    };
    let unmapped = event.unmapped.clone();
    let has_entries = access.owner.is_some() || !access.added.is_empty() || !access.removed.is_empty();
    if action != targets::MODIFY_ACL || !has_entries {
        targets::fill(&mut event, &action, objects);
        event.target.query = query;
        hand_on(&mut event);
        if !has_entries {
            return;
        }
        event.target.query = None;
    }
    let base = blank_of(event, unmapped);
    if let Some(owner) = access.owner {
        let mut event = base.clone();
        targets::fill_owner(&mut event, objects, owner);
        hand_on(&mut event);
    }
    let added = access.added.into_iter().map(|entry| ("add access", entry));
    let removed = access.removed.into_iter().map(|entry| ("remove access", entry));
    for (fact, text) in added.chain(removed) {
        let mut event = base.clone();
        let plain = text.plain().into_owned();
        let entry = Entry::of(&plain);
        if entry.as_ref().is_some_and(|entry| entry.is_denial) {
            event.metadata.labels.push("denial");
        }
        targets::fill_entry(&mut event, objects, fact, &text, entry.as_ref());
        event.unmapped.push((Text::from(fact), Value::Text(text)));
        hand_on(&mut event);
    }
}

/// The event before its own objects were written down.
fn blank_of<'a>(event: Event<'a>, unmapped: Members<'a>) -> Event<'a> {
    Event { unmapped, ..event }
}

/// Keeps beside the event what it has no place for: database, table and paths as the record names them.
fn keep_places<'a>(event: &mut Event<'a>, objects: &Objects<'a>) {
    let target = &event.target;
    let has_paths = target.entity.is_some() || target.table.is_some() || !target.resources.is_empty();
    let has_all = has_paths && objects.paths.len() + objects.sources.len() < targets::PATHS_MAX;
    let lacks_database = target.database.is_none();
    let lacks_table = target.table.is_none();
    if !has_all {
        event.unmapped.extend(objects.places.iter().cloned());
    }
    let database = objects.database.iter().filter(|_| lacks_database).map(|name| ("database", name));
    let table = objects.table.iter().filter(|_| lacks_table).map(|name| ("table", name));
    let lacking = database.chain(table).map(|(name, text)| (Text::from(name), Value::Text(text.clone())));
    event.unmapped.extend(lacking);
}
