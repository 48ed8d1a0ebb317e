//! Writes an event of OCSF 1.8.0 as an older version has it: what that lacks goes to `unmapped`, under its path.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::event::Activity;
use crate::event::Class;
use crate::event::Event;
use crate::event::Fault;
use crate::event::Json;
use crate::event::Reader;
use crate::event::class::OTHER;
use crate::event::members::close;
use crate::event::members::int;
use crate::event::ocsf::version;
use crate::event::ocsf::version::Attributes;
use crate::event::ocsf::version::Schema;
use crate::event::text::write_escaped;

/// What the version has no place for.
#[derive(Debug)]
pub(super) struct Moved<'t> {
    /// Where it was, such as `resources.0.type`.
    pub(super) path: String,
    pub(super) value: Json<'t>,
}

/// Why the version cannot have the event in its class.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it lacks what the class requires in this version")]
    Lacks,
    #[error(transparent)]
    NoJson(#[from] Fault),
}

/// Appends the members of `whole`, an event of 1.8.0 without `unmapped`, each followed by a comma, after an opening
/// brace; returns what is to be put into `unmapped`.
///
/// # Errors
/// Nothing is appended then.
pub(super) fn project<'t>(
    out: &mut Vec<u8>,
    whole: &'t str,
    schema: &'static Schema,
    event: &Event<'_>,
    activity: &Activity,
) -> Result<Vec<Moved<'t>>, Unfit> {
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
        // A profile that turns out to be needed late may concern what was written before.
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
            return Ok(projection.moved);
        }
    }
}

/// The class and activity under which the version knows the event.
struct Shape {
    class: Class,
    activity: u8,
    /// The caption, where it is not the one that the event has in 1.8.0.
    renamed: Option<&'static str>,
    /// The caption after the class's in `type_name`.
    caption: &'static str,
}

impl Shape {
    fn of(schema: &Schema, event: &Event<'_>, activity: &Activity) -> Self {
        let target = &event.target;
        let wants_more = schema.class(activity.class.uid()).is_some_and(|class| !class.at_least_one.is_empty());
        if activity.class == Class::GroupManagement
            && wants_more
            && target.user.is_none()
            && target.privileges.is_empty()
        {
            // Up to 1.3 a group is managed only together with a user or privileges; by itself it is an entity.
            let (id, caption) = match activity.caption {
                "Create" => (1, "Create"),
                "Delete" => (4, "Delete"),
                "" => (OTHER, "Other"),
                _ => (3, "Update"),
            };
            let renamed = (id != OTHER).then_some(caption);
            return Self { class: Class::EntityManagement, activity: id, renamed, caption };
        }
        let known = schema.class(activity.class.uid()).and_then(|class| class.attributes.get("activity_id"));
        let is_known = known.is_none_or(|known| known.ids.is_empty() || known.ids.contains(&i64::from(activity.id)));
        let id = if is_known { activity.id } else { OTHER };
        let caption = if id == OTHER { "Other" } else { activity.caption };
        Self { class: activity.class, activity: id, renamed: None, caption }
    }
}

struct Projection<'s, 't> {
    schema: &'s Schema,
    class: &'s version::Class,
    shape: Shape,
    /// Those that the event names.
    profiles: BTreeSet<&'s str>,
    /// Where in the event the members stand that are being written.
    path: Vec<Cow<'t, str>>,
    moved: Vec<Moved<'t>>,
    /// How many attributes were written that the class requires.
    required: usize,
}

impl<'s, 't> Projection<'s, 't> {
    /// Names the profile, if the class has it.
    fn name_profile(&mut self, profile: &str) -> bool {
        let known = self.class.profiles.iter().find(|known| *known == profile);
        self.profiles.extend(known.map(String::as_str));
        known.is_some()
    }

    /// The members of one object, each followed by a comma.
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

    /// The member at the path's end.
    fn member(&mut self, reader: &mut Reader<'t>, attributes: &'s Attributes, out: &mut Vec<u8>) -> Result<(), Fault> {
        let key = self.path.last().cloned().unwrap_or_default();
        if self.path.len() == 1 && self.is_entity_here(&key) {
            return self.group_as_entity(reader, out);
        }
        let Some(attribute) = attributes.get(&*key).filter(|attribute| self.is_open(attribute)) else {
            let value = reader.value()?;
            self.moved.push(Moved { path: self.path.join("."), value });
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
            match reader.value()? {
                Json::Number(digits) if !attribute.ids.is_empty() => {
                    let is_known = digits.parse().is_ok_and(|id| attribute.ids.contains(&id));
                    out.extend_from_slice(if is_known { digits.as_bytes() } else { b"99" });
                }
                value => value.write(out),
            }
        }
        out.push(b',');
        Ok(())
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
                    self.path.push(Cow::Owned(index.to_string()));
                    index += 1;
                    let written = self.object_or_list(reader, inside, out);
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

    /// Whether the event may have the attribute; names the profile that it takes.
    fn is_open(&mut self, attribute: &version::Attribute) -> bool {
        attribute.profiles.is_empty()
            || attribute.profiles.iter().any(|gate| self.profiles.contains(gate.as_str()))
            || attribute.profiles.iter().any(|gate| self.name_profile(gate))
    }

    /// Whether the member is a group that is written as the entity that the class asks for: entities have no group beside.
    fn is_entity_here(&self, key: &str) -> bool {
        key == "group" && self.shape.class == Class::EntityManagement
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

    /// What the version calls class and activity. Returns whether the member was one of those.
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
            let Some(value) = value.filter(|_| inside.is_some_and(|entity| entity.contains_key(key))) else { continue };
            write_key(out, key);
            value.write(out);
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
