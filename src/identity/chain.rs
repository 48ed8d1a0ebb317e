//! The credential chain: the first credentials, then one assumed role after another.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};

use crate::identity::fault::{Fault, Remedy};
use crate::identity::http::Http;
use crate::identity::sources::Sources;
use crate::identity::{ExternalId, IdentityError, RoleConfig, Step};

/// The time limit for all tries of one step together.
const STEP_SECS_MAX: u64 = 20;

/// Walks the whole chain at each call; caches nothing.
#[derive(Debug)]
pub(super) struct CredentialChain {
    identity: String,
    base: Sources,
    roles: Vec<(RoleConfig, aws_sdk_sts::Config)>,
}

impl CredentialChain {
    /// # Errors
    /// `RegionMissing` if there is a role to assume and neither that role nor `aws` names a region.
    pub(super) fn new(
        identity: &str,
        roles: &[RoleConfig],
        base: Sources,
        aws: &SdkConfig,
        http: &Http,
    ) -> Result<Self, IdentityError> {
        let roles = roles
            .iter()
            .map(|role| sts(identity, role, aws, http).map(|sts| (role.clone(), sts)))
            .collect::<Result<Vec<_>, IdentityError>>()?;
        Ok(Self { identity: identity.to_owned(), base, roles })
    }

    async fn assume_all(&self) -> Result<Credentials, IdentityError> {
        let mut credentials = self.base.ask().await?;
        for (index, (role, sts)) in self.roles.iter().enumerate() {
            let sts = sts.to_builder().credentials_provider(credentials).build();
            credentials = self.assume(index, role, aws_sdk_sts::Client::from_conf(sts)).await?;
        }
        Ok(credentials)
    }

    async fn assume(
        &self,
        index: usize,
        role: &RoleConfig,
        sts: aws_sdk_sts::Client,
    ) -> Result<Credentials, IdentityError> {
        let step = || Step::Role { number: index + 1, of: self.roles.len(), role_arn: role.role_arn.clone() };
        // Read each time, because the secret may have changed.
        let external_id = role.external_id.as_ref().map(ExternalId::read).transpose();
        let external_id = external_id.map_err(|error| IdentityError::Refused {
            identity: self.identity.clone(),
            step: step(),
            reason: error.to_string(),
        })?;
        let reply = sts
            .assume_role()
            .role_arn(&role.role_arn)
            .role_session_name(&role.session_name)
            .set_external_id(external_id)
            .set_policy(role.session_policy.clone())
            .duration_seconds(i32::try_from(role.duration.as_secs()).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| self.role_error(step(), role, &Fault::of(&error)))?;
        let session = reply.credentials.ok_or_else(|| IdentityError::Unavailable {
            identity: self.identity.clone(),
            step: step(),
            reason: "the reply of STS holds no credentials".to_owned(),
        })?;
        let expiry = session.expiration.try_into().map_err(|_| IdentityError::Unavailable {
            identity: self.identity.clone(),
            step: step(),
            reason: "the reply of STS holds no usable time of expiry".to_owned(),
        })?;
        Ok(Credentials::new(
            session.access_key_id,
            session.secret_access_key,
            Some(session.session_token),
            Some(expiry),
            "AssumeRole",
        ))
    }

    fn role_error(&self, step: Step, role: &RoleConfig, fault: &Fault) -> IdentityError {
        let identity = self.identity.clone();
        match fault.remedy {
            Remedy::Wait => IdentityError::Unavailable { identity, step, reason: fault.reason.clone() },
            Remedy::Person => {
                let reason = match hint(role, &fault.code) {
                    Some(hint) => format!("{}; {hint}", fault.reason),
                    None => fault.reason.clone(),
                };
                IdentityError::Refused { identity, step, reason }
            }
        }
    }
}

impl ProvideCredentials for CredentialChain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.assume_all().await.map_err(CredentialsError::provider_error) })
    }
}

