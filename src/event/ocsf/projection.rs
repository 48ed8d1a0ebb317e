//! Converts an event of OCSF 1.8.0 to an older version. Values that the older version does not take go to `unmapped`,
//! under their paths.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::event::members::{close, int};
use crate::event::ocsf::form::{Form, cut};
use crate::event::ocsf::shape::Shape;
use crate::event::ocsf::version::{self, Attributes, Schema};
use crate::event::{Activity, Class, Event, Fault, Json, Reader};
use crate::records::escaped::write_escaped;

/// A value that the version does not take, or takes only cut short.
#[derive(Debug)]
pub(super) struct Moved<'t> {
    /// The path of the value in the event, such as `resources.0.type`.
    pub(super) path: String,
    pub(super) value: Json<'t>,
    /// Whether the event still holds the beginning of the value.
    is_cut: bool,
}

/// Why the version cannot hold the event in its class.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it lacks what the class requires in this version")]
    Lacks,
    #[error(transparent)]
    NoJson(#[from] Fault),
}

/// Appends an opening brace and the members of `whole`, an event of 1.8.0 without `unmapped`, each followed by a comma.
/// Returns the class in which the event is written, and the values that belong into `unmapped`.
///
/// # Errors
/// Nothing is appended on an error.
pub(super) fn project<'t>(
    out: &mut Vec<u8>,
    whole: &'t str,
    schema: &'static Schema,
    event: &Event<'_>,
    activity: &Activity,
) -> Result<(Class, Vec<Moved<'t>>), Unfit> {
    let before = out.len();
    let shape = Shape::of(schema, event, activity);
    let Some(class) = schema.class(shape.class.uid()) else { return Err(Unfit::Lacks) };
    let mut projection = Projection {
        schema,
        class,
        shape,
        profiles: BTreeSet::new(),
        path: Vec::new(),
        moved: Vec::new(),
        required: 0,
    };
    if event.cloud.is_some() {
        projection.name_profile("cloud");
    }
    projection.name_profile("datetime");
    loop {
        // A profile that is found to be needed late may allow attributes that were passed before: begin again.
        let profiles = projection.profiles.len();
        out.truncate(before);
        out.push(b'{');
        projection.moved.clear();
        projection.required = 0;
        let mut reader = Reader::of_event(whole);
        if let Err(fault) = projection.members(&mut reader, &class.attributes, out) {
            out.truncate(before);
            return Err(fault.into());
        }
        if projection.required < class.required.len() {
            out.truncate(before);
            return Err(Unfit::Lacks);
        }
        if projection.profiles.len() == profiles {
            return Ok((projection.shape.class, projection.moved));
        }
    }
}

struct Projection<'s, 't> {
    schema: &'s Schema,
    class: &'s version::Class,
    shape: Shape,
    /// The profiles that the event names.
    profiles: BTreeSet<&'s str>,
    /// The path of the member that is being written.
    path: Vec<Cow<'t, str>>,
    moved: Vec<Moved<'t>>,
    /// How many of the attributes that the class requires were written.
    required: usize,
}

impl<'s, 't> Projection<'s, 't> {
    /// Adds the profile to the event, if the class has it. Returns whether the class has it.
    fn name_profile(&mut self, profile: &str) -> bool {
        let known = self.class.profiles.iter().find(|known| *known == profile);
        self.profiles.extend(known.map(String::as_str));
        known.is_some()
    }

    /// Writes the members of one object, each followed by a comma.
    fn members(&mut self, reader: &mut Reader<'t>, attributes: &'s Attributes, out: &mut Vec<u8>) -> Result<(), Fault> {
        reader.object(|reader, key| {
            let is_top = self.path.is_empty();
            let before = out.len();
            let name = if self.is_entity_here(&key) { "entity" } else { &key };
            let is_required = is_top && self.class.required.iter().any(|required| required == name);
            if is_top && self.write_own(&key, out) {
                reader.value()?;
            } else {
                self.path.push(key);
                let written = self.member(reader, attributes, out);
                self.path.pop();
                written?;
            }
            self.required += usize::from(is_required && out.len() > before);
            Ok(())
        })
    }

