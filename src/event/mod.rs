//! What a record means: the event it becomes, its identity, and how it is written.

mod address;

mod attribute;

mod choice;

mod class;

mod columns;

mod copy;

mod dropped;

mod ecs;

mod encode;

mod fields;

mod filter;

mod id;

mod json;

mod mapping;

mod members;

pub(crate) mod moment;

mod ocsf;

mod pattern;
mod says;

mod seen;

mod shorten;

mod status;

mod text;

mod value;

use std::borrow::Cow;

pub(crate) use attribute::Attribute;
pub(crate) use choice::{Choice, Choices};
pub(crate) use class::Severity;
pub use class::{Activity, Class};
pub use columns::{Column, Columns};
pub(crate) use copy::Copies;
pub(crate) use dropped::{Dropped, write_without};
pub use encode::{Encoded, Encoder, EncodingName, OcsfVersion, Options};
pub(crate) use encode::{Head, Mark};
pub(crate) use fields::{Fields, Key};
pub(crate) use filter::{Conditions, Filter};
pub use id::{EventId, Namespace, Scope};
pub(crate) use json::{Fault, Json, Reader, mend_surrogates};
pub use mapping::Mapping;
pub(crate) use mapping::{Role, Row, Rows, Slot};
pub use seen::{Origin, Seen};
pub use status::Status;
pub(crate) use status::http_status;
pub(crate) use text::{Text, unescape};
pub(crate) use value::Members;
pub use value::Value;

/// One normalized event. A family fills in the attributes that the record has; absent attributes are not written.
///
/// The encoding, not the family, knows which attributes each class has. An attribute that the class lacks is kept in
/// `unmapped` (in `resources` if the class is API Activity). An event that lacks what its class requires is written as
/// API Activity with the label `class_fallback`.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    pub activity: &'static Activity,
    /// The source's own word for what was done: the API's operation, and by default the caption of an activity 99.
    pub action: Text<'a>,
    /// The caption of an activity 99, if it is not the action.
    pub caption: Option<Text<'a>>,
    /// Milliseconds since the epoch, between the years 2000 and 2100. See [`moment`].
    pub time_ms: i64,
    pub start_time_ms: Option<i64>,
    pub end_time_ms: Option<i64>,
    pub duration_ms: Option<i64>,
    pub status: Status,
    pub status_code: Option<Text<'a>>,
    pub status_detail: Option<Text<'a>>,
    pub message: Option<Text<'a>>,
    pub product: Product,
    pub metadata: Metadata<'a>,
    pub actor: Actor<'a>,
    /// Where the request came from. Written as `unknown` if the class requires a source and the record has none.
    pub src: Option<Endpoint<'a>>,
    pub dst: Option<Endpoint<'a>>,
    pub cloud: Option<Cloud<'a>>,
    pub api: Api<'a>,
    pub http_request: HttpRequest<'a>,
    pub http_response: Option<HttpResponse<'a>>,
    pub target: Target<'a>,
    /// The source's fields that are not mapped to an attribute.
    pub unmapped: Members<'a>,
    /// How many of the first unmapped fields all events of the record share. Only one of the events is written with them.
    pub shared: usize,
    /// Parts of the record, in order, that no encoding may write, not even `raw`. The same in all events of a record.
    pub dropped: Vec<Dropped>,
}

impl<'a> Event<'a> {
    /// Whether the event has all that its class requires. If not, it is written as API Activity.
    pub fn fits(&self, class: Class) -> bool {
        ocsf::fits(class, self)
    }

    /// The record with its dropped parts replaced.
    pub fn shown<'r>(&self, record: &'r [u8]) -> Cow<'r, [u8]> {
        if self.dropped.is_empty() {
            return Cow::Borrowed(record);
        }
        let mut shown = Vec::with_capacity(record.len());
        write_without(&mut shown, record, &self.dropped);
        Cow::Owned(shown)
    }

    /// An event with only an action and a time.
    pub fn new(product: Product, activity: &'static Activity, action: Text<'a>, time_ms: i64) -> Self {
        Self {
            activity,
            action,
            caption: None,
            time_ms,
            start_time_ms: None,
            end_time_ms: None,
            duration_ms: None,
            status: Status::Unknown,
            status_code: None,
            status_detail: None,
            message: None,
            product,
            metadata: Metadata::default(),
            actor: Actor::default(),
            src: None,
            dst: None,
            cloud: None,
            api: Api::default(),
            http_request: HttpRequest::default(),
            http_response: None,
            target: Target::default(),
            unmapped: Members::new(),
            shared: 0,
            dropped: Vec::new(),
        }
    }
}

