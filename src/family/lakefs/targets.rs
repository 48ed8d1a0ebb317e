//! What a lakeFS operation was done to: the words that the mapping uses, read out of the path and the record.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use crate::event::Databucket;
use crate::event::Event;
use crate::event::File;
use crate::event::Group;
use crate::event::Mapping;
use crate::event::Resource;
use crate::event::Role;
use crate::event::Row;
use crate::event::Rows;
use crate::event::Slot;
use crate::event::Text;
use crate::event::User;
use crate::event::UserKind;
use crate::family::lakefs::FAMILY;
use crate::family::lakefs::path::RequestPath;

static ROWS: LazyLock<Option<&'static Rows>> = LazyLock::new(|| Mapping::built_in().family(FAMILY.name));

/// Selectors without underscores and in lower case, to the selectors themselves: the server writes one operation as
/// `DeleteObjects`, `deleteObjects` or `delete_objects`.
static SELECTORS: LazyLock<HashMap<Vec<u8>, &'static str>> = LazyLock::new(|| {
    let named = ROWS.into_iter().flat_map(|rows| rows.iter()).filter(|row| !row.is_fallback);
    named
        .filter_map(|row| {
            let (service, operation) = row.selector.split_once('/')?;
            Some((squeezed(service, operation), row.selector))
        })
        .collect()
});

/// What the targets of an operation are read from.
pub(super) struct Source<'s, 'a> {
    /// Nothing when the record has none.
    pub(super) path: Option<&'s RequestPath<'a>>,
    pub(super) user: Option<Text<'a>>,
    pub(super) repository: Option<Text<'a>>,
    pub(super) reference: Option<Text<'a>>,
}

/// What the mapping is looked up by: a selector, where one means this operation; else the operation in lower case with
/// underscores.
pub(super) fn code(service: &str, operation: &str) -> Cow<'static, str> {
    match SELECTORS.get(&squeezed(service, operation)) {
        Some(selector) => Cow::Borrowed(selector),
        None => Cow::Owned(format!("{service}/{}", underscored(operation))),
    }
}

/// The row for the operation. That it is a logout is known from its name, whatever its method.
pub(super) fn row(code: &str, method: Option<&str>) -> Option<&'static Row> {
    const LOGOUT: &[u8] = b"logout";
    let rows = (*ROWS)?;
    let fact = |name: &str| method.filter(|_| name == "method");
    let is_logout = memchr::memchr2_iter(b'l', b'L', code.as_bytes())
        .filter_map(|at| code.as_bytes().get(at..at + LOGOUT.len()))
        .any(|word| word.eq_ignore_ascii_case(LOGOUT));
    let by_name = is_logout.then(|| rows.matching(code, &fact).find(|row| row.selector.contains("logout"))).flatten();
    by_name.or_else(|| rows.matching(code, &fact).next())
}

fn squeezed(service: &str, operation: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(service.len() + operation.len() + 1);
    key.extend_from_slice(service.as_bytes());
    key.push(b'/');
    for letter in operation.bytes().filter(|letter| *letter != b'_') {
        key.push(letter.to_ascii_lowercase());
    }
    key
}