    /// Writes the member at the end of the path.
    fn member(&mut self, reader: &mut Reader<'t>, attributes: &'s Attributes, out: &mut Vec<u8>) -> Result<(), Fault> {
        let key = self.path.last().cloned().unwrap_or_default();
        if self.path.len() == 1 && self.is_entity_here(&key) {
            return self.group_as_entity(reader, out);
        }
        let Some(attribute) = attributes.get(&*key).filter(|attribute| self.is_open(attribute)) else {
            let value = reader.value()?;
            self.keep(value, false);
            return Ok(());
        };
        let before = out.len();
        write_key(out, &key);
        if self.is_of_metadata(&key) {
            reader.value()?;
            self.write_metadata(&key, out);
        } else if let Some(inside) = self.schema.inside(attribute) {
            if !self.object_or_list(reader, inside, out)? {
                out.truncate(before);
                return Ok(());
            }
        } else {
            let value = reader.value()?;
            if !self.plain_value(attribute, value, out)? {
                out.truncate(before);
                return Ok(());
            }
        }
        out.push(b',');
        Ok(())
    }

    /// Keeps the value at the end of the path for `unmapped`.
    fn keep(&mut self, value: Json<'t>, is_cut: bool) {
        self.moved.push(Moved { path: self.path.join("."), value, is_cut });
    }

    /// Returns whether anything was written.
    fn plain_value(
        &mut self,
        attribute: &version::Attribute,
        value: Json<'t>,
        out: &mut Vec<u8>,
    ) -> Result<bool, Fault> {
        match value {
            Json::Number(digits) if !attribute.ids.is_empty() => {
                let is_known = digits.parse().is_ok_and(|id| attribute.ids.contains(&id));
                out.extend_from_slice(if is_known { digits.as_bytes() } else { b"99" });
            }
            Json::String(inside) => return Ok(self.text(attribute, inside, out)),
            Json::Array(whole) if attribute.form != Form::Json => {
                out.push(b'[');
                let mut index = 0_u32;
                Reader::of_event(whole).array(|reader| {
                    self.path.push(Cow::Owned(index.to_string()));
                    index += 1;
                    let written = reader.value().and_then(|value| self.plain_value(attribute, value, out));
                    self.path.pop();
                    if written? {
                        out.push(b',');
                    }
                    Ok(())
                })?;
                close(out, b']');
            }
            value => value.write(out),
        }
        Ok(true)
    }

    /// Writes a text, cut to the version's limit, or nothing if the attribute does not take it. Returns whether
    /// anything was written. A text that is not written whole is kept for `unmapped`, unless it is itself a copy
    /// (`raw_data`, `observables`).
    fn text(&mut self, attribute: &version::Attribute, inside: &'t str, out: &mut Vec<u8>) -> bool {
        if !attribute.takes(inside) {
            self.keep(Json::String(inside), false);
            return false;
        }
        let shortened = self.schema.text_max.filter(|_| attribute.form != Form::Json).and_then(|max| cut(inside, max));
        let Some(shortened) = shortened else {
            Json::String(inside).write(out);
            return true;
        };
        if !matches!(self.path.first().map(Cow::as_ref), Some("raw_data" | "observables")) {
            self.keep(Json::String(inside), true);
        }
        write_text(out, &shortened);
        true
    }

    /// Whether an observable names an attribute that was moved out of the event.
    fn observes_nothing(&self, whole: &'t str) -> Result<bool, Fault> {
        let mut observed = None;
        Reader::of_event(whole).object(|reader, key| {
            let value = reader.value()?;
            if let ("name", Json::String(name)) = (&*key, value) {
                observed = Some(name);
            }
            Ok(())
        })?;
        Ok(observed.is_some_and(|name| self.moved.iter().any(|moved| moved.path == name && !moved.is_cut)))
    }

    /// Returns whether anything was written.
    fn object_or_list(
        &mut self,
        reader: &mut Reader<'t>,
        inside: &'s Attributes,
        out: &mut Vec<u8>,
    ) -> Result<bool, Fault> {
        let before = out.len();
        match reader.peek() {
            Some(b'{') => {
                out.push(b'{');
                self.members(reader, inside, out)?;
                if out.len() == before + 1 {
                    return Ok(false);
                }
                close(out, b'}');
            }
            Some(b'[') => {
                out.push(b'[');
                let mut index = 0_u32;
                reader.array(|reader| {
                    let element = reader.value()?;
                    if self.is_observables()
                        && let Json::Object(whole) = element
                        && self.observes_nothing(whole)?
                    {
                        return Ok(());
                    }
                    self.path.push(Cow::Owned(index.to_string()));
                    index += 1;
                    let written = match element {
                        Json::Object(whole) => self.object_or_list(&mut Reader::of_event(whole), inside, out),
                        element => {
                            element.write(out);
                            Ok(true)
                        }
                    };
                    self.path.pop();
                    if written? {
                        out.push(b',');
                    }
                    Ok(())
                })?;
                if out.len() == before + 1 {
                    return Ok(false);
                }
                close(out, b']');
            }
            _ => reader.value()?.write(out),
        }
        Ok(true)
    }

