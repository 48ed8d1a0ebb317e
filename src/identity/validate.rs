//! Checks identities as far as that is possible without calls to AWS.

use std::time::Duration;

use crate::identity::{Config, RoleConfig, endpoint};

/// STS refuses shorter sessions (API reference of `AssumeRole`, as are the limits below).
const DURATION_MIN: Duration = Duration::from_secs(900);
/// The longest session that any role allows.
const DURATION_MAX: Duration = Duration::from_secs(12 * 3600);
/// The longest session of a role that is assumed with another role's credentials.
const CHAINED_DURATION_MAX: Duration = Duration::from_secs(3600);
/// A chain of more roles is probably a mistake.
const ROLES_MAX: usize = 8;
const SESSION_POLICY_CHARS_MAX: usize = 2048;

/// One fault of an identity's table.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{field}`: {problem}")]
pub struct ConfigError {
    /// The field's path in the table, such as `assume_role[1].duration`.
    pub field: String,
    /// The value found, and what is expected. Never contains an external id.
    pub problem: String,
}

impl Config {
    /// All settings that STS would refuse, or that are certainly mistakes, as far as that can be known without calls to
    /// AWS.
    pub fn faults(&self) -> Vec<ConfigError> {
        let mut faults = Vec::new();
        if self.profile.as_deref().is_some_and(|profile| profile.trim().is_empty()) {
            faults.push(wrong("profile", "expected the name of a profile, not an empty text"));
        }
        if self.assume_role.len() > ROLES_MAX {
            faults.push(wrong("assume_role", &format!("expected at most {ROLES_MAX} roles")));
        }
        for (index, role) in self.assume_role.iter().enumerate() {
            let of_role = role.faults(index > 0);
            faults.extend(
                of_role.into_iter().map(|(field, problem)| wrong(&format!("assume_role[{index}].{field}"), &problem)),
            );
        }
        faults
    }
}

impl RoleConfig {
    fn faults(&self, chained: bool) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let mut fault = |field, problem: Option<String>| faults.extend(problem.map(|problem| (field, problem)));
        fault("duration", duration_fault(self.duration, chained));
        fault(
            "role_arn",
            (!is_role_arn(&self.role_arn)).then(|| {
                let expected = "expected a role's ARN such as `arn:aws:iam::123456789012:role/audit-reader`";
                format!("`{}` is no role: {expected}", self.role_arn)
            }),
        );
        fault(
            "session_name",
            (!within(&self.session_name, 2, 64, "_+=,.@-"))
                .then(|| format!("`{}`: expected 2 to 64 letters, digits or `_+=,.@-`", self.session_name)),
        );
        let is_refused = self.external_id.as_ref().is_some_and(|id| !id.is_allowed());
        fault("external_id", is_refused.then(|| "expected 2 to 1224 letters, digits or `_+=,.@:/-`".to_owned()));
        fault("session_policy", self.session_policy.as_deref().and_then(policy_fault));
        let is_no_region = self.region.as_deref().is_some_and(|region| !within(region, 2, 64, "-"));
        fault("region", is_no_region.then(|| "expected a region such as `eu-central-1`".to_owned()));
        let endpoint = self.endpoint_url.as_deref().map(|url| endpoint::check(url, self.allow_plain_http));
        fault("endpoint_url", endpoint.and_then(Result::err).map(|error| error.to_string()));
        faults
    }
}

fn duration_fault(duration: Duration, chained: bool) -> Option<String> {
    let told = duration.as_secs();
    if chained && duration > CHAINED_DURATION_MAX {
        return Some(format!(
            "{told} s, but a role assumed from another role lasts at most 1 hour (role chaining); expected `1h` or less"
        ));
    }
    if duration < DURATION_MIN || duration > DURATION_MAX || duration.subsec_nanos() != 0 {
        return Some(format!("{told} s; expected whole seconds between 15 minutes and 12 hours"));
    }
    None
}

fn policy_fault(policy: &str) -> Option<String> {
    if policy.chars().count() > SESSION_POLICY_CHARS_MAX {
        return Some(format!("expected at most {SESSION_POLICY_CHARS_MAX} characters"));
    }
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(policy) {
        Ok(statements) if statements.contains_key("Statement") => None,
        Ok(_) => Some("expected a policy document with a `Statement`".to_owned()),
        Err(error) => Some(format!(
            "expected a policy document in JSON: this is none from line {}, column {} on",
            error.line(),
            error.column()
        )),
    }
}

