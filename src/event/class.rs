//! The OCSF classes that audit records fall into, and their activities.

use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, de};

/// A class of OCSF 1.8.0 that audit records fall into; Base Event is for records that fit no other class.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    BaseEvent,
    AccountChange,
    Authentication,
    AuthorizeSession,
    EntityManagement,
    UserAccess,
    GroupManagement,
    HttpActivity,
    ApiActivity,
    DatastoreActivity,
}

/// The severity of an event, ordered and numbered as in OCSF.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Unknown,
    #[default]
    Informational,
    Low,
    Medium,
    High,
    Critical,
    Fatal,
}

/// OCSF's id for a value that has no caption of its own; the source's word stands beside it.
pub(crate) const OTHER: u8 = 99;

/// An activity within its class. The ids and captions that an event needs are written once and copied afterwards.
#[derive(Debug)]
pub struct Activity {
    pub class: Class,
    pub id: u8,
    /// Empty for 99 (Other), where the source's own word is the caption.
    pub caption: &'static str,
    /// Always informational: audit records do not state a severity.
    pub severity: Severity,
    /// The JSON members from `class_uid` to `severity`, each followed by a comma. `activity_name` is left out where the
    /// source's word is the caption.
    pub(crate) members: String,
}

/// The names of the classes in the configuration, in the order of [`Class::ALL`].
const NAMES: [&str; 10] = [
    "base_event",
    "account_change",
    "authentication",
    "authorize_session",
    "entity_management",
    "user_access_management",
    "group_management",
    "http_activity",
    "api_activity",
    "datastore_activity",
];

impl Severity {
    pub const ALL: [Self; 7] =
        [Self::Unknown, Self::Informational, Self::Low, Self::Medium, Self::High, Self::Critical, Self::Fatal];

    const fn caption(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Informational => "Informational",
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
            Self::Fatal => "Fatal",
        }
    }
}

/// Takes a class's name or uid.
impl<'de> Deserialize<'de> for Class {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = deserializer.deserialize_any(NameOrUid)?;
        let found = Self::ALL.into_iter().find(|class| class.name() == given || class.uid().to_string() == given);
        found.ok_or_else(|| de::Error::unknown_variant(&given, &NAMES))
    }
}

/// Reads a class's name or uid as text.
struct NameOrUid;

impl de::Visitor<'_> for NameOrUid {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a class's name or uid")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<String, E> {
        Ok(name.to_owned())
    }

    fn visit_i64<E: de::Error>(self, uid: i64) -> Result<String, E> {
        Ok(uid.to_string())
    }
}

impl Class {
    pub const ALL: [Self; 10] = [
        Self::BaseEvent,
        Self::AccountChange,
        Self::Authentication,
        Self::AuthorizeSession,
        Self::EntityManagement,
        Self::UserAccess,
        Self::GroupManagement,
        Self::HttpActivity,
        Self::ApiActivity,
        Self::DatastoreActivity,
    ];

