//! The objects of a YDB operation, as the mapping names them: tables, databases, users, groups and paths.

use crate::event::{Event, Group, Members, Resource, Role, Row, Rows, Target, Text, User, Value};
use crate::family::ydb::access::Entry;

/// The operation that only changes access.
pub(super) const MODIFY_ACL: &str = "MODIFY ACL";

/// The most paths of one operation that become resources of its event.
pub(super) const PATHS_MAX: usize = 100;

/// The objects of an operation.
#[derive(Debug, Default)]
pub(super) struct Objects<'a> {
    pub(super) database: Option<Text<'a>>,
    /// The paths that the operation is applied to.
    pub(super) paths: Vec<Text<'a>>,
    /// The paths that are copied or moved.
    pub(super) sources: Vec<Text<'a>>,
    pub(super) table: Option<Text<'a>>,
    pub(super) user: Option<Text<'a>>,
    pub(super) group: Option<Text<'a>>,
    /// The paths as members, by the record's names for them.
    pub(super) places: Members<'a>,
}

/// Fills the event from the mapping row of its operation, with the objects that the row names.
pub(super) fn fill<'a>(event: &mut Event<'a>, rows: Option<&'static Rows>, objects: &Objects<'a>) {
    let whole = event.action.borrowed().map(Text::from);
    let operation = whole.unwrap_or_else(|| Text::from(event.action.plain().into_owned()));
    fit(event, rows, &operation.plain(), "unparsed", |row, target| aim(target, row, objects));
    event.metadata.event_code = Some(operation);
}

/// Fills the event that sets the owner.
pub(super) fn fill_owner<'a>(
    event: &mut Event<'a>,
    rows: Option<&'static Rows>,
    objects: &Objects<'a>,
    owner: Text<'a>,
) {
    event.metadata.event_code = Some(Text::word("MODIFY ACL[set owner]"));
    fit(event, rows, MODIFY_ACL, "set owner", |row, target| {
        aim(target, row, objects);
        if let Some(entity) = &mut target.entity {
            entity.data = Some(Value::Object(vec![(Text::word("owner"), Value::Text(owner.clone()))]));
        }
    });
}

/// Fills the event of one access entry. `fact` is `add access` or `remove access`.
pub(super) fn fill_entry<'a>(
    event: &mut Event<'a>,
    rows: Option<&'static Rows>,
    objects: &Objects<'a>,
    fact: &'static str,
    text: &Text<'a>,
    entry: Option<Entry<'a>>,
) {
    let (fact, code) = match (entry.is_some(), fact) {
        (true, "add access") => (fact, "MODIFY ACL[add access]"),
        (true, _) => (fact, "MODIFY ACL[remove access]"),
        (false, _) => ("unparsed", "MODIFY ACL[unparsed]"),
    };
    event.metadata.event_code = Some(Text::word(code));
    fit(event, rows, MODIFY_ACL, fact, |row, target| {
        aim(target, row, objects);
        match entry {
            Some(Entry { sid, rights, .. }) => {
                target.user = Some(User { email: Some(sid.clone()), name: Some(sid), ..User::default() });
                target.privileges = rights;
            }
            None => target.access_list = vec![text.clone()],
        }
    });
}

/// Applies the best mapping row for this operation and fact. If the row's objects are not known, the event is encoded
/// as API Activity, with the row's verb.
fn fit<'a>(
    event: &mut Event<'a>,
    rows: Option<&'static Rows>,
    operation: &str,
    fact: &str,
    aim: impl FnOnce(&'static Row, &mut Target<'a>),
) {
    let holds = |name: &str| (name == fact).then_some("");
    if let Some(row) = rows.and_then(|rows| rows.matching(operation, &holds).next()) {
        event.target = Target::default();
        aim(row, &mut event.target);
        event.activity = row.activity;
        event.caption = row.caption.map(Text::from);
    }
}

/// Fills an empty target with the objects that the row names.
fn aim<'a>(target: &mut Target<'a>, row: &'static Row, objects: &Objects<'a>) {
    let path = objects.paths.first();
    for slot in &row.slots {
        let names = |word: &str| slot.parts.iter().flatten().any(|name| *name == word);
        match slot.role {
            Role::Table => target.table = objects.table.as_ref().or(path).cloned().map(named),
            Role::Database if names("path") => {
                target.database = objects.database.as_ref().or(path).cloned().map(named);
                target.table = objects.table.clone().map(named);
                target.resources.extend(paths(objects, "path"));
            }
            Role::Database => target.database = objects.database.clone().map(named),
            Role::Entity => {
                target.entity = path.cloned().map(|path| Resource { kind: Some(Text::word("path")), ..named(path) })
            }
            Role::Resource => target.resources.extend(paths(objects, "path")),
            Role::User => {
                let user = |sid: Text<'a>| User { email: Some(sid.clone()), name: Some(sid), ..User::default() };
                target.user = objects.user.clone().map(user);
            }
            Role::Group => target.group = objects.group.clone().map(|name| Group { name: Some(name), uid: None }),
            _ => {}
        }
    }
    if row.slots.iter().any(|slot| slot.role == Role::Table) {
        let first = usize::from(objects.table.is_none());
        target.resources.extend(paths(objects, "table").skip(first));
    }
    target.resources.extend(objects.sources.iter().take(PATHS_MAX).cloned().map(|path| of_kind("source", path)));
}

fn paths<'a>(objects: &Objects<'a>, kind: &'static str) -> impl Iterator<Item = Resource<'a>> {
    objects.paths.iter().take(PATHS_MAX).cloned().map(move |path| of_kind(kind, path))
}

fn of_kind<'a>(kind: &'static str, path: Text<'a>) -> Resource<'a> {
    Resource { kind: Some(Text::word(kind)), ..named(path) }
}

fn named(name: Text<'_>) -> Resource<'_> {
    Resource { name: Some(name), ..Resource::default() }
}
