//! The targets of an Immuta action: the fields that the mapping names, read as users, groups and data sources.

use std::borrow::Cow;
use std::cell::OnceCell;

use crate::event::{
    Class, Databucket, Event, File, Group, Json, Resource, Role, Row, Rows, Slot, Target, Text, User, UserKind,
    unescape,
};
use crate::family::immuta::Source;

const DATA_SOURCE_NAMES: &[&str] = &["dataSource", "dataSourceName"];
const DATA_SOURCE_IDS: &[&str] = &["dataSourceId"];

/// Room for the fields that a row reads; few rows read more.
const USUAL_READ: usize = 8;

/// For each type of object, the fields that hold its name and those that hold its id.
const NAMES: &[(&str, &[&str], &[&str])] = &[
    ("data_source", DATA_SOURCE_NAMES, DATA_SOURCE_IDS),
    ("project", &["projectName"], &["projectId"]),
    ("purpose", &["purposeName", "purpose"], &["purposeId"]),
    (
        "policy",
        &["policyName", "globalPolicyName", "policyHandlerName"],
        &["policyId", "globalPolicyId", "policyHandlerId"],
    ),
    ("query", &["queryName"], &["queryId"]),
    ("script", &["scriptName"], &["scriptId"]),
    ("kernel", &["kernelName"], &["kernelId"]),
    ("data_dictionary", &["dictionaryName", "dataSource", "dataSourceName"], &["dictionaryId", "dataSourceId"]),
    ("governance", &["component"], &[]),
    ("component", &["component"], &[]),
];

/// Applies the best row, with the targets that the row names. If the record lacks targets that the class requires, the
/// event is written as API Activity, with the row's verb.
pub(super) fn fill<'a>(event: &mut Event<'a>, rows: &'static Rows, code: &str, source: &mut Source<'a>) {
    let facts = Facts::of(source);
    let Some(row) = rows.matching(code, &|name| facts.get(name)).next() else { return };
    event.activity = row.activity;
    event.caption = row.caption.map(Text::from).or_else(|| facts.caption(row));
    let mut reading = Reading {
        source,
        actor: &event.actor.user,
        feature: event.metadata.feature.as_ref(),
        target: &mut event.target,
        read: Vec::with_capacity(USUAL_READ),
    };
    reading.fill(row);
    for name in reading.read {
        source.placed(name);
    }
}

/// As [`fill`], for an event whose target is known already.
pub(super) fn fill_event<'a>(event: &mut Event<'a>, rows: &'static Rows, code: &str, entity: Resource<'a>) {
    let Some(row) = rows.matching(code, &|_| None).next() else { return };
    match row.activity.class {
        Class::DatastoreActivity => event.target.table = Some(entity),
        Class::Authentication => {
            event.target.user = Some(event.actor.user.clone());
            event.target.service = Some(Text::from("Immuta"));
        }
        _ => event.target.entity = Some(entity),
    }
    event.activity = row.activity;
    event.caption = row.caption.map(Text::from);
}

/// The facts that rows have conditions on, and the field that holds each.
const FACTS: [(&str, &str); 6] = [
    ("action", "action"),
    ("state", "dataSourceSubscriptionState"),
    ("type", "accessedIdType"),
    ("accessType", "accessType"),
    ("groupAccessType", "groupAccessType"),
    ("keyAction", "keyAction"),
];

/// The facts of one record. Each is read on demand, since few rows have conditions.
struct Facts<'s, 'a> {
    source: &'s Source<'a>,
    read: [OnceCell<Option<Cow<'a, str>>>; FACTS.len()],
}

impl<'s, 'a> Facts<'s, 'a> {
    fn of(source: &'s Source<'a>) -> Self {
        Self { source, read: Default::default() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        let place = FACTS.iter().position(|(fact, _)| *fact == name)?;
        let (fact, field) = FACTS[place];
        let read = self.read[place].get_or_init(|| {
            let Some(Json::String(inside)) = self.source.get_own(field) else { return None };
            let text = unescape(inside);
            // The product's document has both "revoke" and "granted".
            Some(match &*text {
                "revoke" if fact == "action" => Cow::Borrowed("revoked"),
                "grant" if fact == "action" => Cow::Borrowed("granted"),
                _ => text,
            })
        });
        read.as_deref()
    }

    /// The value that the row's selector depends on, as the caption of an activity that has none.
    fn caption<'t>(&self, row: &Row) -> Option<Text<'t>> {
        let (_, condition) = row.selector.split_once('[')?;
        let (name, _) = condition.split_once('=')?;
        self.get(name).map(|word| Text::from(word.to_owned()))
    }
}

/// Reads the targets of one row.
struct Reading<'r, 'a> {
    source: &'r Source<'a>,
    actor: &'r User<'a>,
    feature: Option<&'r Text<'a>>,
    target: &'r mut Target<'a>,
    /// The fields that were read, whose whole values the event holds.
    read: Vec<&'static str>,
}

impl<'a> Reading<'_, 'a> {
    fn fill(&mut self, row: &'static Row) {
        for slot in &row.slots {
            match slot.role {
                Role::User => self.target.user = self.user(slot),
                Role::Group => {
                    let named = self.first(slot);
                    self.target.group = named.map(|uid| Group { uid: Some(uid), name: None });
                }
                Role::Privileges => self.target.privileges = self.privileges(slot),
                Role::Resource => {
                    let named = self.named("data_source").filter(Resource::is_known);
                    self.target.resources.extend(named);
                }
                Role::Entity => self.target.entity = self.entity(slot),
                Role::Service => self.target.service = Some(Text::from("Immuta")),
                Role::Table => (self.target.table, self.target.database) = self.table(),
                Role::Database => self.target.database = Some(self.data_source_or_unknown()),
                Role::File => self.target.databucket = self.blob(),
                _ => {}
            }
        }
    }

