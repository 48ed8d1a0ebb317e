//! The targets of a Databricks action: the fields that the mapping names, read as users, groups and resources.

use crate::event::{
    Activity, Class, Endpoint, Event, Fields, Group, Json, Reader, Resource, Role, Row, Rows, Slot, Status, Target,
    Text, User, UserKind,
};

/// The most elements of a list of privileges or securables that become objects of the event. A longer list stays in
/// `unmapped` as well.
const ELEMENTS_MAX: usize = 100;

/// Parameters that name the target of an action that the mapping does not know, the most specific first: the name of
/// the parameter, and the type of the target.
const KNOWN_NAMES: &[(&str, &str)] = &[
    ("full_name_arg", "securable"),
    ("securable_full_name", "securable"),
    ("table_full_name", "table"),
    ("volume_full_name", "volume"),
    ("run_id", "job_run"),
    ("runId", "job_run"),
    ("job_id", "job"),
    ("jobId", "job"),
    ("cluster_id", "cluster"),
    ("clusterId", "cluster"),
    ("notebook_id", "notebook"),
    ("notebookId", "notebook"),
    ("warehouse_id", "warehouse"),
    ("warehouseId", "warehouse"),
    ("pipeline_id", "pipeline"),
    ("experiment_id", "mlflow_experiment"),
    ("experimentId", "mlflow_experiment"),
    ("instance_pool_id", "instance_pool"),
    ("policy_id", "cluster_policy"),
    ("list_id", "ip_access_list"),
    ("repo_id", "repo"),
    ("queryId", "query"),
    ("dashboardId", "dashboard"),
    ("DashboardId", "dashboard"),
    ("alertId", "alert"),
    ("AlertId", "alert"),
    ("dataSourceId", "data_source"),
    ("DataSourceId", "data_source"),
    ("tokenId", "token"),
    ("workspaceConfKeys", "workspace_config"),
    ("recipient_name", "recipient"),
    ("share_name", "share"),
    ("schema_name", "schema"),
    ("catalog_name", "catalog"),
    ("metastore_id", "metastore"),
    ("scope", "secret_scope"),
    ("path", "path"),
    ("name", "named"),
];

/// Applies the first matching row whose class fits the record, with the targets that the row names.
pub(super) fn fill<'a>(
    event: &mut Event<'a>,
    rows: &'static Rows,
    code: &str,
    params: &mut Fields<'a>,
    user: &Fields<'a>,
) {
    let mut missed = None;
    for row in rows.matching(code, &|_| None) {
        let mut source = Source { params, user, read: 0 };
        source.fill(row, event);
        if event.fits(row.activity.class) {
            let mut read = source.read;
            while read != 0 {
                params.mark_mapped(read.trailing_zeros() as usize);
                read &= read - 1;
            }
            if !row.is_fallback {
                event.metadata.event_code = Some(Text::from(row.selector));
            }
            event.activity = row.activity;
            event.caption = row.caption.map(Text::from);
            if missed.is_some_and(|class| class != row.activity.class) {
                event.metadata.labels.push("class_fallback");
            }
            return;
        }
        // A fallback row that does not fit is no reason for the label `class_fallback`.
        if !row.is_fallback {
            missed = Some(row.activity.class);
        }
        (event.target, event.dst) = (Target::default(), None);
    }
}

/// Applies what the notes of the mapping say about single actions.
pub(super) fn particulars<'a>(event: &mut Event<'a>, code: &str, params: &mut Fields<'a>) {
    let login = &mut event.target.login;
    match code {
        "accounts/samlLogin" => login.protocol = Some("SAML"),
        "accounts/jwtLogin" => login.protocol = Some("JWT"),
        "accounts/oidcBrowserLogin" => login.protocol = Some("OpenID"),
        "accounts/mfaLogin" => login.is_mfa = Some(true),
        "accounts/tokenLogin" => {
            login.protocol = Some("Token");
            login.token_uid = params.map("tokenId");
        }
        "accounts/changePassword" | "accounts/resetPassword" => {
            let changed = params.get("wasPasswordChanged").and_then(Json::text);
            if changed.is_some_and(|changed| changed.is("false")) {
                event.status = Status::Failure;
                detail(event, Some(Text::from("wasPasswordChanged=false")));
            }
        }
        "accounts/IpAccessDenied" => {
            event.status = Status::Failure;
            detail(event, Some(event.action.clone()));
        }
        "jobs/runFailed" | "jobs/runSucceeded" => {
            let failed = code == "jobs/runFailed";
            event.status = if failed { Status::Failure } else { Status::Success };
            detail(event, params.get("jobTerminalState").and_then(Json::text));
            detail(event, failed.then(|| event.action.clone()));
        }
        _ if code.starts_with("clusters/") && code.ends_with("Result") => {
            detail(event, params.get("clusterState").and_then(Json::text));
        }
        _ if code.ends_with("Acl") && event.activity.class == Class::UserAccess => {
            let granted = event.target.privileges.iter().any(|privilege| !denotes_none(&privilege.plain()));
            if !granted {
                event.activity = Activity::of(Class::UserAccess, 2);
            }
        }
        _ => {}
    }
}

