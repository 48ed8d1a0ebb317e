//! The known names of fields in the audit stream.

use std::sync::LazyLock;

/// A known name, as its index in [`PLAIN`] followed by [`FREE`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Name(u8);

/// Fields with short values that YDB itself makes.
const PLAIN: [&str; 59] = [
    "@log_type",
    "@timestamp",
    "account",
    "acl_add",
    "acl_remove",
    "auth_type",
    "begin_tx",
    "cloud_id",
    "commit_tx",
    "component",
    "created_at",
    "database",
    "detailed_status",
    "end_time",
    "export_fs_base_path",
    "export_item_count",
    "export_s3_bucket",
    "export_s3_prefix",
    "export_type",
    "export_yt_prefix",
    "folder_id",
    "grpc_method",
    "id",
    "idempotency_id",
    "import_fs_base_path",
    "import_item_count",
    "import_s3_bucket",
    "import_s3_prefix",
    "import_type",
    "labels",
    "last_login",
    "login_group",
    "login_member",
    "login_user",
    "login_user_change",
    "login_user_level",
    "masked_token",
    "method",
    "new_owner",
    "node_id",
    "operation",
    "paths",
    "permission",
    "prepared_query_id",
    "queue",
    "remote_address",
    "request_id",
    "resource_id",
    "row_count",
    "sanitized_token",
    "start_time",
    "status",
    "subject",
    "table",
    "tablet_id",
    "tx_id",
    "uid",
    "user_attrs_add",
    "user_attrs_remove",
];

/// Free fields: untrusted writers may set their values, which may contain what looks like the next field.
const FREE: [&str; 10] = [
    "body",
    "new_config",
    "old_config",
    "params",
    "program_text",
    "query_text",
    "reason",
    "request",
    "schema_changes",
    "url",
];

/// Pairs of fields that YDB writes one after the other, although the first one is free.
const FOLLOWING: [(Name, Name); 4] = [(URL, PARAMS), (URL, BODY), (PARAMS, BODY), (OLD_CONFIG, NEW_CONFIG)];

/// Free fields whose values contain no line end: they come from the first line of a request.
const ON_ONE_LINE: [Name; 2] = [URL, PARAMS];

/// Fields that hold a list of names that untrusted writers may choose.
const LISTS: [Name; 3] = [ACL_ADD, ACL_REMOVE, PATHS];

/// More bytes than any name has.
pub(super) const NAME_MAX: usize = 40;

/// How many names there are.
pub(super) const NAMES: usize = PLAIN.len() + FREE.len();

pub(super) const ACL_ADD: Name = Name::known("acl_add");
pub(super) const ACL_REMOVE: Name = Name::known("acl_remove");
pub(super) const AT_TIMESTAMP: Name = Name::known("@timestamp");
pub(super) const BODY: Name = Name::known("body");
pub(super) const COMPONENT: Name = Name::known("component");
pub(super) const DATABASE: Name = Name::known("database");
pub(super) const DETAILED_STATUS: Name = Name::known("detailed_status");
pub(super) const END_TIME: Name = Name::known("end_time");
pub(super) const GRPC_METHOD: Name = Name::known("grpc_method");
pub(super) const ID: Name = Name::known("id");
pub(super) const LOGIN_GROUP: Name = Name::known("login_group");
pub(super) const LOGIN_MEMBER: Name = Name::known("login_member");
pub(super) const LOGIN_USER: Name = Name::known("login_user");
pub(super) const METHOD: Name = Name::known("method");
const NEW_CONFIG: Name = Name::known("new_config");
pub(super) const NEW_OWNER: Name = Name::known("new_owner");
const OLD_CONFIG: Name = Name::known("old_config");
pub(super) const OPERATION: Name = Name::known("operation");
pub(super) const PARAMS: Name = Name::known("params");
pub(super) const PATHS: Name = Name::known("paths");
pub(super) const QUERY_TEXT: Name = Name::known("query_text");
pub(super) const REASON: Name = Name::known("reason");
pub(super) const REMOTE_ADDRESS: Name = Name::known("remote_address");
pub(super) const REQUEST_ID: Name = Name::known("request_id");
pub(super) const START_TIME: Name = Name::known("start_time");
pub(super) const STATUS: Name = Name::known("status");
pub(super) const SUBJECT: Name = Name::known("subject");
pub(super) const TABLE: Name = Name::known("table");
pub(super) const TX_ID: Name = Name::known("tx_id");
pub(super) const URL: Name = Name::known("url");

/// The names, by length in bytes. Few have the same length.
static NAMED: LazyLock<Vec<Vec<Name>>> = LazyLock::new(|| {
    let mut named = Vec::new();
    for name in (0..NAMES).map(|place| Name(place as u8)) {
        let length = name.text().len();
        named.resize(named.len().max(length + 1), Vec::new());
        named[length].push(name);
    }
    named
});

impl Name {
    /// The name with this spelling. `None` if it is not a known name of the stream.
    pub(super) fn of(text: &str) -> Option<Self> {
        NAMED.get(text.len())?.iter().copied().find(|name| name.text() == text)
    }

    /// As [`Name::of`], for names that are known. Any other does not compile.
    const fn known(text: &str) -> Self {
        let mut place = 0;
        while place < NAMES {
            if is_same(Self(place as u8).text().as_bytes(), text.as_bytes()) {
                return Self(place as u8);
            }
            place += 1;
        }
        panic!("the stream uses no such name")
    }

    const fn text(self) -> &'static str {
        let place = self.place();
        if place < PLAIN.len() { PLAIN[place] } else { FREE[place - PLAIN.len()] }
    }

    /// The name's index, below [`NAMES`].
    pub(super) const fn place(self) -> usize {
        self.0 as usize
    }

    /// Whether untrusted writers may set the value.
    pub(super) const fn is_free(self) -> bool {
        self.place() >= PLAIN.len()
    }

    /// Whether the value contains no line end.
    pub(super) fn is_on_one_line(self) -> bool {
        ON_ONE_LINE.contains(&self)
    }

    /// Whether the value is a list of names that untrusted writers may choose.
    pub(super) fn is_list(self) -> bool {
        LISTS.contains(&self)
    }

    /// Whether YDB writes the field `name` right after this one.
    pub(super) fn is_followed_by(self, name: Self) -> bool {
        FOLLOWING.contains(&(self, name))
    }
}

const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// A table of bytes that is true for ASCII letters and digits, and for `others`.
pub(super) const fn alphanumeric_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut other = 0;
    while other < others.len() {
        table[others[other] as usize] = true;
        other += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_and_nothing_else_and_none_is_a_secret_s() {
        for text in PLAIN.iter().chain(&FREE) {
            assert_eq!(Name::of(text).map(Name::text), Some(*text));
            assert_eq!(Name::of(&format!("{text}x")), None);
        }
        assert_eq!((Name::of(""), Name::of("i"), Name::of("statue")), (None, None, None));
        for name in PLAIN.iter().chain(&FREE) {
            assert_eq!(crate::mask::masked(format!(r#"{{"{name}":"a value"}}"#).as_bytes()), None, "{name}");
        }
        assert!(URL.is_free() && QUERY_TEXT.is_free() && !STATUS.is_free());
    }
}
