//! Writes records as rows of a table. The columns are data: each has a name and the text of what it holds.

mod column;

use crate::event::members::close;
use crate::event::{Fields, Head, Reader, Seen, Text};

pub use column::Column;

/// Tables that receivers define for these logs. Each line names a column and what it holds.
const TABLES: [(&str, &str); 1] = [("databricks_audit", include_str!("databricks_audit.tsv"))];

/// The columns of a row, each with its name, in the order in which they are written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Columns(Vec<(String, Column)>);

impl Columns {
    /// The columns of a built-in table.
    pub fn of_table(name: &str) -> Option<Self> {
        let (_, text) = TABLES.into_iter().find(|(known, _)| *known == name)?;
        let column = |line: &str| {
            let (name, held) = line.split_once('\t')?;
            Some((name.to_owned(), Column::new(held).ok()?))
        };
        text.lines().map(column).collect::<Option<_>>().map(Self)
    }

    /// The names of the built-in tables.
    pub fn tables() -> impl Iterator<Item = &'static str> {
        TABLES.into_iter().map(|(name, _)| name)
    }

    /// Adds columns. A new column replaces one of the same name.
    #[must_use]
    pub fn with(mut self, more: impl IntoIterator<Item = (String, Column)>) -> Self {
        for (name, column) in more {
            match self.0.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = column,
                None => self.0.push((name, column)),
            }
        }
        self
    }

    /// Appends the record's row as one JSON object. A column without a value is left out.
    pub(super) fn write(&self, out: &mut Vec<u8>, head: &Head, seen: &Seen<'_>) {
        // The parsed record is always an object.
        let fields = Fields::read(&mut Reader::new(seen.parsed)).unwrap_or_default();
        out.push(b'{');
        for (name, column) in &self.0 {
            let before = out.len();
            Text::from(name.as_str()).write(out);
            out.push(b':');
            match column.write(out, head, seen, &fields) {
                true => out.push(b','),
                false => out.truncate(before),
            }
        }
        close(out, b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::column::ColumnError;
    use super::*;
    use crate::event::{Class, EventId, Origin, Severity, Status};
    use crate::notification::ObjectId;

    const RECORD: &str = r#"{"a":1,"b":"-","n":null,"e":"","t":1704067200000,"o":{"k":[{"x":true}],"token":"s3cr3t"},
        "s":"{\"token\":\"s3cr3t\"}","token":"s3cr3t","d.t":"dotted","num":"41.0","big":12345678901234567890,"a":2}"#;

    /// `RECORD` with each key once and secrets masked.
    const RECORD_MASKED: &str = r#"{"a":2,"b":"-","n":null,"e":"","t":1704067200000,"o":{"k":[{"x":true}],"token":"***"},"s":"{\"token\":\"***\"}","token":"***","d.t":"dotted","num":"41.0","big":12345678901234567890}"#;

    /// The row that columns with these contents write of `RECORD`.
    fn row(held: &[&str]) -> String {
        let columns = held.iter().zip(0..).map(|(held, at): (_, u32)| (format!("c{at}"), Column::new(held).unwrap()));
        let object = ObjectId::new("logs", "a/\"b\".json");
        let head = Head {
            uid: EventId([7; 16]),
            time_ms: 1_704_067_200_500,
            place: 5,
            index: 0,
            class: Class::ApiActivity,
            severity: Severity::Informational,
            status: Status::Success,
            choice: 0,
        };
        let origin = Origin { object: &object, source: "", last_modified_ms: None, feed: "dbx" };
        // Sinks get records with secrets masked.
        let parsed = String::from_utf8(crate::mask::masked(RECORD.as_bytes()).unwrap()).unwrap();
        let seen = Seen { origin, record: b"", parsed: &parsed, ordinal: 0, id: head.uid, index: 0, first: None };
        let mut out = Vec::new();
        Columns::default().with(columns).write(&mut out, &head, &seen);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_column_holds_what_stands_in_the_record_as_it_stands_or_as_a_type() {
        for (held, expected) in [
            ("a", "2"),
            ("a as string", "\"2\""),
            ("big", "12345678901234567890"),
            ("big as string", "\"12345678901234567890\""),
            ("num as int", "41"),
            ("o.k", "[{\"x\":true}]"),
            ("o.k as string", "\"[{\\\"x\\\":true}]\""),
            ("@record | =none", RECORD_MASKED),
            ("t as datetime", "\"2024-01-01T00:00:00.000Z\""),
            ("d.t", "\"dotted\""),
            ("n | e | b | a", "2"),
            ("=fixed text", "\"fixed text\""),
            ("n | =none", "\"none\""),
        ] {
            assert_eq!(row(&[held]), format!("{{\"c0\":{expected}}}"), "{held}");
        }
        for absent in ["n", "e", "b", "absent", "a.b", "o.k.x", "o as int", "o as datetime", "s as int"] {
            assert_eq!(row(&[absent]), "{}", "{absent}");
        }
    }

    #[test]
    fn a_column_holds_what_is_known_of_the_record_and_its_object() {
        for (held, expected) in [
            ("@uid", "\"07070707-0707-0707-0707-070707070707\""),
            ("@time", "1704067200500"),
            ("@time as datetime", "\"2024-01-01T00:00:00.500Z\""),
            ("@place", "5"),
            ("@class", "\"api_activity\""),
            ("@class_uid", "6003"),
            ("@class_uid as string", "\"6003\""),
            ("@severity_id", "1"),
            ("@status", "\"Success\""),
            ("@feed", "\"dbx\""),
            ("@bucket", "\"logs\""),
            ("@key", "\"a/\\\"b\\\".json\""),
        ] {
            assert_eq!(row(&[held]), format!("{{\"c0\":{expected}}}"), "{held}");
        }
    }

    #[test]
    fn secrets_show_in_no_column() {
        for held in [
            "@record",
            "@record as string",
            "o",
            "o.token",
            "token",
            "token as string",
            "s",
            "s as string",
            "o as string",
        ] {
            let row = row(&[held]);
            assert!(row.contains("***") && !row.contains("s3cr3t"), "{held}: {row}");
        }
    }

    #[test]
    fn what_holds_nothing_is_no_column() {
        for (held, expected) in [
            ("", ColumnError::Empty),
            ("a | ", ColumnError::Empty),
            ("as string", ColumnError::Empty),
            ("a as text", ColumnError::Kind("text".to_owned())),
            ("@nothing", ColumnError::Member("@nothing".to_owned())),
        ] {
            assert_eq!(Column::new(held), Err(expected), "{held}");
        }
    }

    #[test]
    fn every_table_is_read() {
        for name in Columns::tables() {
            assert!(Columns::of_table(name).is_some_and(|columns| columns.0.len() > 3), "{name}");
        }
        assert_eq!(Columns::of_table("nothing"), None);
    }

    #[test]
    fn a_column_of_the_same_name_is_replaced() {
        let column = |held| Column::new(held).unwrap();
        let columns = Columns::default().with([("a".to_owned(), column("x")), ("b".to_owned(), column("y"))]);
        let expected = vec![("a".to_owned(), column("z")), ("b".to_owned(), column("y"))];
        assert_eq!(columns.with([("a".to_owned(), column("z"))]), Columns(expected));
    }
}
