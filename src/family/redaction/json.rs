//! Redacts JSON: finds the members that paths lead to, however their keys are spelled.

use std::borrow::Cow;

use crate::event::{Fault, Json, Reader, Text, mend_surrogates};
use crate::family::redaction::{Action, Edit, Redaction};
use crate::family::refusal::Refusal;

impl Redaction {
    /// Edits that redact a JSON text. A path leads through objects, and through arrays into each of their elements; a
    /// key may contain dots. Each value of a repeated key is redacted. The paths begin again in each object that
    /// `is_record` recognizes as a record.
    ///
    /// # Errors
    /// If the text is not JSON.
    pub(in crate::family) fn json(&self, text: &str, is_record: &dyn Fn(&str) -> bool) -> Result<Vec<Edit>, Refusal> {
        let found = match self.find(text, is_record) {
            // The mended text has the same offsets.
            Err(Fault::HalfSurrogate(_)) => self.find(&mend_surrogates(text), is_record),
            found => found,
        };
        found.map_err(|fault| Refusal::new(fault.to_string()))
    }

    fn find(&self, text: &str, is_record: &dyn Fn(&str) -> bool) -> Result<Vec<Edit>, Fault> {
        let rests: Vec<Rest<'_>> = self.rests().collect();
        let mut walk = Walk { redaction: self, rests: &rests, is_record, edits: Vec::new() };
        let mut reader = Reader::new(text);
        // The paths begin at the outermost object, whether or not it is a record.
        walk.value(&mut reader, &rests)?;
        reader.end()?;
        Ok(walk.edits)
    }
}

/// The rest of a path, and the action for the field that it leads to.
pub(in crate::family) type Rest<'r> = (&'r str, Action);

struct Walk<'r> {
    redaction: &'r Redaction,
    /// The whole paths, as they apply at the beginning of a record.
    rests: &'r [Rest<'r>],
    is_record: &'r dyn Fn(&str) -> bool,
    edits: Vec<Edit>,
}

impl<'r> Walk<'r> {
    fn value(&mut self, reader: &mut Reader<'_>, rests: &[Rest<'r>]) -> Result<(), Fault> {
        match reader.peek() {
            Some(b'{') => self.object(reader, rests),
            Some(b'[') => reader.array(|reader| self.value(reader, rests)),
            _ => reader.value().map(drop),
        }
    }

    /// Whether the text begins with an object that is a record.
    fn begins_record(&self, text: &str) -> bool {
        match Reader::new(text).value() {
            Ok(Json::Object(whole)) => (self.is_record)(whole),
            _ => false,
        }
    }

    fn object(&mut self, reader: &mut Reader<'_>, rests: &[Rest<'r>]) -> Result<(), Fault> {
        let object = reader.rest();
        // Asked only if it matters. Otherwise nested objects would be read as often as they are deep.
        let mut is_record = None;
        // The start of the member, after the brace or comma before it.
        let mut from = reader.at() + 1;
        let mut has_kept = false;
        reader.object(|reader, key| {
            let (mut whole, mut inner) = matching(rests, &key);
            let (anew, further) = matching(self.rests, &key);
            let mut further = further.into_iter().filter(|rest| !inner.contains(rest)).peekable();
            let matters = whole.is_none() && (anew.is_some() || further.peek().is_some());
            if matters && *is_record.get_or_insert_with(|| self.begins_record(object)) {
                let further: Vec<Rest<'r>> = further.collect();
                whole = anew;
                inner.extend(further);
            }
            match whole {
                Some(Action::Drop) => {
                    reader.value()?;
                    let is_last = reader.peek() != Some(b',');
                    // One of the two commas around the member is removed with it.
                    let at = if has_kept { from - 1..reader.at() } else { from..reader.at() + usize::from(!is_last) };
                    self.edits.push(Edit { at, replacement: String::new() });
                }
                Some(action) => {
                    has_kept = true;
                    self.replace(reader, action)?;
                }
                None => {
                    has_kept = true;
                    self.value(reader, &inner)?;
                }
            }
            let _delimiter = reader.peek();
            from = reader.at() + 1;
            Ok(())
        })
    }

    /// Replaces a value. Null stays, since it hides nothing.
    fn replace(&mut self, reader: &mut Reader<'_>, action: Action) -> Result<(), Fault> {
        let _first = reader.peek();
        let begin = reader.at();
        let text = match reader.value()? {
            Json::Null => return Ok(()),
            Json::Bool(true) => Cow::Borrowed("true"),
            Json::Bool(false) => Cow::Borrowed("false"),
            Json::Number(whole) | Json::Object(whole) | Json::Array(whole) => Cow::Borrowed(whole),
            Json::String(inside) => Cow::Owned(Text::Escaped(inside).plain().into_owned()),
        };
        // A replacement needs no escapes.
        let redacted = self.redaction.redacted(action, &text).unwrap_or_default();
        self.edits.push(Edit { at: begin..reader.at(), replacement: format!("\"{redacted}\"") });
        Ok(())
    }
}

