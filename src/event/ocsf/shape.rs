//! The class and activity of an event in an older version of OCSF.

use crate::event::class::OTHER;
use crate::event::ocsf::version::Schema;
use crate::event::{Activity, Class, Event};

/// The class and activity of an event in a version.
pub(super) struct Shape {
    pub(super) class: Class,
    pub(super) activity: u8,
    /// The caption of the activity, if it differs from that in 1.8.0.
    pub(super) renamed: Option<&'static str>,
    /// The caption of the activity within `type_name`.
    pub(super) caption: &'static str,
}

impl Shape {
    pub(super) fn of(schema: &Schema, event: &Event<'_>, activity: &Activity) -> Self {
        let target = &event.target;
        let wants_more = schema.class(activity.class.uid()).is_some_and(|class| !class.at_least_one.is_empty());
        if activity.class == Class::GroupManagement
            && wants_more
            && target.user.is_none()
            && target.privileges.is_empty()
        {
            // Up to 1.3, Group Management requires a user or privileges. A change of the group alone is Entity
            // Management.
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