    fn field(&mut self, name: &'static str) -> Option<Text<'a>> {
        let text = self.source.first(&[name])?;
        self.read.push(name);
        Some(text)
    }

    /// The first of the slot's fields that says something.
    fn first(&mut self, slot: &'static Slot) -> Option<Text<'a>> {
        slot.parts.iter().flatten().find_map(|name| self.field(name))
    }

    fn user(&mut self, slot: &'static Slot) -> Option<User<'a>> {
        if names(slot, "userId") {
            return Some(self.actor.clone()).filter(User::is_known);
        }
        let text = self.first(slot)?;
        let plain = text.plain();
        if plain.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(User { uid: Some(text.clone()), ..User::default() });
        }
        let is_address = plain.contains('@');
        let kind = if is_address { UserKind::User } else { UserKind::Unsaid };
        Some(User { email: is_address.then(|| text.clone()), name: Some(text.clone()), kind, ..User::default() })
    }

    /// The word `state` is the field with the state of the record, any other word a privilege itself.
    fn privileges(&mut self, slot: &'static Slot) -> Vec<Text<'a>> {
        match slot.parts.first().and_then(|part| part.first()).copied() {
            Some("state") => self.field("dataSourceSubscriptionState").into_iter().collect(),
            Some(word) => vec![Text::from(word)],
            None => Vec::new(),
        }
    }

    fn entity(&mut self, slot: &'static Slot) -> Option<Resource<'a>> {
        let Some(kind) = slot.kind else {
            let word = slot.parts.first().and_then(|part| part.first()).copied()?;
            return self.named(word);
        };
        if kind == "data_source" || kind == "project" {
            return self.named(kind);
        }
        let text = match kind {
            "user" if names(slot, "userId") => {
                let user = self.actor;
                let named = Resource { name: user.name.clone(), uid: user.uid.clone(), ..Resource::default() };
                return Some(Resource { kind: Some(Text::from(kind)), ..named });
            }
            _ => self.first(slot)?,
        };
        Some(Resource { kind: Some(Text::from(kind)), uid: Some(text), ..Resource::default() })
    }

    fn named(&mut self, kind: &'static str) -> Option<Resource<'a>> {
        let (_, names, ids) = NAMES.iter().find(|(known, _, _)| *known == kind)?;
        let name = names.iter().find_map(|name| self.field_or_feature(name));
        let uid = ids.iter().find_map(|id| self.field(id));
        Some(Resource { kind: Some(Text::from(kind)), name, uid, ..Resource::default() })
    }

    fn field_or_feature(&mut self, name: &'static str) -> Option<Text<'a>> {
        if name == "component" { self.feature.cloned() } else { self.field(name) }
    }

    /// The table, as `schema.table`, and the data source as its database. Without a table, only the data source.
    fn table(&mut self) -> (Option<Resource<'a>>, Option<Resource<'a>>) {
        let name = match (self.field("dataSourceSchemaName"), self.field("dataSourceTableName")) {
            (Some(schema), Some(table)) => Text::from(format!("{}.{}", schema.plain(), table.plain())),
            (None, Some(table)) => table,
            _ => return (None, Some(self.data_source_or_unknown())),
        };
        let table = Resource { name: Some(name), ..Resource::default() };
        let source = self.named("data_source").filter(Resource::is_known);
        (Some(table), source.map(|source| Resource { kind: None, ..source }))
    }

    fn data_source_or_unknown(&mut self) -> Resource<'a> {
        let source = self.named("data_source").filter(Resource::is_known);
        let found = source.unwrap_or_else(|| Resource { name: Some(Text::from("unknown")), ..Resource::default() });
        Resource { kind: None, ..found }
    }

    fn blob(&mut self) -> Option<Databucket<'a>> {
        let source = self.named("data_source").filter(Resource::is_known)?;
        let path = self.field("blobId")?;
        let size = self.source.get("blobSize").and_then(Json::integer).and_then(|bytes| u64::try_from(bytes).ok());
        if size.is_some() {
            self.read.push("blobSize");
        }
        let file = File { path, size, version: None, is_folder: false };
        Some(Databucket {
            name: source.name,
            uid: source.uid,
            kind: Some("Immuta data source"),
            file: Some(file),
            version: None,
        })
    }
}

/// Whether the slot names this field.
fn names(slot: &Slot, field: &str) -> bool {
    slot.parts.iter().flatten().any(|name| *name == field)
}