    /// Whether the event may have the attribute. Adds the profile that the attribute needs, if the class has it.
    fn is_open(&mut self, attribute: &version::Attribute) -> bool {
        attribute.profiles.is_empty()
            || attribute.profiles.iter().any(|gate| self.profiles.contains(gate.as_str()))
            || attribute.profiles.iter().any(|gate| self.name_profile(gate))
    }

    /// Whether the member is a group that is written as the entity of Entity Management. Such an event has no other
    /// entity.
    fn is_entity_here(&self, key: &str) -> bool {
        key == "group" && self.shape.class == Class::EntityManagement
    }

    fn is_observables(&self) -> bool {
        self.path.len() == 1 && self.path[0] == "observables"
    }

    fn is_of_metadata(&self, key: &str) -> bool {
        self.path.len() == 2 && self.path[0] == "metadata" && matches!(key, "version" | "profiles")
    }

    fn write_metadata(&self, key: &str, out: &mut Vec<u8>) {
        if key == "version" {
            write_text(out, &self.schema.version);
            return;
        }
        out.push(b'[');
        for profile in &self.profiles {
            write_text(out, profile);
            out.push(b',');
        }
        close(out, b']');
    }

    /// Writes the member if it names class or activity, as the version calls them. Returns whether it does.
    fn write_own(&self, key: &str, out: &mut Vec<u8>) -> bool {
        let (class, activity) = (self.shape.class.uid(), self.shape.activity);
        match (key, self.shape.renamed) {
            ("class_uid", _) => int(out, "\"class_uid\":", Some(i64::from(class))),
            ("activity_id", _) => int(out, "\"activity_id\":", Some(i64::from(activity))),
            ("type_uid", _) => int(out, "\"type_uid\":", Some(i64::from(class) * 100 + i64::from(activity))),
            ("class_name", _) => write_member(out, key, &self.class.caption),
            ("type_name", _) => write_member(out, key, &format!("{}: {}", self.class.caption, self.shape.caption)),
            ("activity_name", Some(caption)) => write_member(out, key, caption),
            _ => return false,
        }
        true
    }

    fn group_as_entity(&mut self, reader: &mut Reader<'t>, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut name = None;
        let mut uid = None;
        let group = reader.value()?;
        let Json::Object(whole) = group else { return Ok(()) };
        Reader::of_event(whole).object(|reader, key| {
            match &*key {
                "name" => name = Some(reader.value()?),
                "uid" => uid = Some(reader.value()?),
                _ => drop(reader.value()?),
            }
            Ok(())
        })?;
        let inside = self.class.attributes.get("entity").and_then(|entity| self.schema.inside(entity));
        let entity = [
            ("name", name.or(uid)),
            ("uid", uid),
            ("type_id", Some(Json::Number("3"))),
            ("type", Some(Json::String("Group"))),
            ("group", Some(group)),
        ];
        out.extend_from_slice(b"\"entity\":{");
        for (key, value) in entity {
            let Some(attribute) = inside.and_then(|entity| entity.get(key)) else { continue };
            let Some(value) = value else { continue };
            write_key(out, key);
            self.path.push(Cow::Borrowed(key));
            let written = match (value, self.schema.inside(attribute)) {
                (Json::Object(whole), Some(group)) => {
                    self.object_or_list(&mut Reader::of_event(whole), group, out).map(drop)
                }
                (Json::String(text), _) => {
                    self.text(attribute, text, out);
                    Ok(())
                }
                (value, _) => {
                    value.write(out);
                    Ok(())
                }
            };
            self.path.pop();
            written?;
            out.push(b',');
        }
        close(out, b'}');
        out.push(b',');
        Ok(())
    }
}

fn write_key(out: &mut Vec<u8>, key: &str) {
    write_text(out, key);
    out.push(b':');
}

fn write_member(out: &mut Vec<u8>, key: &str, text: &str) {
    write_key(out, key);
    write_text(out, text);
    out.push(b',');
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    write_escaped(out, text);
    out.push(b'"');
}
