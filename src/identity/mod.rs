//! Identities at AWS: credentials that are renewed before they expire.

pub(crate) mod endpoint;

pub(crate) mod fault;

mod chain;

mod external_id;

mod http;

mod provider;

mod sources;

mod validate;

pub(crate) use external_id::ExternalId;
pub(crate) use http::Http;
pub(crate) use provider::{Identity, credentials, has_region};

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// `[identity.<name>]`: the default chain (environment, profile, web identity, container, instance), and the roles
/// assumed from there, one after another. An empty table is the default chain itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A named profile of the shared configuration file to begin from, in place of the default chain.
    pub profile: Option<String>,
    /// The roles to assume, in order; each is assumed with the credentials of the role before it.
    #[serde(default)]
    pub assume_role: Vec<RoleConfig>,
}

/// One step of the chain: a role to assume.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleConfig {
    /// The role's ARN.
    pub role_arn: String,
    /// The external id that the role's trust policy requires, or a reference to it: `env:NAME`, `file:/path` or
    /// `credential:name`.
    pub external_id: Option<ExternalId>,
    /// The session's name, which the other account's CloudTrail shows. Default: `auditferry`.
    #[serde(default = "default_session_name")]
    pub session_name: String,
    /// How long the session lasts: 15 minutes to 12 hours, at most 1 hour if this role is assumed from another role
    /// (role chaining). Default: 1 hour.
    #[serde(default = "default_duration", deserialize_with = "crate::units::time")]
    pub duration: Duration,
    /// A session policy (JSON) that narrows the role further.
    pub session_policy: Option<String>,
    /// The region of the STS endpoint. Default: the feed's or queue's region.
    pub region: Option<String>,
    /// Another STS endpoint.
    pub endpoint_url: Option<String>,
    /// Whether STS may be reached without TLS on another machine. Default: false.
    #[serde(default)]
    pub allow_plain_http: bool,
}

impl fmt::Debug for RoleConfig {
    /// Leaves out the external id, which some operators treat as a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleConfig")
            .field("role_arn", &self.role_arn)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}

fn default_session_name() -> String {
    "auditferry".to_owned()
}

const fn default_duration() -> Duration {
    Duration::from_secs(3600)
}

/// Why there are no credentials. There is a variant for each different reaction of a caller.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IdentityError {
    /// A trust policy, an external id, a permission or a configuration refuses. Only an operator can mend that.
    #[error("identity {identity}: {step} is refused: {reason}")]
    Refused { identity: String, step: Step, reason: String },
    /// A service throttled the request, timed out or cannot be reached: try again later.
    #[error("identity {identity}: {step} failed for now: {reason}")]
    Unavailable { identity: String, step: Step, reason: String },
    /// The environment's settings for calls to AWS are unusable.
    #[error("identity {identity}: AWS cannot be asked: {reason}")]
    Misconfigured { identity: String, reason: String },
    /// There are roles to assume, and no setting names a region.
    #[error(
        "identity {identity}: no region is known to assume {role_arn} in; set `region` with that role or in the feed"
    )]
    RegionMissing { identity: String, role_arn: String },
}

/// Which step of the credential chain failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// The first credentials of the chain.
    Base,
    /// One role of the chain, counted from 1.
    Role { number: usize, of: usize, role_arn: String },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => f.write_str("finding the credentials to begin from"),
            Self::Role { number, of, role_arn } => write!(f, "assuming {role_arn} (step {number} of {of})"),
        }
    }
}
