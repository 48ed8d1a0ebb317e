//! Who we are to AWS: yields credentials that stay fresh.

use std::time::Duration;

use serde::Deserialize;

/// `[identity.<name>]`: the default chain (environment, profile, web identity, container, instance), and the roles
/// assumed from there, one after another. An empty table is the default chain itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A named profile of the shared configuration file to begin from, in place of the default chain.
    pub profile: Option<String>,
    /// The roles to assume, in order; each is assumed with the credentials of the one before.
    #[serde(default)]
    pub assume_role: Vec<Hop>,
}

/// One role on the way.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hop {
    /// The role's ARN.
    pub role_arn: String,
    /// The external id its trust policy asks for.
    pub external_id: Option<String>,
    /// The session's name, which the other account's CloudTrail shows. Default: `auditferry`.
    #[serde(default = "default_session_name")]
    pub session_name: String,
    /// How long the session lasts: 15 minutes to 12 hours, at most 1 hour when this role is assumed from another role
    /// (role chaining). Default: 1 hour.
    #[serde(default = "default_duration", with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub duration: Duration,
    /// A session policy (JSON) that narrows the role further.
    pub session_policy: Option<String>,
    /// The region whose STS is asked. Default: the feed's or queue's region.
    pub region: Option<String>,
    /// Another STS endpoint.
    pub endpoint_url: Option<String>,
}

fn default_session_name() -> String {
    "auditferry".to_owned()
}

const fn default_duration() -> Duration {
    Duration::from_secs(3600)
}
