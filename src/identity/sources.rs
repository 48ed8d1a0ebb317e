//! The sources of the first credentials. Each call makes them again, because the SDK reads a profile's files only once,
//! remembers a fault in them, and hides behind an instance's last credentials why there are no new ones.

use std::error::Error;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::result::ConnectorError;

use crate::identity::endpoint::EndpointError;
use crate::identity::fault::{cause, chained};
use crate::identity::{IdentityError, Step};

/// The named profile, or else the first configured source of the default chain.
#[derive(Debug)]
pub(super) struct Sources {
    identity: String,
    profile: Option<String>,
    aws: SdkConfig,
}

impl Sources {
    /// `aws` has the client, region, timeouts and retries for the sources.
    pub(super) fn new(identity: &str, profile: Option<&str>, aws: &SdkConfig) -> Self {
        Self { identity: identity.to_owned(), profile: profile.map(str::to_owned), aws: aws.clone() }
    }

    /// # Errors
    /// `Refused` if no source is configured, or one is configured wrongly; `Unavailable` if a source, or an instance's
    /// metadata, does not answer.
    pub(super) async fn ask(&self) -> Result<Credentials, IdentityError> {
        let mut last = self.failed(INSTANCE, &CredentialsError::not_loaded("it is not asked"));
        for (name, source) in self.all() {
            match source.provide_credentials().await {
                Ok(credentials) => return Ok(credentials),
                Err(error @ CredentialsError::CredentialsNotLoaded(_)) => last = self.failed(name, &error),
                Err(error) => return Err(self.failed(name, &error)),
            }
        }
        Err(last)
    }

    /// The sources in the order of the SDK's default chain.
    fn all(&self) -> Vec<(&'static str, SharedCredentialsProvider)> {
        let config = self.config();
        let profile = ProfileFileCredentialsProvider::builder().configure(&config);
        if let Some(name) = &self.profile {
            return vec![("the profile", SharedCredentialsProvider::new(profile.profile_name(name).build()))];
        }
        let web_identity = WebIdentityTokenCredentialsProvider::builder().configure(&config).build();
        let container = EcsCredentialsProvider::builder().configure(&config).build();
        let instance = ImdsCredentialsProvider::builder().configure(&config).build();
        vec![
            ("the environment", SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new())),
            ("the profile", SharedCredentialsProvider::new(profile.build())),
            ("the web identity", SharedCredentialsProvider::new(web_identity)),
            ("the container's endpoint", SharedCredentialsProvider::new(container)),
            (INSTANCE, SharedCredentialsProvider::new(instance)),
        ]
    }

    fn config(&self) -> ProviderConfig {
        let mut config = ProviderConfig::without_region()
            .with_behavior_version(Some(BehaviorVersion::latest()))
            .with_region(self.aws.region().cloned())
            .with_use_fips(self.aws.use_fips())
            .with_use_dual_stack(self.aws.use_dual_stack());
        if let Some(client) = self.aws.http_client() {
            config = config.with_http_client(client);
        }
        if let Some(timeouts) = self.aws.timeout_config() {
            config = config.with_timeout_config(timeouts.clone());
        }
        if let Some(retries) = self.aws.retry_config() {
            config = config.with_retry_config(retries.clone());
        }
        config
    }

    fn failed(&self, source: &str, error: &CredentialsError) -> IdentityError {
        let (identity, step) = (self.identity.clone(), Step::Base);
        let is_missing = matches!(error, CredentialsError::CredentialsNotLoaded(_));
        // The SDK's own text for the kind of error means nothing to an operator, so only its causes are reported.
        let told = error.source().map(chained);
        let told = told.unwrap_or_else(|| if is_missing { "it is not set up".to_owned() } else { chained(error) });
        let reason = match &self.profile {
            Some(name) if is_missing => format!(
                "the profile `{name}` is in none of the shared configuration files (~/.aws/config, ~/.aws/credentials), or \
                 says nothing of credentials: {told}"
            ),
            None if is_missing => format!(
                "none is set up in the environment, a profile, a web identity or a container, and {source} gives none: {told}"
            ),
            _ => format!("{source}: {told}"),
        };
        match error {
            _ if cause::<EndpointError>(error).is_some() => {
                let reason = format!(
                    "{source} would be asked without encryption: the URL that the environment or a profile names is not \
                     https:// and not of this machine"
                );
                IdentityError::Refused { identity, step, reason }
            }
            // Metadata that does not answer may be that of an instance, or this machine may be none: so another try is
            // worth it.
            _ if cause::<ConnectorError>(error).is_some() => IdentityError::Unavailable { identity, step, reason },
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
                IdentityError::Refused { identity, step, reason }
            }
            _ => IdentityError::Unavailable { identity, step, reason },
        }
    }
}

const INSTANCE: &str = "the instance's metadata";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_profiles_lack_needs_a_person_and_what_times_out_needs_time() {
        let sources = Sources::new("reader", None, &SdkConfig::builder().build());
        let missing = sources.failed("the profile", &CredentialsError::not_loaded("no profile"));
        assert!(matches!(missing, IdentityError::Refused { step: Step::Base, .. }));
        assert!(missing.to_string().ends_with("and the profile gives none: no profile"), "{missing}");
        let named = Sources::new("reader", Some("audit"), &SdkConfig::builder().build());
        let missing = named.failed("the profile", &CredentialsError::not_loaded_no_source()).to_string();
        assert!(missing.contains("the profile `audit` is in none of"), "{missing}");
        let slow = sources.failed(INSTANCE, &CredentialsError::provider_timed_out(Duration::from_secs(5)));
        assert!(matches!(slow, IdentityError::Unavailable { step: Step::Base, .. }));
    }
}
