//! The table that maps a source's actions to OCSF classes and activities, and names the fields that hold the event's
//! objects.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use crate::event::class::OTHER;
use crate::event::pattern::Pattern;
use crate::event::{Activity, Class};

/// Tab-separated; the first line names the columns.
const TABLE: &str = include_str!("mapping.tsv");

static BUILT_IN: LazyLock<Mapping> =
    LazyLock::new(|| Mapping::parse(TABLE).expect("the table in the repository, which a test loads"));

/// The rows of all families.
#[derive(Debug)]
pub struct Mapping {
    families: HashMap<&'static str, Rows>,
}

/// The rows of one family.
#[derive(Debug, Default)]
pub struct Rows {
    /// Rows whose selector names one action, by that action. Rows of the same action differ in their conditions.
    exact: HashMap<&'static str, Vec<Row>, BuildHasherDefault<Fnv>>,
    /// Rows that match many actions, in the order of the table.
    fallbacks: Vec<(Pattern, Row)>,
}

/// FNV-1a. Its keys come from the table in this repository, not from logs, so an attacker cannot fill the map with
/// colliding keys.
#[derive(Clone, Debug)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The meaning of one kind of action.
#[derive(Debug)]
pub struct Row {
    pub selector: &'static str,
    pub activity: &'static Activity,
    /// The caption of an activity 99 (Other), if the row names one; otherwise the source's action is the caption.
    pub caption: Option<&'static str>,
    /// The objects of the event, and where they are found.
    pub slots: Vec<Slot>,
    /// Whether the row matches many actions.
    pub is_fallback: bool,
    conditions: Vec<Condition>,
}

/// One object of an event, and the source's fields that name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    pub role: Role,
    /// The first of two words, such as `cluster` in `resource=cluster cluster_id`: mostly the type of the object.
    pub kind: Option<&'static str>,
    pub parts: Parts,
}

/// Field names: in `a|b/c`, the first part is field `a` or else `b`, the second part is field `c`.
pub(super) type Parts = Vec<Vec<&'static str>>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    User,
    Group,
    Privileges,
    Policies,
    Resource,
    /// One resource for each element of a list.
    Resources,
    Owner,
    Entity,
    Service,
    Dst,
    Database,
    Databucket,
    Ref,
    File,
    Table,
    Query,
    HttpPath,
    HttpCode,
}

/// Why a table cannot be loaded. Each variant has the number of the bad line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MappingError {
    #[error("line {line}: {found} columns, expected 7")]
    Columns { line: usize, found: usize },
    #[error("line {line}: {found:?} is no class of OCSF that is known here")]
    Class { line: usize, found: String },
    #[error("line {line}: {found:?} is no activity of class {class}")]
    Activity { line: usize, found: String, class: u16 },
    #[error("line {line}: activity {id} is called {expected:?}, not {found:?}")]
    Caption { line: usize, id: u8, expected: &'static str, found: String },
    #[error("line {line}: {found:?} names no object of an event")]
    Target { line: usize, found: String },
    #[error("line {line}: {selector:?} stands in the table before")]
    Repeated { line: usize, selector: String },
}

impl Mapping {
    /// The table that is built into the program.
    pub fn built_in() -> &'static Self {
        &BUILT_IN
    }

    /// Parses a table whose first line names the columns: family, selector, class_uid, activity_id, activity_name,
    /// target, notes. Fails at the first bad row.
    pub fn parse(table: &'static str) -> Result<Self, MappingError> {
        let mut families: HashMap<&'static str, Rows> = HashMap::new();
        let mut seen = HashMap::new();
        for (text, line) in table.lines().zip(1..).skip(1) {
            let columns: Vec<&'static str> = text.split('\t').collect();
            let &[family, selector, class, activity, caption, target, _notes] = columns.as_slice() else {
                return Err(MappingError::Columns { line, found: columns.len() });
            };
            if seen.insert((family, selector), line).is_some() {
                return Err(MappingError::Repeated { line, selector: selector.to_owned() });
            }
            let (pattern, conditions) = parse_selector(selector);
            let (activity, caption) = parse_activity(class, activity, caption, line)?;
            let is_fallback = !matches!(pattern, Pattern::Exactly(_));
            let row = Row { selector, activity, caption, slots: parse_target(target, line)?, is_fallback, conditions };
            let rows = families.entry(family).or_default();
            match pattern {
                Pattern::Exactly(action) => rows.exact.entry(action).or_default().push(row),
                pattern => rows.fallbacks.push((pattern, row)),
            }
        }
        for rows in families.values_mut() {
            let verbs: Vec<&str> =
                rows.fallbacks.iter().flat_map(|(pattern, _)| pattern.rival_verbs()).copied().collect();
            rows.fallbacks.iter_mut().for_each(|(pattern, _)| pattern.set_rivals(&verbs));
        }
        Ok(Self { families })
    }

    /// The rows of a family. `None` if the table has none for it.
    pub fn family(&self, name: &str) -> Option<&Rows> {
        self.families.get(name)
    }

    pub fn rows(&self) -> usize {
        self.families.values().map(Rows::len).sum()
    }
}

