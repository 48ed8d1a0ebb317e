//! The targets of a lakeFS operation: the values that the mapping names, read out of the path and the record.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::event::{Databucket, Event, File, Group, Mapping, Resource, Role, Row, Rows, Slot, Text, User, UserKind};
use crate::family::lakefs::path::RequestPath;

/// The family's name in the configuration and the mapping.
pub(super) const NAME: &str = "lakefs";

static ROWS: LazyLock<Option<&'static Rows>> = LazyLock::new(|| Mapping::built_in().family(NAME));

/// The longest operation that is compared, its service included, in bytes.
const KEY_BYTES_MAX: usize = 96;

/// A row, and the name of its operation in lower case without underscores: the server writes the same operation as
/// `DeleteObjects`, `deleteObjects` or `delete_objects`.
type Named = (Vec<u8>, &'static Row);

/// The rows that name an operation, in one list for each length of name, so that few names are compared.
static NAMED: LazyLock<Vec<Vec<Named>>> = LazyLock::new(|| {
    let mut named = vec![Vec::new(); KEY_BYTES_MAX + 1];
    for row in ROWS.into_iter().flat_map(|rows| rows.iter()).filter(|row| !row.is_fallback) {
        let Some((service, operation)) = row.selector.split_once('/') else { continue };
        let mut key = [0; KEY_BYTES_MAX];
        if let Some(key) = squeezed(service, operation, &mut key) {
            named[key.len()].push((key.to_vec(), row));
        }
    }
    named
});

/// An operation, and what the mapping says of it.
pub(super) struct Operation {
    /// The key of the mapping: the selector of the row that names this operation; without one, the operation in lower
    /// case with underscores.
    pub(super) code: Cow<'static, str>,
    named: Option<&'static Row>,
}

/// What the targets of an operation are read from.
pub(super) struct Source<'s, 'a> {
    /// `None` if the record has no path.
    pub(super) path: Option<&'s RequestPath<'a>>,
    pub(super) user: Option<Text<'a>>,
    pub(super) repository: Option<Text<'a>>,
    pub(super) reference: Option<Text<'a>>,
}

impl Operation {
    pub(super) fn of(service: &str, operation: &str) -> Self {
        let mut key = [0; KEY_BYTES_MAX];
        let named = squeezed(service, operation, &mut key).and_then(|key| {
            let same = NAMED[key.len()].iter().find(|(own, _)| own == key);
            same.map(|(_, row)| *row)
        });
        let code = match named {
            Some(row) => Cow::Borrowed(row.selector),
            None => Cow::Owned(format!("{service}/{}", underscored(operation))),
        };
        Self { code, named }
    }

    pub(super) fn row(&self, method: Option<&Text<'_>>) -> Option<&'static Row> {
        if self.named.is_some() {
            return self.named;
        }
        let method = method.map(Text::plain);
        let fact = |name: &str| method.as_deref().filter(|_| name == "method");
        (*ROWS)?.matching(&self.code, &fact).next()
    }
}

/// Service and operation in lower case without underscores. `None` if that is longer than any known operation.
fn squeezed<'k>(service: &str, operation: &str, key: &'k mut [u8; KEY_BYTES_MAX]) -> Option<&'k [u8]> {
    let mut length = service.len();
    key.get_mut(..length)?.copy_from_slice(service.as_bytes());
    *key.get_mut(length)? = b'/';
    length += 1;
    for letter in operation.bytes() {
        *key.get_mut(length)? = letter.to_ascii_lowercase();
        length += usize::from(letter != b'_');
    }
    Some(&key[..length])
}

/// Converts `getLakeFSVersion` to `get_lake_fs_version`.
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
    /// Applies the row, with the targets that the record names.
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

    /// The part of the path that a word such as `path:userId` names.
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
                // The gateway logs the object's own path instead of the request's.
                Some(path.path()).filter(Text::says_something)
            }
        } else {
            path.parameter("path").or_else(|| path.parameter("dest_path"))
        };
        object.map(|path| File { path, size: None, version: None, is_folder: false })
    }

    /// The prefix that a listing was limited to.
    fn listed(&self) -> Option<File<'a>> {
        let prefix = self.path?.parameter("prefix")?;
        Some(File { path: prefix, size: None, version: None, is_folder: true })
    }
}

/// The user with this id. An id may be an e-mail address, or come from another directory.
pub(super) fn user_of(id: Text<'_>) -> User<'_> {
    let is_address = match &id {
        // An at sign may be written as an escape; few ids have either.
        Text::Escaped(inside) if memchr::memchr2(b'@', b'\\', inside.as_bytes()).is_none() => false,
        id => id.plain().contains('@'),
    };
    let kind = if is_address { UserKind::User } else { UserKind::Unsaid };
    User { name: Some(id.clone()), email: is_address.then(|| id.clone()), uid: Some(id), kind, ..User::default() }
}

fn word(slot: &'static Slot) -> Option<&'static str> {
    slot.parts.first().and_then(|part| part.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGOUT: &str = "*/<word:logout,logOut,logoff>";

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
            assert_eq!(Operation::of(service, operation).code, expected);
        }
    }

    #[test]
    fn an_operation_without_a_row_falls_back_by_its_method_and_a_logout_does_not() {
        let selector = |code: &'static str, method: Option<&'static str>| {
            let operation = Operation { code: Cow::Borrowed(code), named: None };
            operation.row(method.map(Text::from).as_ref()).unwrap().selector
        };
        assert_eq!(selector("rest_api/new_thing", Some("DELETE")), "*/*[method=DELETE]");
        assert_eq!(selector("rest_api/new_thing", Some("BREW")), "*/*");
        assert_eq!(selector("rest_api/new_thing", None), "*/*");
        assert_eq!(selector("rest_api/sso_logout", Some("POST")), LOGOUT);
        assert_eq!(selector("rest_api/blogoutline", Some("POST")), "*/*[method=POST]");
    }

    #[test]
    fn every_row_is_reached() {
        let rows = Mapping::built_in().family("lakefs").unwrap();
        assert_eq!(rows.len(), 155);
        for expected in rows.iter() {
            let (action, method) = match expected.selector {
                "*/*" => ("x/y", None),
                LOGOUT => ("x/logout", Some("GET")),
                selector => match selector.strip_suffix(']').and_then(|open| open.split_once("[method=")) {
                    Some((_, method)) => ("x/y", Some(method)),
                    None => (selector, Some("POST")),
                },
            };
            let (service, operation) = action.split_once('/').unwrap();
            let row = Operation::of(service, operation).row(method.map(Text::from).as_ref());
            assert_eq!(row.unwrap().selector, expected.selector);
        }
    }
}
