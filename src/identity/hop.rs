//! The way to the credentials: a beginning, then one role after another.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};

use crate::identity::fault::{Fault, Remedy, chained};
use crate::identity::{Hop, IdentityError, Step};

/// All tries of one hop together.
const HOP_SECS_MAX: u64 = 20;

/// Walks the whole way each time it is asked; keeps nothing.
#[derive(Debug)]
pub(super) struct Way {
    identity: String,
    base: SharedCredentialsProvider,
    hops: Vec<(Hop, aws_sdk_sts::Config)>,
}

impl Way {
    /// # Errors
    /// `RegionMissing` when a role is to be assumed and neither its hop nor `aws` names a region.
    pub(super) fn new(
        identity: &str,
        hops: &[Hop],
        base: SharedCredentialsProvider,
        aws: &SdkConfig,
    ) -> Result<Self, IdentityError> {
        let hops = hops
            .iter()
            .map(|hop| sts(identity, hop, aws).map(|sts| (hop.clone(), sts)))
            .collect::<Result<Vec<_>, IdentityError>>()?;
        Ok(Self { identity: identity.to_owned(), base, hops })
    }

    async fn walk(&self) -> Result<Credentials, IdentityError> {
        let mut credentials = self.base.provide_credentials().await.map_err(|error| self.base_error(&error))?;
        for (index, (hop, sts)) in self.hops.iter().enumerate() {
            let sts = sts.to_builder().credentials_provider(credentials).build();
            credentials = self.assume(index, hop, aws_sdk_sts::Client::from_conf(sts)).await?;
        }
        Ok(credentials)
    }

    async fn assume(&self, index: usize, hop: &Hop, sts: aws_sdk_sts::Client) -> Result<Credentials, IdentityError> {
        let step = || Step::Hop { number: index + 1, of: self.hops.len(), role_arn: hop.role_arn.clone() };
        let reply = sts
            .assume_role()
            .role_arn(&hop.role_arn)
            .role_session_name(&hop.session_name)
            .set_external_id(hop.external_id.clone())
            .set_policy(hop.session_policy.clone())
            .duration_seconds(i32::try_from(hop.duration.as_secs()).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| self.hop_error(step(), hop, &Fault::of(&error)))?;
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

    fn base_error(&self, error: &CredentialsError) -> IdentityError {
        let (identity, step, reason) = (self.identity.clone(), Step::Base, chained(error));
        match error {
            CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
                IdentityError::Refused { identity, step, reason }
            }
            _ => IdentityError::Unavailable { identity, step, reason },
        }
    }

    fn hop_error(&self, step: Step, hop: &Hop, fault: &Fault) -> IdentityError {
        let identity = self.identity.clone();
        match fault.remedy {
            Remedy::Wait => IdentityError::Unavailable { identity, step, reason: fault.reason.clone() },
            Remedy::Person => {
                let reason = match hint(hop, &fault.code) {
                    Some(hint) => format!("{}; {hint}", fault.reason),
                    None => fault.reason.clone(),
                };
                IdentityError::Refused { identity, step, reason }
            }
        }
    }
}

impl ProvideCredentials for Way {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.walk().await.map_err(CredentialsError::provider_error) })
    }
}

fn sts(identity: &str, hop: &Hop, aws: &SdkConfig) -> Result<aws_sdk_sts::Config, IdentityError> {
    let named = hop.region.clone().map(Region::new).or_else(|| aws.region().cloned());
    let region = match (named, &hop.endpoint_url) {
        (Some(region), _) => region,
        // What only stands in for AWS takes any region; the signature must name one.
        (None, Some(_)) => Region::from_static("us-east-1"),
        (None, None) => {
            let (identity, role_arn) = (identity.to_owned(), hop.role_arn.clone());
            return Err(IdentityError::RegionMissing { identity, role_arn });
        }
    };
    let timeouts = aws.timeout_config().map_or_else(TimeoutConfig::builder, TimeoutConfig::to_builder);
    let mut sts = aws_sdk_sts::config::Builder::from(aws)
        .behavior_version(BehaviorVersion::latest())
        .region(region)
        .timeout_config(timeouts.operation_timeout(Duration::from_secs(HOP_SECS_MAX)).build());
    if let Some(endpoint_url) = &hop.endpoint_url {
        sts = sts.endpoint_url(endpoint_url);
    }
    Ok(sts.build())
}

/// STS says only `AccessDenied`, whatever the cause; what stands in for it may not even say that.
fn hint(hop: &Hop, code: &str) -> Option<&'static str> {
    match (code, &hop.external_id) {
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

    fn hop(external_id: Option<&str>) -> Hop {
        Hop {
            role_arn: "arn:aws:iam::123456789012:role/reader".to_owned(),
            external_id: external_id.map(str::to_owned),
            session_name: "auditferry".to_owned(),
            duration: Duration::from_secs(3600),
            session_policy: None,
            region: None,
            endpoint_url: None,
        }
    }

    fn way(hops: &[Hop], aws: &SdkConfig) -> Result<Way, IdentityError> {
        let base = SharedCredentialsProvider::new(Credentials::new("a", "b", None, None, "test"));
        Way::new("reader", hops, base, aws)
    }

    fn fault(remedy: Remedy, code: &str) -> Fault {
        let kind = FaultKind::Denied;
        Fault { remedy, kind, status: Some(403), code: code.to_owned(), reason: code.to_owned() }
    }

    #[test]
    fn a_refused_hop_is_named_with_its_role_and_what_may_be_wrong() {
        let aws = SdkConfig::builder().region(Region::new("eu-west-1")).build();
        let way = way(&[hop(None), hop(Some("x-4711"))], &aws).expect("a region is known");
        let step = Step::Hop { number: 2, of: 2, role_arn: hop(None).role_arn };
        let told = way.hop_error(step, &hop(Some("x-4711")), &fault(Remedy::Person, "AccessDenied")).to_string();
        assert!(told.contains("identity reader"), "{told}");
        assert!(told.contains("arn:aws:iam::123456789012:role/reader (hop 2 of 2) is refused"), "{told}");
        assert!(told.contains("another external id than the one configured"), "{told}");
        assert!(!told.contains("4711"), "{told}");
    }

    #[test]
    fn a_throttled_hop_is_tried_again() {
        let aws = SdkConfig::builder().region(Region::new("eu-west-1")).build();
        let way = way(&[hop(None)], &aws).expect("a region is known");
        let error = way.hop_error(Step::Base, &hop(None), &fault(Remedy::Wait, "Throttling"));
        assert!(matches!(error, IdentityError::Unavailable { .. }));
    }

    #[test]
    fn a_role_needs_a_region_from_its_hop_or_its_feed() {
        let nowhere = SdkConfig::builder().build();
        assert!(matches!(way(&[hop(None)], &nowhere), Err(IdentityError::RegionMissing { .. })));
        let placed = Hop { region: Some("eu-west-1".to_owned()), ..hop(None) };
        assert!(way(&[placed], &nowhere).is_ok());
        assert!(way(&[], &nowhere).is_ok());
    }

    #[test]
    fn what_profiles_lack_needs_a_person_and_what_times_out_needs_time() {
        let way = way(&[], &SdkConfig::builder().build()).expect("no role, no region");
        let missing = way.base_error(&CredentialsError::not_loaded("no profile"));
        assert!(matches!(missing, IdentityError::Refused { step: Step::Base, .. }));
        let slow = way.base_error(&CredentialsError::provider_timed_out(Duration::from_secs(5)));
        assert!(matches!(slow, IdentityError::Unavailable { step: Step::Base, .. }));
    }
}