impl Rows {
    /// The rows that match `action`, the best first: rows that name the action, then the fallbacks in the order of the
    /// table. Conditions are looked up with `fact`: it returns the value of a field or, for a condition without values
    /// (`add access`), any text if the condition holds.
    pub fn matching<'s, 'q, 'f>(
        &'s self,
        action: &'q str,
        fact: &'q dyn Fn(&str) -> Option<&'f str>,
    ) -> impl Iterator<Item = &'s Row> + use<'s, 'q, 'f> {
        let exact = self.exact.get(action).into_iter().flatten();
        let fallbacks = self.fallbacks.iter().filter(|(pattern, _)| pattern.fits(action)).map(|(_, row)| row);
        exact.chain(fallbacks).filter(|row| row.conditions.iter().all(|condition| condition.holds(fact)))
    }

    pub fn len(&self) -> usize {
        self.exact.values().map(Vec::len).sum::<usize>() + self.fallbacks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = &Row> {
        self.exact.values().flatten().chain(self.fallbacks.iter().map(|(_, row)| row))
    }
}

/// `[state=denied|expert]` compares a field with values; `[no key]` has only a name.
#[derive(Debug)]
struct Condition {
    name: &'static str,
    values: Vec<&'static str>,
}

impl Condition {
    fn holds<'f>(&self, fact: &dyn Fn(&str) -> Option<&'f str>) -> bool {
        fact(self.name).is_some_and(|value| self.values.is_empty() || self.values.contains(&value))
    }
}

fn parse_selector(selector: &'static str) -> (Pattern, Vec<Condition>) {
    let (action, conditions) = match selector.strip_suffix(']').and_then(|open| open.split_once('[')) {
        Some((action, conditions)) => (action, conditions.split(',').map(parse_condition).collect()),
        None => (selector, Vec::new()),
    };
    (Pattern::parse(action), conditions)
}

fn parse_condition(text: &'static str) -> Condition {
    match text.split_once('=') {
        Some((name, values)) => Condition { name, values: values.split('|').collect() },
        None => Condition { name: text, values: Vec::new() },
    }
}

fn parse_activity(
    class: &str,
    activity: &str,
    caption: &'static str,
    line: usize,
) -> Result<(&'static Activity, Option<&'static str>), MappingError> {
    let class = class
        .parse()
        .ok()
        .and_then(Class::of_uid)
        .ok_or_else(|| MappingError::Class { line, found: class.to_owned() })?;
    let unknown = || MappingError::Activity { line, found: activity.to_owned(), class: class.uid() };
    let id: u8 = activity.parse().map_err(|_| unknown())?;
    let known = Activity::of(class, id);
    if known.id != id {
        return Err(unknown());
    }
    if id == OTHER {
        return Ok((known, (!caption.starts_with('<')).then_some(caption)));
    }
    if known.caption != caption {
        return Err(MappingError::Caption { line, id, expected: known.caption, found: caption.to_owned() });
    }
    Ok((known, None))
}

fn parse_target(target: &'static str, line: usize) -> Result<Vec<Slot>, MappingError> {
    let mut slots: Vec<Slot> = Vec::new();
    if matches!(target, "none" | "base_event") {
        return Ok(slots);
    }
    // `resource from requestParams by known id names`: the row names no fields for the resource.
    if target.starts_with("resource from ") {
        return Ok(vec![Slot { role: Role::Resource, kind: None, parts: Vec::new() }]);
    }
    let (first, second) = match target.split_once("; second ") {
        Some((first, second)) => (first, Some(second)),
        None => (target, None),
    };
    for word in first.split(' ') {
        let bad = || MappingError::Target { line, found: word.to_owned() };
        match (word.split_once('='), slots.last_mut()) {
            (Some((role, value)), _) => {
                slots.push(Slot { role: parse_role(role).ok_or_else(bad)?, kind: None, parts: parse_parts(value) });
            }
            (_, Some(slot)) if !word.is_empty() => {
                // Two words: the first is the kind, the second names the fields.
                if slot.kind.is_none() {
                    slot.kind = slot.parts.first().and_then(|part| part.first()).copied();
                }
                slot.parts = parse_parts(word);
            }
            _ => return Err(bad()),
        }
    }
    if let Some(second) = second {
        let kind = slots.first().and_then(|slot| slot.kind);
        let parts = parse_parts(second.strip_prefix("resource ").unwrap_or(second));
        slots.push(Slot { role: Role::Resource, kind, parts });
    }
    Ok(slots)
}