/// Sets the status detail, unless it is set already.
fn detail<'a>(event: &mut Event<'a>, text: Option<Text<'a>>) {
    if event.status_detail.is_none() {
        event.status_detail = text;
    }
}

/// Whether a permission set permits nothing.
fn denotes_none(privilege: &str) -> bool {
    let word: String = privilege.chars().filter(char::is_ascii_alphabetic).collect();
    matches!(
        word.to_ascii_lowercase().as_str(),
        "" | "none" | "null" | "no" | "nopermission" | "nopermissions" | "nopermissionset"
    )
}

/// The fields of one record, by the names that the mapping uses.
struct Source<'r, 'a> {
    params: &'r Fields<'a>,
    user: &'r Fields<'a>,
    /// One bit for each of the first 64 parameters, by position: whether the event holds its whole value. Later
    /// parameters always stay in `unmapped`.
    read: u64,
}

impl<'a> Source<'_, 'a> {
    fn fill(&mut self, row: &'static Row, event: &mut Event<'a>) {
        let owned = row.slots.iter().any(|slot| slot.role == Role::Owner);
        let target = &mut event.target;
        for slot in &row.slots {
            match slot.role {
                Role::User => target.user = self.user(slot),
                Role::Group => {
                    let named = self.named(slot);
                    target.group = Some(Group { name: named.name, uid: named.uid });
                }
                Role::Privileges => target.privileges = self.privileges(slot),
                Role::Resource => target.resources.extend(self.resource(slot, owned)),
                Role::Resources => target.resources = self.securables(slot),
                Role::Owner => {
                    let owner = self.user(slot);
                    if let Some(resource) = target.resources.last_mut() {
                        resource.owner = owner;
                    }
                }
                Role::Entity => target.entity = Some(self.named(slot)),
                Role::Service => {
                    target.service = match slot.parts.first().and_then(|part| part.first()).copied() {
                        Some("serviceName") => event.metadata.feature.clone(),
                        word => word.map(Text::from),
                    }
                }
                Role::Dst => event.dst = self.instance(),
                _ => {}
            }
        }
    }

    /// The text of a field: a parameter (a prefix `requestParams.` changes nothing), the acting user's address, or a
    /// member of a parameter that holds JSON, such as `permission.level`.
    fn field(&mut self, name: &'static str) -> Option<Text<'a>> {
        let name = name.strip_prefix("requestParams.").unwrap_or(name);
        if name == "userIdentity.email" {
            return self.user.get("email").and_then(Json::text);
        }
        if let Some(dot) = memchr::memchr(b'.', name.as_bytes()) {
            let (param, member) = (&name[..dot], &name[dot + 1..]);
            return embedded(self.params.get(param)?, |fields| fields.get(member).and_then(owned_text))?;
        }
        let text = self.params.get(name).and_then(Json::text)?;
        self.mark_read(name);
        Some(text)
    }

    fn mark_read(&mut self, name: &str) {
        if let Some(position @ 0..64) = self.params.position_of(name) {
            self.read |= 1 << position;
        }
    }

    fn first(&mut self, names: &[&'static str]) -> Option<(Text<'a>, &'static str)> {
        names.iter().find_map(|name| self.field(name).map(|text| (text, *name)))
    }

    fn user(&mut self, slot: &'static Slot) -> Option<User<'a>> {
        let named = self.named(slot);
        let is_address =
            named.name.as_ref().is_some_and(|name| memchr::memchr(b'@', name.plain().as_bytes()).is_some());
        let is_system = named.name.as_ref().is_some_and(|name| name.is(super::SYSTEM_USER));
        let kind = match (is_address, is_system) {
            (true, _) => UserKind::User,
            (_, true) => UserKind::System,
            _ => UserKind::Unsaid,
        };
        let email = named.name.clone().filter(|_| is_address);
        Some(User { name: named.name, uid: named.uid, email, kind, ..User::default() }).filter(User::is_known)
    }

    /// The object that a slot names. A part whose field ends in `Id` or `_id` is the id, any other part the name. Of
    /// two ids or two names, the last is the object's own and the one before is its namespace.
    fn named(&mut self, slot: &'static Slot) -> Resource<'a> {
        let mut named = Resource { kind: slot.kind.map(Text::from), ..Resource::default() };
        for names in &slot.parts {
            let Some((text, name)) = self.first(names) else { continue };
            let place = if is_id(name) { &mut named.uid } else { &mut named.name };
            if let Some(before) = place.replace(text) {
                named.namespace = Some(before);
            }
        }
        named
    }

    fn resource(&mut self, slot: &'static Slot, owned: bool) -> Option<Resource<'a>> {
        let word = slot.parts.first().and_then(|part| part.first()).copied();
        let mut resource = match (slot.kind, word) {
            (None, None) => return self.known(),
            // A single word that is spelled like a field is one. Any other is the type of the object.
            (None, Some(word)) if !is_field(word) => {
                let named = self.field(word).map(|name| Resource { name: Some(name), ..Resource::default() });
                let mut found = named.or_else(|| self.known()).unwrap_or_default();
                found.kind = Some(Text::from(word));
                found
            }
            _ => self.named(slot),
        };
        // An owner must not be lost because the object has no name.
        if !resource.is_known() && owned {
            resource.name.clone_from(&resource.kind);
        }
        resource.is_known().then_some(resource)
    }

    /// The target of the action, by the usual names of parameters.
    fn known(&mut self) -> Option<Resource<'a>> {
        KNOWN_NAMES.iter().find_map(|(name, kind)| {
            let text = self.field(name)?;
            let kind = (*kind != "named").then(|| Text::from(*kind));
            Some(if is_id(name) {
                Resource { kind, uid: Some(text), ..Resource::default() }
            } else {
                Resource { kind, name: Some(text), ..Resource::default() }
            })
        })
    }

    /// A word in lower case is a privilege itself, any other word the field that holds it.
    fn privileges(&mut self, slot: &'static Slot) -> Vec<Text<'a>> {
        let Some(word) = slot.parts.first().and_then(|part| part.first()).copied() else { return Vec::new() };
        if !is_field(word) {
            return vec![Text::from(word)];
        }
        if let Some(Json::Array(whole)) = self.params.get(word) {
            let texts = elements(whole, owned_text);
            if !texts.is_empty() {
                if texts.len() < ELEMENTS_MAX {
                    self.mark_read(word);
                }
                return texts;
            }
        }
        match self.field(word) {
            Some(text) => vec![text],
            // The field is there but empty: nothing is permitted any more.
            None if self.params.get(word).is_some() => vec![Text::from("none")],
            None => Vec::new(),
        }
    }

    /// The securables in a list of checks such as `requests`.
    fn securables(&mut self, slot: &'static Slot) -> Vec<Resource<'a>> {
        let requests = slot.parts.first().and_then(|part| part.first()).and_then(|name| self.params.get(name));
        let list = match requests {
            Some(Json::Array(whole)) => whole.to_owned(),
            Some(text @ Json::String(_)) => match text.text() {
                Some(text) => text.plain().into_owned(),
                None => return Vec::new(),
            },
            _ => return Vec::new(),
        };
        let resource = |value: Json<'_>| {
            let name = match value {
                Json::Object(whole) => {
                    Fields::read(&mut Reader::new(whole)).ok()?.get("securable").and_then(owned_text)?
                }
                other => owned_text(other)?,
            };
            Some(Resource { kind: Some(Text::from("securable")), name: Some(name), ..Resource::default() })
        };
        elements(&list, resource)
    }

    /// The machine that the user logged on to.
    fn instance(&mut self) -> Option<Endpoint<'a>> {
        let instance_uid = self.field("instanceId")?;
        let port = self.params.get("port").and_then(Json::integer).and_then(|port| u16::try_from(port).ok());
        if port.is_some() {
            self.mark_read("port");
        }
        Some(Endpoint { instance_uid: Some(instance_uid), port, ..Endpoint::default() })
    }
}

/// Whether a word of a slot is spelled like a field.
fn is_field(word: &str) -> bool {
    word.bytes().any(|letter| letter == b'.' || letter.is_ascii_uppercase())
}

fn is_id(name: &str) -> bool {
    name.ends_with("Id") || name.ends_with("_id")
}

fn owned_text(value: Json<'_>) -> Option<Text<'static>> {
    value.text().map(|text| Text::from(text.plain().into_owned()))
}

/// Reads an object, given as JSON or as a string of JSON.
fn embedded<T>(value: Json<'_>, read: impl FnOnce(&Fields<'_>) -> T) -> Option<T> {
    let text = match value {
        Json::Object(whole) => Text::from(whole),
        Json::String(inside) => Text::Escaped(inside),
        _ => return None,
    };
    let plain = text.plain();
    Fields::read(&mut Reader::new(&plain)).ok().map(|fields| read(&fields))
}

/// What `read` returns for the elements of an array, up to [`ELEMENTS_MAX`]. Empty if the text is not an array.
fn elements<T>(array: &str, read: impl Fn(Json<'_>) -> Option<T>) -> Vec<T> {
    let mut found = Vec::new();
    let whole = Reader::new(array).array(|reader| {
        let value = reader.value()?;
        if found.len() < ELEMENTS_MAX {
            found.extend(read(value));
        }
        Ok(())
    });
    if whole.is_ok() { found } else { Vec::new() }
}
