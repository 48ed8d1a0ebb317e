//! The ECS categories and types of an activity.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::event::members::close;
use crate::event::{Activity, Class, Event, Status};

/// Tab-separated; the first line names the columns. `*` stands for the activities of a class that have no line of their
/// own.
const TABLE: &str = include_str!("categories.tsv");

static ROWS: LazyLock<HashMap<(u16, Option<u8>), Row>> = LazyLock::new(|| rows(TABLE));

#[derive(Clone, Copy, Debug)]
struct Row {
    categories: &'static str,
    types: &'static str,
}

/// Appends `category` and `type`, each followed by a comma.
pub(super) fn write(out: &mut Vec<u8>, event: &Event<'_>, activity: &Activity) {
    let uid = activity.class.uid();
    let row = ROWS.get(&(uid, Some(activity.id))).or_else(|| ROWS.get(&(uid, None)));
    // Every class has a `*` line; a test checks that.
    let Row { categories, types } = row.copied().unwrap_or(Row { categories: "api", types: "info" });
    let target = &event.target;
    // An object in a bucket is a file in ECS.
    let is_file = target.databucket.is_some();
    let categories = categories.split(',').map(|category| match category {
        "database" if is_file => "file",
        category => category,
    });
    write_list(out, "\"category\":[", categories);
    let kind = target.entity.as_ref().and_then(|entity| entity.kind.as_ref()).map(|kind| kind.plain());
    let further = match (activity.class, kind.as_deref()) {
        (Class::EntityManagement, Some("group")) => Some("group"),
        (Class::EntityManagement, Some("user")) => Some("user"),
        (Class::HttpActivity, _) if event.status == Status::Failure => Some("error"),
        _ => None,
    };
    write_list(out, "\"type\":[", types.split(',').chain(further));
}

fn write_list<'t>(out: &mut Vec<u8>, key: &str, words: impl Iterator<Item = &'t str>) {
    out.extend_from_slice(key.as_bytes());
    for word in words {
        out.push(b'"');
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(b"\",");
    }
    close(out, b']');
    out.push(b',');
}

fn rows(table: &'static str) -> HashMap<(u16, Option<u8>), Row> {
    let mut rows = HashMap::new();
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let &[class, activities, categories, types] = columns.as_slice() else { continue };
        let Ok(class) = class.parse() else { continue };
        for activity in activities.split(',') {
            rows.insert((class, activity.parse().ok()), Row { categories, types });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read_and_every_activity_has_one() {
        let activities: usize =
            TABLE.lines().skip(1).map(|line| line.split('\t').nth(1).unwrap().split(',').count()).sum();
        assert_eq!(ROWS.len(), activities);
        for class in Class::ALL {
            assert!(ROWS.contains_key(&(class.uid(), None)), "{class:?}");
        }
    }

    #[test]
    fn an_activity_is_filed_as_ecs_has_it() {
        for (class, id, categories, types) in [
            (Class::AccountChange, 1, "iam", "user,creation"),
            (Class::AccountChange, 99, "iam", "user,change"),
            (Class::AccountChange, 7, "iam", "user,change,admin"),
            (Class::Authentication, 2, "authentication", "end"),
            (Class::EntityManagement, 2, "iam,configuration", "access"),
            (Class::UserAccess, 2, "iam", "user,change,admin"),
            (Class::GroupManagement, 3, "iam", "group,change"),
            (Class::ApiActivity, 99, "api", "change"),
            (Class::DatastoreActivity, 8, "database", "access"),
            (Class::DatastoreActivity, 7, "database,configuration", "deletion"),
        ] {
            let activity = Activity::of(class, id);
            let row = ROWS.get(&(class.uid(), Some(activity.id))).or_else(|| ROWS.get(&(class.uid(), None))).unwrap();
            assert_eq!((row.categories, row.types), (categories, types), "{class:?} {id}");
        }
    }
}