fn is_role_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [prefix, partition, service, region, account, resource] = parts[..] else {
        return false;
    };
    let role = resource.strip_prefix("role/").unwrap_or_default();
    prefix == "arn"
        && partition.starts_with("aws")
        && within(partition, 3, 32, "-")
        && service == "iam"
        && region.is_empty()
        && account.len() == 12
        && account.bytes().all(|digit| digit.is_ascii_digit())
        && within(role, 1, 576, "_+=,.@-/")
        && !role.ends_with('/')
}

/// Whether a text has `min` to `max` characters, each an ASCII letter, a digit, or one of `others`.
pub(super) fn within(text: &str, min: usize, max: usize, others: &str) -> bool {
    (min..=max).contains(&text.len()) && text.chars().all(|char| char.is_ascii_alphanumeric() || others.contains(char))
}

fn wrong(field: &str, problem: &str) -> ConfigError {
    ConfigError { field: field.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ExternalId;

    const ROLE: &str = "arn:aws:iam::123456789012:role/audit/reader";

    fn role() -> RoleConfig {
        RoleConfig {
            role_arn: ROLE.to_owned(),
            external_id: None,
            session_name: "auditferry".to_owned(),
            duration: Duration::from_secs(3600),
            session_policy: None,
            region: None,
            endpoint_url: None,
            allow_plain_http: false,
        }
    }

    fn refused_field(assume_role: Vec<RoleConfig>) -> Option<String> {
        Config { profile: None, assume_role }.faults().into_iter().map(|error| error.field).next()
    }

    #[test]
    fn the_default_chain_is_a_whole_identity() {
        assert_eq!(Config::default().faults(), []);
    }

    #[test]
    fn durations_are_15_minutes_to_12_hours_and_on_a_chained_hop_at_most_one() {
        for (secs, first, chained) in [
            (899, false, false),
            (900, true, true),
            (3600, true, true),
            (3601, true, false),
            (43_200, true, false),
            (43_201, false, false),
        ] {
            let lasting = RoleConfig { duration: Duration::from_secs(secs), ..role() };
            assert_eq!(refused_field(vec![lasting.clone()]).is_none(), first, "{secs} s on the first role");
            let refused = refused_field(vec![role(), lasting]);
            assert_eq!(refused.is_none(), chained, "{secs} s on the second role");
            assert!(refused.is_none_or(|field| field == "assume_role[1].duration"));
        }
    }

    #[test]
    fn only_role_arns_are_roles() {
        for (arn, expected) in [
            (ROLE, true),
            ("arn:aws-us-gov:iam::123456789012:role/r", true),
            ("arn:aws-cn:iam::123456789012:role/r", true),
            ("arn:aws:iam::123456789012:user/u", false),
            ("arn:aws:sts::123456789012:assumed-role/r/s", false),
            ("arn:aws:iam::1234:role/r", false),
            ("arn:aws:iam:eu-west-1:123456789012:role/r", false),
            ("arn:aws:iam::123456789012:role/", false),
            ("reader", false),
            ("", false),
        ] {
            let refused = refused_field(vec![RoleConfig { role_arn: arn.to_owned(), ..role() }]);
            assert_eq!(refused.is_none(), expected, "{arn}");
        }
    }

    #[test]
    fn session_names_external_ids_and_policies_are_those_sts_takes() {
        let long = "x".repeat(65);
        for name in ["x", "two words", "slash/", "", &long] {
            let refused = refused_field(vec![RoleConfig { session_name: name.to_owned(), ..role() }]);
            assert_eq!(refused.as_deref(), Some("assume_role[0].session_name"), "{name}");
        }
        for id in ["x", "with space", ""] {
            let refused =
                refused_field(vec![RoleConfig { external_id: Some(ExternalId::Text(id.to_owned())), ..role() }]);
            assert_eq!(refused.as_deref(), Some("assume_role[0].external_id"), "{id}");
        }
        for policy in ["", "[]", "{}", "{\"Statement\":"] {
            let refused = refused_field(vec![RoleConfig { session_policy: Some(policy.to_owned()), ..role() }]);
            assert_eq!(refused.as_deref(), Some("assume_role[0].session_policy"), "{policy}");
        }
        let whole = RoleConfig {
            external_id: Some(ExternalId::Text("tenant:4711/audit".to_owned())),
            session_policy: Some(r#"{"Version":"2012-10-17","Statement":[]}"#.to_owned()),
            region: Some("eu-central-1".to_owned()),
            endpoint_url: Some("https://sts.example".to_owned()),
            ..role()
        };
        assert_eq!(refused_field(vec![whole]), None);
    }

    #[test]
    fn an_external_id_is_never_repeated_in_the_problem() {
        let config = Config {
            profile: None,
            assume_role: vec![RoleConfig { external_id: Some(ExternalId::Text("se cret".to_owned())), ..role() }],
        };
        assert!(!config.faults()[0].to_string().contains("se cret"));
    }
}