/// `getLakeFSVersion` as `get_lake_fs_version`.
fn underscored(operation: &str) -> String {
    let mut name = String::with_capacity(operation.len() + 8);
    let mut before = '_';
    let mut letters = operation.chars().peekable();
    while let Some(letter) = letters.next() {
        let begins = letter.is_ascii_uppercase()
            && (before.is_ascii_lowercase()
                || before.is_ascii_digit()
                || before.is_ascii_uppercase() && letters.peek().is_some_and(char::is_ascii_lowercase));
        if begins {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
        before = letter;
    }
    name
}

impl<'a> Source<'_, 'a> {
    /// Gives the event the row's objects, as far as the record names them.
    pub(super) fn fill(&self, event: &mut Event<'a>, row: &'static Row) {
        event.activity = row.activity;
        event.caption = row.caption.map(Text::from);
        let target = &mut event.target;
        for slot in &row.slots {
            match slot.role {
                Role::User => target.user = self.user(slot),
                Role::Group => target.group = self.of_path(slot).map(|uid| Group { name: None, uid: Some(uid) }),
                Role::Policies => target.policies.extend(self.of_path(slot)),
                Role::Privileges => {
                    let literal = || word(slot).filter(|word| !word.contains(':')).map(Text::from);
                    target.privileges.extend(self.of_path(slot).or_else(literal));
                }
                Role::Service => target.service = word(slot).map(Text::from),
                Role::Resource => self.resources(slot, &mut target.resources),
                Role::Databucket => target.databucket = self.bucket(slot),
                Role::File => {
                    if let Some(bucket) = &mut target.databucket {
                        bucket.file = self.file(slot);
                    }
                }
                _ => {}
            }
        }
        if let Some(bucket) = &mut target.databucket
            && bucket.file.is_none()
        {
            bucket.file = self.listed();
        }
    }

    fn user(&self, slot: &'static Slot) -> Option<User<'a>> {
        let words = slot.parts.first()?;
        if words.contains(&"data_user") {
            return match &self.user {
                Some(user) => Some(user_of(user.clone())),
                None if words.contains(&"anonymous") => Some(User::named("anonymous", UserKind::Unsaid)),
                None => None,
            };
        }
        self.of_path(slot).map(user_of)
    }

    /// What `path:userId` and its like stand for.
    fn of_path(&self, slot: &'static Slot) -> Option<Text<'a>> {
        let path = self.path?;
        match word(slot)?.strip_prefix("path:")? {
            "userId" => path.after("members").or_else(|| path.after("users")),
            "groupId" => path.after("groups"),
            "policyId" => path.after("policies"),
            "accessKeyId" => {
                let principal = || path.parameter("principalId");
                path.after("credentials").or_else(principal).or_else(|| path.after("users"))
            }
            _ => None,
        }
    }

    fn resources(&self, slot: &'static Slot, resources: &mut Vec<Resource<'a>>) {
        let repository = |name| Resource { kind: Some("repository".into()), name: Some(name), ..Resource::default() };
        match (slot.kind, word(slot)) {
            (None, Some("data_repository")) => resources.extend(self.repository.clone().map(repository)),
            (None, Some("repository(path)")) => resources.extend(self.repository_of_path().map(repository)),
            (Some("repository(path)"), Some("ref(path)")) => {
                let name = self.repository_of_path();
                resources.extend(name.clone().map(repository));
                if let Some((reference, kind)) = self.path.and_then(RequestPath::reference) {
                    let (kind, uid) = (Some(Text::from(kind)), Some(reference));
                    resources.push(Resource { kind, uid, namespace: name, ..Resource::default() });
                }
            }
            (Some(kind), Some(_)) => {
                let uid = self.of_path(slot);
                resources.extend(uid.map(|uid| Resource {
                    kind: Some(kind.into()),
                    uid: Some(uid),
                    ..Resource::default()
                }));
            }
            _ => {}
        }
    }

    fn repository_of_path(&self) -> Option<Text<'a>> {
        self.path.and_then(|path| path.after("repositories")).or_else(|| self.repository.clone())
    }

    fn bucket(&self, slot: &'static Slot) -> Option<Databucket<'a>> {
        let of_gateway = word(slot) == Some("data_repository");
        let name = if of_gateway { self.repository.clone() } else { self.repository_of_path() };
        let of_path = || self.path.and_then(RequestPath::reference).map(|(reference, _)| reference);
        let version = if of_gateway { self.reference.clone() } else { of_path().or_else(|| self.reference.clone()) };
        Some(Databucket { name: Some(name?), kind: Some("Repository"), version, ..Databucket::default() })
    }

    fn file(&self, slot: &'static Slot) -> Option<File<'a>> {
        let path = self.path?;
        let object = if word(slot) == Some("data_path") {
            if path.is_absolute() {
                let reference = self.reference.as_ref().map(Text::plain);
                path.object_in(&self.repository.as_ref()?.plain(), reference.as_deref())
            } else {
                // The gateway writes the object's own path over the request's.
                Some(path.path()).filter(Text::says_something)
            }
        } else {
            path.parameter("path").or_else(|| path.parameter("dest_path"))
        };
        object.map(|path| File { path, size: None, version: None, is_folder: false })
    }

    /// What a listing was limited to.
    fn listed(&self) -> Option<File<'a>> {
        let prefix = self.path?.parameter("prefix")?;
        Some(File { path: prefix, size: None, version: None, is_folder: true })
    }
}

/// The user of an id. An id may be an address, or that of another directory.
pub(super) fn user_of(id: Text<'_>) -> User<'_> {
    let is_address = id.plain().contains('@');
    let kind = if is_address { UserKind::User } else { UserKind::Unsaid };
    User { name: Some(id.clone()), email: is_address.then(|| id.clone()), uid: Some(id), kind, ..User::default() }
}

fn word(slot: &'static Slot) -> Option<&'static str> {
    slot.parts.first().and_then(|part| part.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_found_in_either_spelling() {
        for (service, operation, expected) in [
            ("rest_api", "DeleteObjects", "rest_api/delete_objects"),
            ("rest_api", "deleteObjects", "rest_api/delete_objects"),
            ("rest_api", "delete_objects", "rest_api/delete_objects"),
            ("rest_api", "setupCommPrefs", "rest_api/setup_comm_prefs"),
            ("rest_api", "getLakeFSVersion", "rest_api/get_lake_fs_version"),
            ("rest_api", "setGroupACL", "rest_api/set_group_acl"),
            ("s3_gateway", "get_object", "s3_gateway/get_object"),
            ("rest_api", "frobnicateHTTPThing2Go", "rest_api/frobnicate_http_thing2_go"),
        ] {
            assert_eq!(code(service, operation), expected);
        }
    }

    #[test]
    fn an_operation_without_a_row_falls_back_by_its_method_and_a_logout_does_not() {
        let selector = |code, method| row(code, method).unwrap().selector;
        assert_eq!(selector("rest_api/new_thing", Some("DELETE")), "*/*[method=DELETE]");
        assert_eq!(selector("rest_api/new_thing", Some("BREW")), "*/*");
        assert_eq!(selector("rest_api/new_thing", None), "*/*");
        assert_eq!(selector("rest_api/sso_logout", Some("POST")), "*/*logout*");
    }

    #[test]
    fn every_row_is_reached() {
        let rows = Mapping::built_in().family("lakefs").unwrap();
        assert_eq!(rows.len(), 155);
        for expected in rows.iter() {
            let (action, method) = match expected.selector {
                "*/*" => ("x/y", None),
                "*/*logout*" => ("x/logout", Some("GET")),
                selector => match selector.strip_suffix(']').and_then(|open| open.split_once("[method=")) {
                    Some((_, method)) => ("x/y", Some(method)),
                    None => (selector, Some("POST")),
                },
            };
            let (service, operation) = action.split_once('/').unwrap();
            assert_eq!(row(&code(service, operation), method).unwrap().selector, expected.selector);
        }
    }
}