/// The product that wrote the log.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    pub name: &'static str,
    pub vendor: &'static str,
    /// `metadata.log_name`, such as `databricks.audit`.
    pub log_name: &'static str,
}

/// What is known about the record itself.
#[derive(Clone, Debug, Default)]
pub struct Metadata<'a> {
    /// The source's own id of the event or, without one, of the request.
    pub original_uid: Option<Text<'a>>,
    /// An id that the events of one request share.
    pub correlation_uid: Option<Text<'a>>,
    /// The key that the mapping was looked up by.
    pub event_code: Option<Text<'a>>,
    /// The part of the product that wrote the record: a service, a component.
    pub feature: Option<Text<'a>>,
    pub tenant_uid: Option<Text<'a>>,
    pub log_version: Option<Text<'a>>,
    pub log_level: Option<Text<'a>>,
    pub original_time: Option<Text<'a>>,
    /// The event's number in its record, if the record has several events.
    pub sequence: Option<u32>,
    /// Whether the source cut a value short.
    pub is_truncated: bool,
    /// Whether the time is that of the object, because the record has no readable time.
    pub time_inferred: bool,
    /// Further labels, such as `ambiguous`.
    pub labels: Vec<&'static str>,
}

#[derive(Clone, Debug, Default)]
pub struct Actor<'a> {
    pub user: User<'a>,
    pub session_uid: Option<Text<'a>>,
    pub app_name: Option<Text<'a>>,
    pub app_uid: Option<Text<'a>>,
    pub idp_name: Option<Text<'a>>,
}

/// Someone or something that acts or is acted upon.
#[derive(Clone, Debug, Default)]
pub struct User<'a> {
    pub name: Option<Text<'a>>,
    pub uid: Option<Text<'a>>,
    /// Written only if it is an e-mail address.
    pub email: Option<Text<'a>>,
    pub display_name: Option<Text<'a>>,
    pub domain: Option<Text<'a>>,
    pub account_uid: Option<Text<'a>>,
    pub kind: UserKind,
}

impl<'a> User<'a> {
    pub fn named(name: impl Into<Text<'a>>, kind: UserKind) -> Self {
        Self { name: Some(name.into()), kind, ..Self::default() }
    }

    /// Whether the user has a name, an id or an account. OCSF requires one of them.
    pub fn is_known(&self) -> bool {
        any_says_something([&self.name, &self.uid, &self.account_uid])
    }
}

fn any_says_something<const N: usize>(texts: [&Option<Text<'_>>; N]) -> bool {
    texts.into_iter().flatten().any(Text::says_something)
}

/// OCSF's `user.type_id`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UserKind {
    /// Not known; nothing is written.
    #[default]
    Unsaid,
    User,
    Admin,
    System,
    Service,
}

#[derive(Clone, Debug, Default)]
pub struct Group<'a> {
    pub name: Option<Text<'a>>,
    pub uid: Option<Text<'a>>,
}

impl Group<'_> {
    pub fn is_known(&self) -> bool {
        any_says_something([&self.name, &self.uid])
    }
}

/// One end of a connection.
#[derive(Clone, Debug, Default)]
pub struct Endpoint<'a> {
    /// An IP address. [`Endpoint::of_address`] or the family has checked it.
    pub ip: Option<Text<'a>>,
    /// The IP addresses of the proxies in between, the one nearest to the client first. If there are any, `ip` is only
    /// what the first proxy was told.
    pub via: Vec<Text<'a>>,
    pub port: Option<u16>,
    pub name: Option<Text<'a>>,
    pub hostname: Option<Text<'a>>,
    pub svc_name: Option<Text<'a>>,
    pub instance_uid: Option<Text<'a>>,
}