/// The action for a member with this key, and the rests of paths that lead into it.
pub(in crate::family) fn matching<'r>(rests: &[Rest<'r>], key: &str) -> (Option<Action>, Vec<Rest<'r>>) {
    let mut inner = Vec::new();
    for (rest, action) in rests {
        match rest.strip_prefix(key) {
            Some("") => return (Some(*action), Vec::new()),
            Some(behind) => inner.extend(behind.strip_prefix('.').map(|behind| (behind, *action))),
            None => {}
        }
    }
    (None, inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::family::RedactionConfig;
    use crate::family::redaction::applied;

    fn redaction(drop: &[&str], mask: &[&str]) -> Redaction {
        let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        let config = RedactionConfig { drop: paths(drop), mask: paths(mask), ..RedactionConfig::default() };
        Redaction::new(&config).unwrap()
    }

    fn redacted(text: &str, drop: &[&str], mask: &[&str]) -> String {
        applied(text, &redaction(drop, mask).json(text, &|_| false).unwrap())
    }

    #[test]
    fn a_dropped_member_takes_one_comma_with_it() {
        for (text, drop, expected) in [
            (r#"{"a":1,"b":2,"c":3}"#, &["a"][..], r#"{"b":2,"c":3}"#),
            (r#"{"a":1,"b":2,"c":3}"#, &["b"], r#"{"a":1,"c":3}"#),
            (r#"{"a":1,"b":2,"c":3}"#, &["c"], r#"{"a":1,"b":2}"#),
            (r#"{"a":1,"b":2,"c":3}"#, &["a", "b"], r#"{"c":3}"#),
            (r#"{"a":1,"b":2,"c":3}"#, &["b", "c"], r#"{"a":1}"#),
            (r#"{"a":1,"b":2,"c":3}"#, &["a", "c"], r#"{"b":2}"#),
            (r#"{"a":1,"b":2,"c":3}"#, &["a", "b", "c"], "{}"),
            (r#" { "a" : 1 , "b" : {"c":2 , "d":3} } "#, &["b.d", "a"], r#" { "b" : {"c":2 } } "#),
        ] {
            assert_eq!(redacted(text, drop, &[]), expected, "{text} {drop:?}");
        }
    }

    #[test]
    fn a_path_leads_through_objects_arrays_and_keys_with_dots() {
        for (text, path, expected) in [
            (r#"{"a":{"b":{"c":"x"}},"c":"y"}"#, "a.b.c", r#"{"a":{"b":{"c":"***"}},"c":"y"}"#),
            (r#"{"a":[{"b":1},[{"b":2}],3]}"#, "a.b", r#"{"a":[{"b":"***"},[{"b":"***"}],3]}"#),
            (
                r#"{"a.b":{"c":1},"a":{"b.c":2},"a.b.c":3}"#,
                "a.b.c",
                r#"{"a.b":{"c":"***"},"a":{"b.c":"***"},"a.b.c":"***"}"#,
            ),
            (r#"{"\u0061":"x","a":"y","a":{"b":1}}"#, "a", r#"{"\u0061":"***","a":"***","a":"***"}"#),
            (r#"{"a":[1,2],"ab":3,"A":4}"#, "a", r#"{"a":"***","ab":3,"A":4}"#),
            (r#"{"a":null,"b":{"a":5}}"#, "a", r#"{"a":null,"b":{"a":5}}"#),
            (r#"{"s":"\ud800","a":"\udfff"}"#, "a", r#"{"s":"\ud800","a":"***"}"#),
        ] {
            assert_eq!(redacted(text, &[], &[path]), expected, "{text} {path}");
        }
    }

    #[test]
    fn of_a_field_and_one_inside_it_the_outer_counts() {
        assert_eq!(redacted(r#"{"a":{"b":1}}"#, &["a"], &["a.b"]), "{}");
        assert_eq!(redacted(r#"{"a":{"b":1}}"#, &["a.b"], &["a"]), r#"{"a":"***"}"#);
    }

    #[test]
    fn in_a_record_inside_of_another_the_paths_begin_anew() {
        let redacted = |text: &str, paths: &[&str]| {
            let redaction = redaction(&[], paths);
            applied(text, &redaction.json(text, &|object| object.contains("\"r\"")).unwrap())
        };
        for (text, paths, expected) in [
            (
                r#"{"a":1,"x":{"a":2,"r":0},"y":{"a":3}}"#,
                &["a"][..],
                r#"{"a":"***","x":{"a":"***","r":0},"y":{"a":3}}"#,
            ),
            (
                r#"{"r":0,"x":[{"y":{"a":2,"r":0,"b":{"c":3}}}]}"#,
                &["b.c"],
                r#"{"r":0,"x":[{"y":{"a":2,"r":0,"b":{"c":"***"}}}]}"#,
            ),
            // One path leads into the record and another begins in it; both apply.
            (r#"{"x":{"k":{"m":1,"n":2},"r":0}}"#, &["x.k.m", "k.n"], r#"{"x":{"k":{"m":"***","n":"***"},"r":0}}"#),
            (r#"{"x":{"k":1,"r":0}}"#, &["x.k", "k"], r#"{"x":{"k":"***","r":0}}"#),
        ] {
            assert_eq!(redacted(text, paths), expected, "{text} {paths:?}");
        }
        let dropped = redaction(&["x.a", "b"], &[]);
        let text = r#"{"x":{"a":1,"b":2,"c":3,"r":0}}"#;
        let edits = dropped.json(text, &|object| object.starts_with("{\"a")).unwrap();
        assert_eq!(applied(text, &edits), r#"{"x":{"c":3,"r":0}}"#);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", r#"{"a":1} x"#, r#"{"a":}"#] {
            assert!(redaction(&["b"], &[]).json(text, &|_| false).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_left_is_the_same_json_without_the_field(
            value in prop::collection::btree_map("[ab]", prop::collection::btree_map("[ab]", 0..3_i32, 0..3), 0..3),
            pretty in any::<bool>(),
        ) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let left: serde_json::Value = serde_json::from_str(&redacted(&text, &["a.b", "b.a"], &[])).unwrap();
            let mut expected = value;
            expected.get_mut("a").map(|inner| inner.remove("b"));
            expected.get_mut("b").map(|inner| inner.remove("a"));
            prop_assert_eq!(left, serde_json::to_value(expected).unwrap());
        }
    }
}