fn parse_role(role: &str) -> Option<Role> {
    Some(match role {
        "user" => Role::User,
        "group" => Role::Group,
        "privileges" => Role::Privileges,
        "policies" => Role::Policies,
        "resource" => Role::Resource,
        "resources" => Role::Resources,
        "owner" => Role::Owner,
        "entity" => Role::Entity,
        "service" => Role::Service,
        "dst" => Role::Dst,
        "database" => Role::Database,
        "databucket" => Role::Databucket,
        "ref" => Role::Ref,
        "file" => Role::File,
        "table" => Role::Table,
        "query" => Role::Query,
        "http_request.url.path" => Role::HttpPath,
        "http_response.code" => Role::HttpCode,
        _ => return None,
    })
}

fn parse_parts(value: &'static str) -> Parts {
    let value = value.strip_prefix('[').and_then(|open| open.strip_suffix(']')).unwrap_or(value);
    value.split('/').map(|part| part.split('|').collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(family: &str, action: &str, facts: &'static [(&'static str, &'static str)]) -> Vec<&'static str> {
        let fact = |name: &str| facts.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
        let rows = Mapping::built_in().family(family).unwrap();
        rows.matching(action, &fact).map(|row| row.selector).collect()
    }

    fn refused(rows: &'static str) -> MappingError {
        Mapping::parse(rows).unwrap_err()
    }

    #[test]
    fn the_table_in_the_repository_loads_whole() {
        assert_eq!(Mapping::built_in().rows(), 621);
        let rows = Mapping::built_in().family("databricks").unwrap();
        assert_eq!(rows.len(), 130);
    }

    #[test]
    fn every_row_of_databricks_that_names_an_action_is_found_by_it_first() {
        let rows = Mapping::built_in().family("databricks").unwrap();
        let named: Vec<_> = rows.iter().filter(|row| !row.is_fallback).collect();
        assert_eq!(named.len(), 122);
        for row in named {
            let first = rows.matching(row.selector, &|_| None).next().unwrap();
            assert_eq!(first.selector, row.selector);
        }
    }

    /// Class and activity id of the best row.
    fn activity(family: &str, action: &str) -> (u16, u8) {
        let rows = Mapping::built_in().family(family).unwrap();
        let row = rows.matching(action, &|_| None).next().unwrap();
        (row.activity.class.uid(), row.activity.id)
    }

    #[test]
    fn an_action_without_a_row_falls_back_by_its_verb_however_words_are_parted() {
        let (create, read, update, delete) = ((6003, 1), (6003, 2), (6003, 3), (6003, 4));
        for (action, expected) in [
            ("getThing", read),
            ("get", read),
            ("GetThing", read),
            ("get_thing", read),
            ("GET-THING", read),
            ("get.thing", read),
            ("listThings2", read),
            ("create_thing", create),
            ("createDeletePolicy", create),
            ("runNowThing", create),
            ("run_now", create),
            ("updateThing", update),
            ("cancelDelete", update),
            ("deleteThing", delete),
            ("permanentDeleteThing", delete),
            ("permanent-delete-thing", delete),
            ("pinLogin", (3002, 1)),
            ("pin_log_in", (3002, 1)),
            ("appLogoutAll", (3002, 2)),
            ("changeThingAcl", (3005, 1)),
            ("getThingAcl", read),
            ("deleteThingAcl", delete),
        ] {
            assert_eq!(activity("databricks", &format!("x/{action}")), expected, "{action}");
        }
        let (create, read, update, delete) = ((3004, 1), (3004, 2), (3004, 3), (3004, 4));
        for (action, expected) in [
            ("thingCreate", create),
            ("CREATE", create),
            ("thing_delete", delete),
            ("thing-delete", delete),
            ("thing.delete", delete),
            ("DELETE_THING", delete),
            ("thingSave", update),
            ("thingGetTags", read),
            ("listDeleteCandidates", read),
        ] {
            assert_eq!(activity("immuta", &format!("audit/{action}")), expected, "{action}");
        }
        assert_eq!(activity("ydb", "CREATE NEW THING"), (6005, 6));
        assert_eq!(activity("ydb", "DropThing"), (6005, 7));
        assert_eq!(activity("ydb", "alter_thing"), (6005, 2));
    }

    #[test]
    fn a_verb_inside_of_another_word_or_turned_by_another_is_none() {
        // Each verb of the fallback rows: inside a longer word, with one letter more, and after a word that changes its
        // meaning.
        let names = [
            "WIDGET",
            "widget",
            "getaway",
            "target",
            "budgetThing",
            "UNDELETE",
            "undeleteThing",
            "thingUndelete",
            "unDelete",
            "un_delete",
            "UNDelete",
            "un-delete",
            "DENY_DELETE",
            "denyDelete",
            "deny-delete",
            "deny.delete",
            "thingDenyDelete",
            "DELETED",
            "thingDeleted",
            "recreate",
            "procreate",
            "thingRecreate",
            "DENY_CREATE",
            "denied_create",
            "cannotCreate",
            "listen",
            "enlist",
            "playlist",
            "thingPlaylist",
            "denyList",
            "noListThing",
            "unsaved",
            "thingUnsave",
            "saver",
            "outdated",
            "updater",
            "notUpdate",
            "FAILED_UPDATE",
            "backdrop",
            "dropout",
            "raindrop",
            "UNDROP TABLE",
            "DENY DROP TABLE",
            "alternate",
            "salter",
            "falter",
            "alteration",
            "blogin",
            "blogoutline",
            "loginname",
            "pinLogins",
            "miracl",
            "denyAcl",
            "thingacl",
            "GETTHING",
            "thingCreateDelete",
            "SUSPEND",
            "",
            "_",
            "ünget",
        ];
        for name in names {
            for (family, scope, expected) in [
                ("databricks", "x/", (6003, 99)),
                ("immuta", "audit/", (3004, 99)),
                ("lakefs", "rest_api/", (6003, 99)),
                ("s3_access", "REST.", (6003, 99)),
                ("ydb", "", (6005, 99)),
            ] {
                let suffix = if family == "s3_access" { ".OBJECT" } else { "" };
                let action = format!("{scope}{name}{suffix}");
                assert_eq!(activity(family, &action), expected, "{family}: {action}");
            }
        }
        let long = format!("audit/{}Delete", "x".repeat(10_000));
        assert_eq!(activity("immuta", &long), (3004, 99));
    }

    #[test]
    fn a_condition_chooses_between_rows_of_one_action() {
        let granted = selected("immuta", "audit/sqlAccess", &[("action", "granted")]);
        assert_eq!(granted[0], "audit/sqlAccess[action=granted]");
        let denied = selected("immuta", "audit/dataSourceSubscription", &[("state", "denied"), ("type", "group")]);
        assert_eq!(denied[0], "audit/dataSourceSubscription[state=denied,type=group]");
        assert_eq!(selected("immuta", "audit/sqlAccess", &[])[0], "audit/*");
        assert_eq!(selected("s3_access", "REST.GET.NEW_THING", &[("no key", "")])[0], "*.GET.*[no key]");
        assert_eq!(selected("s3_access", "REST.UNGET.THING", &[("no key", "")])[0], "*");
    }

    #[test]
    fn a_target_says_what_each_field_names() {
        let target = |text| parse_target(text, 1).unwrap();
        let slot = |role, kind, parts: &[&[&'static str]]| Slot {
            role,
            kind,
            parts: parts.iter().map(|part| part.to_vec()).collect(),
        };
        assert_eq!(
            target("group=targetGroupName/targetGroupId user=user_name"),
            [
                slot(Role::Group, None, &[&["targetGroupName"], &["targetGroupId"]]),
                slot(Role::User, None, &[&["user_name"]])
            ]
        );
        assert_eq!(
            target("resource=dbfs src|source_path; second resource dst|destination_path"),
            [
                slot(Role::Resource, Some("dbfs"), &[&["src", "source_path"]]),
                slot(Role::Resource, Some("dbfs"), &[&["dst", "destination_path"]])
            ]
        );
        assert_eq!(target("privileges=[admin]"), [slot(Role::Privileges, None, &[&["admin"]])]);
        assert_eq!(target("none"), []);
    }

    #[test]
    fn a_bad_row_is_refused_with_its_line() {
        let cases = [
            ("\nf\ta\t6003\t1\tCreate\tnone", "line 2: 6 columns, expected 7"),
            ("\nf\ta\t6001\t1\tCreate\tnone\t", "line 2: \"6001\" is no class of OCSF that is known here"),
            ("\nf\ta\t6003\t7\tCreate\tnone\t", "line 2: \"7\" is no activity of class 6003"),
            ("\nf\ta\t6003\t1\tRead\tnone\t", "line 2: activity 1 is called \"Create\", not \"Read\""),
            ("\nf\ta\t6003\t1\tCreate\tthing=x\t", "line 2: \"thing=x\" names no object of an event"),
            (
                "\nf\ta\t6003\t1\tCreate\tnone\t\nf\ta\t6003\t2\tRead\tnone\t",
                "line 3: \"a\" stands in the table before",
            ),
        ];
        for (rows, message) in cases {
            assert_eq!(refused(rows).to_string(), message);
        }
    }
}