#[derive(Clone, Debug)]
pub struct Cloud<'a> {
    /// Such as `AWS`.
    pub provider: &'static str,
    pub region: Option<Text<'a>>,
    /// The account's id, and what kind of account it is: a caption of OCSF's, or the product's own word.
    pub account: Option<(Text<'a>, &'static str)>,
}

/// The request as an API call. The operation is the event's `action`.
#[derive(Clone, Debug, Default)]
pub struct Api<'a> {
    pub service: Option<Text<'a>>,
    pub version: Option<Text<'a>>,
    pub request_uid: Option<Text<'a>>,
    pub response_code: Option<i32>,
    pub response_error: Option<Text<'a>>,
    pub response_message: Option<Text<'a>>,
    pub response_result: Option<Value<'a>>,
}

#[derive(Clone, Debug, Default)]
pub struct HttpRequest<'a> {
    /// As the source spells it. OCSF events have it in upper case, if it is one of OCSF's methods.
    pub method: Option<Text<'a>>,
    pub url: Option<Text<'a>>,
    pub hostname: Option<Text<'a>>,
    pub path: Option<Text<'a>>,
    pub query: Option<Text<'a>>,
    pub scheme: Option<Text<'a>>,
    pub user_agent: Option<Text<'a>>,
    pub referrer: Option<Text<'a>>,
    pub version: Option<Text<'a>>,
}

#[derive(Clone, Debug)]
pub struct HttpResponse<'a> {
    pub code: i32,
    /// Bytes.
    pub body_length: Option<u64>,
    pub latency_ms: Option<i64>,
    pub content_type: Option<Text<'a>>,
}

/// What was acted upon. The class decides which of the attributes matter.
#[derive(Clone, Debug, Default)]
pub struct Target<'a> {
    pub user: Option<User<'a>>,
    pub group: Option<Group<'a>>,
    pub privileges: Vec<Text<'a>>,
    pub policies: Vec<Text<'a>>,
    pub access_list: Vec<Text<'a>>,
    pub resources: Vec<Resource<'a>>,
    pub entity: Option<Resource<'a>>,
    pub service: Option<Text<'a>>,
    pub database: Option<Resource<'a>>,
    pub databucket: Option<Databucket<'a>>,
    pub table: Option<Resource<'a>>,
    pub query: Option<Text<'a>>,
    pub login: Login<'a>,
    pub tls: Option<Tls<'a>>,
}

/// Something with a name or an id.
#[derive(Clone, Debug, Default)]
pub struct Resource<'a> {
    pub kind: Option<Text<'a>>,
    pub name: Option<Text<'a>>,
    pub uid: Option<Text<'a>>,
    /// The scope in which the name is unique.
    pub namespace: Option<Text<'a>>,
    pub owner: Option<User<'a>>,
    pub data: Option<Value<'a>>,
}

impl Resource<'_> {
    pub fn is_known(&self) -> bool {
        any_says_something([&self.name, &self.uid])
    }
}

#[derive(Clone, Debug, Default)]
pub struct Databucket<'a> {
    pub name: Option<Text<'a>>,
    pub uid: Option<Text<'a>>,
    /// `S3`, or the product's own word.
    pub kind: Option<&'static str>,
    pub version: Option<Text<'a>>,
    pub file: Option<File<'a>>,
}

impl Databucket<'_> {
    pub fn is_known(&self) -> bool {
        any_says_something([&self.name, &self.uid])
    }
}

#[derive(Clone, Debug)]
pub struct File<'a> {
    pub path: Text<'a>,
    /// Bytes.
    pub size: Option<u64>,
    pub version: Option<Text<'a>>,
    pub is_folder: bool,
}

/// How someone logged on.
#[derive(Clone, Debug, Default)]
pub struct Login<'a> {
    /// A caption of OCSF's `auth_protocol_id`, or the product's own word.
    pub protocol: Option<&'static str>,
    /// The id of the API token used.
    pub token_uid: Option<Text<'a>>,
    pub is_mfa: Option<bool>,
    pub is_remote: Option<bool>,
}

#[derive(Clone, Debug)]
pub struct Tls<'a> {
    pub version: Text<'a>,
    pub cipher: Option<Text<'a>>,
}