fn sts(identity: &str, role: &RoleConfig, aws: &SdkConfig, http: &Http) -> Result<aws_sdk_sts::Config, IdentityError> {
    let named = role.region.clone().map(Region::new).or_else(|| aws.region().cloned());
    let region = match (named, &role.endpoint_url) {
        (Some(region), _) => region,
        // A stand-in for AWS accepts any region, but the signature must name one.
        (None, Some(_)) => Region::from_static("us-east-1"),
        (None, None) => {
            let (identity, role_arn) = (identity.to_owned(), role.role_arn.clone());
            return Err(IdentityError::RegionMissing { identity, role_arn });
        }
    };
    let timeouts = aws.timeout_config().map_or_else(TimeoutConfig::builder, TimeoutConfig::to_builder);
    let mut sts = aws_sdk_sts::config::Builder::from(aws)
        .behavior_version(BehaviorVersion::latest())
        .region(region)
        .timeout_config(timeouts.operation_timeout(Duration::from_secs(STEP_SECS_MAX)).build());
    if let Some(endpoint_url) = &role.endpoint_url {
        sts = sts.endpoint_url(endpoint_url);
    }
    if role.allow_plain_http {
        sts = sts.http_client(http.client(true));
    }
    Ok(sts.build())
}

/// STS answers only `AccessDenied`, whatever the cause; a stand-in for it may have no code at all.
fn hint(role: &RoleConfig, code: &str) -> Option<&'static str> {
    match (code, &role.external_id) {
        ("AccessDenied" | "AccessDeniedException" | "", Some(_)) => Some(
            "the caller may lack sts:AssumeRole, the role's trust policy may not name the caller, or may ask for \
             another external id than the one configured",
        ),
        ("AccessDenied" | "AccessDeniedException" | "", None) => Some(
            "the caller may lack sts:AssumeRole, the role's trust policy may not name the caller, or may ask for an \
             external id while none is configured",
        ),
        ("InvalidClientTokenId" | "UnrecognizedClientException" | "SignatureDoesNotMatch", _) => {
            Some("the credentials this role is assumed with are not (any more) valid, or belong to another partition")
        }
        ("RegionDisabledException", _) => Some("STS is not activated in this region for the account"),
        ("RequestTimeTooSkewed", _) => Some("this machine's clock is wrong"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::fault::FaultKind;

    fn role(external_id: Option<&str>) -> RoleConfig {
        RoleConfig {
            role_arn: "arn:aws:iam::123456789012:role/reader".to_owned(),
            external_id: external_id.map(|id| ExternalId::Text(id.to_owned())),
            session_name: "auditferry".to_owned(),
            duration: Duration::from_secs(3600),
            session_policy: None,
            region: None,
            endpoint_url: None,
            allow_plain_http: false,
        }
    }

    fn chain(roles: &[RoleConfig], aws: &SdkConfig) -> Result<CredentialChain, IdentityError> {
        CredentialChain::new(
            "reader",
            roles,
            Sources::new("reader", None, aws),
            aws,
            &Http::from_environment().unwrap(),
        )
    }

    fn fault(remedy: Remedy, code: &str) -> Fault {
        let kind = FaultKind::Denied;
        Fault { remedy, kind, status: Some(403), code: code.to_owned(), reason: code.to_owned() }
    }

    #[test]
    fn a_refused_role_is_named_with_its_role_and_what_may_be_wrong() {
        let aws = SdkConfig::builder().region(Region::new("eu-west-1")).build();
        let chain = chain(&[role(None), role(Some("x-4711"))], &aws).expect("a region is known");
        let step = Step::Role { number: 2, of: 2, role_arn: role(None).role_arn };
        let told = chain.role_error(step, &role(Some("x-4711")), &fault(Remedy::Person, "AccessDenied")).to_string();
        assert!(told.contains("identity reader"), "{told}");
        assert!(told.contains("arn:aws:iam::123456789012:role/reader (step 2 of 2) is refused"), "{told}");
        assert!(told.contains("another external id than the one configured"), "{told}");
        assert!(!told.contains("4711"), "{told}");
    }

    #[test]
    fn a_throttled_hop_is_tried_again() {
        let aws = SdkConfig::builder().region(Region::new("eu-west-1")).build();
        let chain = chain(&[role(None)], &aws).expect("a region is known");
        let error = chain.role_error(Step::Base, &role(None), &fault(Remedy::Wait, "Throttling"));
        assert!(matches!(error, IdentityError::Unavailable { .. }));
    }

    #[test]
    fn a_role_needs_a_region_from_its_hop_or_its_feed() {
        let nowhere = SdkConfig::builder().build();
        assert!(matches!(chain(&[role(None)], &nowhere), Err(IdentityError::RegionMissing { .. })));
        let placed = RoleConfig { region: Some("eu-west-1".to_owned()), ..role(None) };
        assert!(chain(&[placed], &nowhere).is_ok());
        assert!(chain(&[], &nowhere).is_ok());
    }
}