    pub const fn uid(self) -> u16 {
        match self {
            Self::BaseEvent => 0,
            Self::AccountChange => 3001,
            Self::Authentication => 3002,
            Self::AuthorizeSession => 3003,
            Self::EntityManagement => 3004,
            Self::UserAccess => 3005,
            Self::GroupManagement => 3006,
            Self::HttpActivity => 4002,
            Self::ApiActivity => 6003,
            Self::DatastoreActivity => 6005,
        }
    }

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        NAMES[self.index()]
    }

    pub fn of_uid(uid: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.uid() == uid)
    }

    pub const fn caption(self) -> &'static str {
        match self {
            Self::BaseEvent => "Base Event",
            Self::AccountChange => "Account Change",
            Self::Authentication => "Authentication",
            Self::AuthorizeSession => "Authorize Session",
            Self::EntityManagement => "Entity Management",
            Self::UserAccess => "User Access Management",
            Self::GroupManagement => "Group Management",
            Self::HttpActivity => "HTTP Activity",
            Self::ApiActivity => "API Activity",
            Self::DatastoreActivity => "Datastore Activity",
        }
    }

    const fn category(self) -> (u16, &'static str) {
        match self.uid() / 1000 {
            0 => (0, "Uncategorized"),
            3 => (3, "Identity & Access Management"),
            4 => (4, "Network Activity"),
            _ => (6, "Application Activity"),
        }
    }

    /// The captions of the class's activities in the order of their ids, from 1 on, without 0 (Unknown) and 99 (Other).
    const fn activities(self) -> &'static [&'static str] {
        match self {
            Self::BaseEvent => &[],
            Self::AccountChange => &[
                "Create",
                "Enable",
                "Password Change",
                "Password Reset",
                "Disable",
                "Delete",
                "Attach Policy",
                "Detach Policy",
                "Lock",
                "MFA Factor Enable",
                "MFA Factor Disable",
                "Unlock",
            ],
            Self::Authentication => &[
                "Logon",
                "Logoff",
                "Authentication Ticket",
                "Service Ticket Request",
                "Service Ticket Renew",
                "Preauth",
                "Account Switch",
            ],
            Self::AuthorizeSession => &["Assign Privileges", "Assign Groups"],
            Self::EntityManagement => &[
                "Create",
                "Read",
                "Update",
                "Delete",
                "Move",
                "Enroll",
                "Unenroll",
                "Enable",
                "Disable",
                "Activate",
                "Deactivate",
                "Suspend",
                "Resume",
            ],
            Self::UserAccess => &["Assign Privileges", "Revoke Privileges"],
            Self::GroupManagement => &[
                "Assign Privileges",
                "Revoke Privileges",
                "Add User",
                "Remove User",
                "Delete",
                "Create",
                "Add Subgroup",
                "Remove Subgroup",
            ],
            Self::HttpActivity => &["Connect", "Delete", "Get", "Head", "Options", "Post", "Put", "Trace", "Patch"],
            Self::ApiActivity => &["Create", "Read", "Update", "Delete"],
            Self::DatastoreActivity => {
                &["Read", "Update", "Connect", "Query", "Write", "Create", "Delete", "List", "Encrypt", "Decrypt"]
            }
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

impl Activity {
    /// The activity with this id in its class; 99 (Other) when the class has none.
    pub fn of(class: Class, id: u8) -> &'static Self {
        let activities = &ACTIVITIES[class.index()];
        activities.get(usize::from(id)).unwrap_or(&activities[activities.len() - 1])
    }

    /// The nearest activity of API Activity, for an event that lacks what its own class requires.
    pub fn as_api_activity(&self) -> &'static Self {
        let id = match self.caption {
            "Create" | "Post" => 1,
            "Read" | "Query" | "List" | "Connect" | "Get" | "Head" | "Options" | "Decrypt" => 2,
            "Delete" => 4,
            "" | "Unknown" | "Logon" | "Logoff" | "Trace" => OTHER,
            _ => 3,
        };
        Self::of(Class::ApiActivity, id)
    }

    fn new(class: Class, id: u8, caption: &'static str) -> Self {
        let (category_uid, category) = class.category();
        let name = if caption.is_empty() { "Other" } else { caption };
        let severity = Severity::default();
        let mut members = format!(
            r#""class_uid":{uid},"class_name":"{class}","category_uid":{category_uid},"category_name":"{category}","type_uid":{type_uid},"type_name":"{class}: {name}","severity_id":{severity_id},"severity":"{severity_name}","activity_id":{id},"#,
            uid = class.uid(),
            class = class.caption(),
            type_uid = u32::from(class.uid()) * 100 + u32::from(id),
            severity_id = severity as u8,
            severity_name = severity.caption(),
        );
        if !caption.is_empty() {
            members.push_str(&format!(r#""activity_name":"{caption}","#));
        }
        Self { class, id, caption, severity, members }
    }
}

/// For each class: 0 (Unknown), the class's own activities by their ids, and 99 (Other) last.
static ACTIVITIES: LazyLock<Vec<Vec<Activity>>> = LazyLock::new(|| {
    Class::ALL
        .into_iter()
        .map(|class| {
            let own = class.activities().iter().zip(1..).map(|(caption, id)| Activity::new(class, id, caption));
            std::iter::once(Activity::new(class, 0, "Unknown"))
                .chain(own)
                .chain(std::iter::once(Activity::new(class, OTHER, "")))
                .collect()
        })
        .collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activity_carries_the_ids_and_captions_of_its_class() {
        let activity = Activity::of(Class::GroupManagement, 3);
        assert_eq!(
            activity.members,
            r#""class_uid":3006,"class_name":"Group Management","category_uid":3,"category_name":"Identity & Access Management","type_uid":300603,"type_name":"Group Management: Add User","severity_id":1,"severity":"Informational","activity_id":3,"activity_name":"Add User","#
        );
        assert_eq!(Activity::of(Class::ApiActivity, 42).id, OTHER);
        assert_eq!(Activity::of(Class::ApiActivity, OTHER).caption, "");
    }

    #[test]
    fn every_class_is_found_by_its_uid() {
        for class in Class::ALL {
            assert_eq!(Class::of_uid(class.uid()), Some(class));
            assert_eq!(class.name(), class.caption().to_lowercase().replace(' ', "_"));
        }
        assert_eq!(Class::of_uid(6001), None);
    }
}
