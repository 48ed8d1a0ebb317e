//! Classifies failed calls to AWS: what mends them, waiting or an operator, and the name of the failure.

use std::error::Error;
use std::io;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::identity::IdentityError;
use crate::identity::endpoint::EndpointError;

/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 800;
/// How many bytes of a reply that cannot be parsed go into the reason.
const UNPARSED_BYTES_MAX: usize = 300;

/// What mends a failed call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Remedy {
    /// Waiting: the call was throttled, timed out or reset, or its credentials have just expired.
    Wait,
    /// An operator: permissions, policies, keys, names or clocks are wrong.
    Person,
}

/// The kind under which a failure is counted and reported: one for each different remedy of an operator.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FaultKind {
    Denied,
    KmsDenied,
    NoCredentials,
    ExpiredCredentials,
    BadCredentials,
    ClockSkew,
    NoBucket,
    NoQueue,
    WrongRegion,
    Misconfigured,
    Throttled,
    Timeout,
    Unreachable,
    Unavailable,
    Rejected,
    /// The service answers that the object does not exist.
    NotFound,
    /// The object was overwritten while it was read.
    Changed,
    Archived,
    Damaged,
    /// The decoder panicked on the object.
    Panicked,
}

impl FaultKind {
    pub const ALL: [Self; 20] = [
        Self::Denied,
        Self::KmsDenied,
        Self::NoCredentials,
        Self::ExpiredCredentials,
        Self::BadCredentials,
        Self::ClockSkew,
        Self::NoBucket,
        Self::NoQueue,
        Self::WrongRegion,
        Self::Misconfigured,
        Self::Throttled,
        Self::Timeout,
        Self::Unreachable,
        Self::Unavailable,
        Self::Rejected,
        Self::NotFound,
        Self::Changed,
        Self::Archived,
        Self::Damaged,
        Self::Panicked,
    ];

    /// The kind's name in metrics and the log. It never changes, because operators build alerts on it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::KmsDenied => "kms_denied",
            Self::NoCredentials => "no_credentials",
            Self::ExpiredCredentials => "expired_credentials",
            Self::BadCredentials => "bad_credentials",
            Self::ClockSkew => "clock_skew",
            Self::NoBucket => "no_bucket",
            Self::NoQueue => "no_queue",
            Self::WrongRegion => "wrong_region",
            Self::Misconfigured => "misconfigured",
            Self::Throttled => "throttled",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Unavailable => "unavailable",
            Self::Rejected => "rejected",
            Self::NotFound => "not_found",
            Self::Changed => "changed",
            Self::Archived => "archived",
            Self::Damaged => "damaged",
            Self::Panicked => "panicked",
        }
    }

    /// What an operator does about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Denied => "allow it in the policies of the role and of the bucket or queue; for a file, in its mode",
            Self::KmsDenied => "enable the KMS key, and allow kms:Decrypt in the role's policy and in the key's",
            Self::NoCredentials => "check the identity: its source of credentials, its roles, their trust policies",
            Self::ExpiredCredentials => "renew the credentials where they come from; a role's are renewed without you",
            Self::BadCredentials => "replace the access key: AWS does not know it, or its secret is another",
            Self::ClockSkew => "set this machine's clock, and keep it set by NTP",
            Self::NoBucket => "check the name of the bucket or directory, and `endpoint_url`, or create it",
            Self::NoQueue => "check the queue's URL and region, or create the queue",
            Self::WrongRegion => "set `region` to that of the bucket",
            Self::Misconfigured => "check the configuration of what is named",
            Self::Throttled => "wait; if it lasts, lower limits.objects_at_once or raise the service's quota",
            Self::Timeout => {
                "check the network, the firewall and `endpoint_url`, or the mount; what is only slow needs a longer limits.request_timeout"
            }
            Self::Unreachable => "check the network, the firewall and `endpoint_url`",
            Self::Unavailable => "wait; if it lasts, check the state of the service or disk",
            Self::Rejected => "check `endpoint_url` and what answers there: it does not accept the request",
            Self::NotFound => "nothing, if the object was deleted on purpose",
            Self::Changed => "nothing, unless the object is written again all the time",
            Self::Archived => "restore the object from its archive, then requeue it out of quarantine",
            Self::Damaged => "check what writes the object, then requeue it out of quarantine",
            Self::Panicked => "report the fault; after three times the object is quarantined",
        }
    }

    /// The kind for a file that cannot be opened or read.
    pub fn of_file(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NoBucket,
            io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Unavailable,
        }
    }

    /// Whether other objects of the same place are likely to fail in the same way. Otherwise the place works, and only
    /// this object fails.
    pub fn is_of_place(self) -> bool {
        !matches!(self, Self::NotFound | Self::Changed | Self::Archived | Self::Damaged | Self::Panicked)
    }

    /// Judges the code before the status. S3, SQS and STS have different codes for the same failure.
    fn of_answer(status: Option<u16>, code: &str, message: &str) -> Self {
        let plain = code.rsplit(['.', '#']).next().unwrap_or_default().trim_end_matches("Exception");
        let lower = code.to_ascii_lowercase();
        let of_kms = lower.starts_with("kms") || message.contains("kms:");
        match plain {
            _ if lower.contains("throttl") => Self::Throttled,
            "SlowDown" | "RequestLimitExceeded" | "OverLimit" => Self::Throttled,
            "ExpiredToken" | "TokenRefreshRequired" => Self::ExpiredCredentials,
            "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => Self::ClockSkew,
            _ if message.contains("Signature expired") || message.contains("Signature not yet current") => {
                Self::ClockSkew
            }
            "RequestTimeout" => Self::Timeout,
            _ if matches!(status, Some(500..=599)) => Self::Unavailable,
            _ if of_kms => Self::KmsDenied,
            "InvalidAccessKeyId" | "InvalidClientTokenId" | "InvalidToken" | "UnrecognizedClient" => {
                Self::BadCredentials
            }
            "SignatureDoesNotMatch" | "InvalidSignature" | "IncompleteSignature" => Self::BadCredentials,
            "NoSuchBucket" => Self::NoBucket,
            "QueueDoesNotExist" | "NonExistentQueue" => Self::NoQueue,
            "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" => Self::WrongRegion,
            _ if matches!(status, Some(301 | 307)) => Self::WrongRegion,
            "InternalError" | "InternalFailure" | "ServiceUnavailable" | "OperationAborted" => Self::Unavailable,
            _ if status == Some(429) => Self::Throttled,
            _ if matches!(status, Some(401 | 403)) || plain.contains("AccessDenied") => Self::Denied,
            _ => Self::Rejected,
        }
    }
}

/// One failed call.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub remedy: Remedy,
    pub kind: FaultKind,
    /// The HTTP status; `None` if the service did not answer.
    pub status: Option<u16>,
    /// The service's name for the failure, such as `AccessDenied`; empty if there is none.
    pub code: String,
    /// The failure with its causes in one line, and with the request id at the end if there is one.
    pub reason: String,
}

impl Fault {
    pub(crate) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.code().unwrap_or_default().to_owned();
        let is_unencrypted = cause::<EndpointError>(error).is_some();
        let remedy = match error {
            SdkError::ServiceError(_) => remedy_for(status, &code),
            SdkError::ConstructionFailure(_) => identity_remedy(error).unwrap_or(Remedy::Person),
            _ if is_unencrypted => Remedy::Person,
            _ => identity_remedy(error).unwrap_or(Remedy::Wait),
        };
        let kind = match error {
            _ if cause::<IdentityError>(error).is_some() => FaultKind::NoCredentials,
            SdkError::ServiceError(_) => FaultKind::of_answer(status, &code, error.message().unwrap_or_default()),
            SdkError::ConstructionFailure(_) => FaultKind::Misconfigured,
            _ if is_unencrypted => FaultKind::Misconfigured,
            SdkError::TimeoutError(_) => FaultKind::Timeout,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => FaultKind::Timeout,
            SdkError::DispatchFailure(_) => FaultKind::Unreachable,
            _ => FaultKind::Unavailable,
        };
        let reason = match error {
            SdkError::ServiceError(refusal) => {
                let words = error.message().map_or_else(|| unparsed(refusal.raw()), str::to_owned);
                spoken(status, &code, &words, error.meta().extra("aws_request_id"))
            }
            // If credentials are missing, the failed step of the credential chain is the whole reason.
            _ => cause::<IdentityError>(error).map_or_else(|| chained(error), IdentityError::to_string),
        };
        Self { remedy, kind, status, code, reason }
    }

    /// Whether AWS says that the credentials themselves are invalid or have expired.
    pub(crate) fn blames_credentials(&self) -> bool {
        matches!(
            self.code.as_str(),
            "ExpiredToken"
                | "ExpiredTokenException"
                | "TokenRefreshRequired"
                | "InvalidToken"
                | "InvalidClientTokenId"
                | "InvalidAccessKeyId"
                | "UnrecognizedClientException"
        )
    }
}

/// An error and its causes in one line, without repeated parts.
pub(crate) fn chained(error: &(dyn Error + 'static)) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !told.ends_with(&part) {
            told.push_str(": ");
            told.push_str(&part);
        }
        cause = error.source();
    }
    shortened(told)
}

/// The first error of type `T` in the chain of causes.
pub(crate) fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn identity_remedy(error: &(dyn Error + 'static)) -> Option<Remedy> {
    cause::<IdentityError>(error).map(|error| match error {
        IdentityError::Unavailable { .. } => Remedy::Wait,
        IdentityError::Refused { .. } | IdentityError::Misconfigured { .. } | IdentityError::RegionMissing { .. } => {
            Remedy::Person
        }
    })
}

/// Judges the code before the status: S3 answers `SlowDown` with 503, but `ExpiredToken` and `RequestTimeout` with 400.
fn remedy_for(status: Option<u16>, code: &str) -> Remedy {
    const WAIT: [&str; 17] = [
        "ExpiredToken",
        "ExpiredTokenException",
        "TokenRefreshRequired",
        "RequestExpired",
        "RequestTimeout",
        "RequestTimeoutException",
        "RequestAbortedException",
        "SlowDown",
        "RequestLimitExceeded",
        "RequestThrottled",
        "OverLimit",
        "InternalError",
        "InternalFailure",
        "ServiceUnavailable",
        "IDPCommunicationError",
        "OperationAborted",
        "ConditionalRequestConflict",
    ];
    let throttled = code.to_ascii_lowercase().contains("throttl");
    let later = matches!(status, Some(429 | 500..=599));
    if throttled || later || WAIT.contains(&code) { Remedy::Wait } else { Remedy::Person }
}

/// The beginning of a body that is not in the service's own form of errors, for example a proxy's page.
fn unparsed(response: &HttpResponse) -> String {
    let body = response.body().bytes().unwrap_or_default();
    String::from_utf8_lossy(&body[..body.len().min(UNPARSED_BYTES_MAX)]).into_owned()
}

fn spoken(status: Option<u16>, code: &str, message: &str, request_id: Option<&str>) -> String {
    let mut told = shortened(match (code, message) {
        ("", "") => "the service gives no reason".to_owned(),
        ("", message) => message.to_owned(),
        (code, "") => code.to_owned(),
        (code, message) => format!("{code}: {message}"),
    });
    let status = status.map(|status| format!("status {status}"));
    let request = request_id.map(|id| format!("request {id}"));
    let origin: Vec<String> = status.into_iter().chain(request).collect();
    if !origin.is_empty() {
        told.push_str(&format!(" ({})", origin.join(", ")));
    }
    told
}

/// The text as one line of bounded length.
fn shortened(text: String) -> String {
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.len() > REASON_BYTES_MAX {
        text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
        text.push_str(" ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_time_heals_is_waited_for_and_the_rest_needs_a_person() {
        for (status, code, expected) in [
            (503, "SlowDown", Remedy::Wait),
            (400, "ExpiredToken", Remedy::Wait),
            (400, "RequestTimeout", Remedy::Wait),
            (400, "ThrottlingException", Remedy::Wait),
            (403, "RequestThrottled", Remedy::Wait),
            (500, "", Remedy::Wait),
            (429, "", Remedy::Wait),
            (403, "AccessDenied", Remedy::Person),
            (403, "RequestTimeTooSkewed", Remedy::Person),
            (403, "SignatureDoesNotMatch", Remedy::Person),
            (400, "KMS.DisabledException", Remedy::Person),
            (301, "PermanentRedirect", Remedy::Person),
            (404, "", Remedy::Person),
        ] {
            assert_eq!(remedy_for(Some(status), code), expected, "{status} {code}");
        }
    }

    #[test]
    fn each_failure_has_one_stable_name() {
        for (status, code, message, expected) in [
            (403, "AccessDenied", "", "denied"),
            (403, "", "", "denied"),
            (400, "AccessDeniedException", "", "denied"),
            (403, "AllAccessDisabled", "", "denied"),
            (403, "AccessDenied", "not authorized to perform: kms:Decrypt", "kms_denied"),
            (400, "KMS.DisabledException", "", "kms_denied"),
            (400, "KmsAccessDenied", "", "kms_denied"),
            (400, "KMS.ThrottlingException", "", "throttled"),
            (400, "ExpiredToken", "", "expired_credentials"),
            (403, "ExpiredTokenException", "", "expired_credentials"),
            (403, "InvalidAccessKeyId", "", "bad_credentials"),
            (403, "SignatureDoesNotMatch", "", "bad_credentials"),
            (403, "SignatureDoesNotMatch", "Signature expired: 20260101T000000Z is now earlier", "clock_skew"),
            (403, "RequestTimeTooSkewed", "", "clock_skew"),
            (404, "NoSuchBucket", "", "no_bucket"),
            (400, "AWS.SimpleQueueService.NonExistentQueue", "", "no_queue"),
            (400, "com.amazonaws.sqs#QueueDoesNotExist", "", "no_queue"),
            (301, "PermanentRedirect", "", "wrong_region"),
            (503, "SlowDown", "", "throttled"),
            (400, "RequestThrottled", "", "throttled"),
            (429, "", "", "throttled"),
            (503, "", "", "unavailable"),
            (500, "InternalError", "", "unavailable"),
            (400, "RequestTimeout", "", "timeout"),
            (400, "InvalidRequest", "", "rejected"),
        ] {
            assert_eq!(FaultKind::of_answer(Some(status), code, message).word(), expected, "{status} {code}");
        }
    }

    /// The codes of S3, SQS and STS for a deleted key and for an expired session.
    #[test]
    fn credentials_that_aws_does_not_know_are_blamed_and_a_lacking_permission_is_not() {
        let blamed = |code: &str| {
            let (kind, reason) = (FaultKind::Denied, String::new());
            Fault { remedy: Remedy::Person, kind, status: Some(403), code: code.to_owned(), reason }
                .blames_credentials()
        };
        assert!(
            ["InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "ExpiredToken"]
                .map(blamed)
                .iter()
                .all(|blamed| *blamed)
        );
        assert!(!blamed("AccessDenied") && !blamed("SignatureDoesNotMatch"));
    }

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<&str> = FaultKind::ALL.into_iter().map(FaultKind::word).collect();
        assert_eq!(words.len(), FaultKind::ALL.len());
        assert!(words.iter().all(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '_')), "{words:?}");
    }

    #[test]
    fn a_reason_is_one_line_of_bounded_length_that_ends_in_the_request() {
        let long = "x".repeat(10_000);
        let told = spoken(Some(403), "AccessDenied", &long, Some("4442587FB7D0A2F9"));
        assert!(told.starts_with("AccessDenied: xxx"));
        assert!(told.ends_with("(status 403, request 4442587FB7D0A2F9)"));
        assert!(told.len() < 1_000);
        assert_eq!(spoken(None, "", "", None), "the service gives no reason");
        assert_eq!(spoken(Some(502), "", "<html>\n  bad gateway", None), "<html> bad gateway (status 502)");
    }

    #[test]
    fn a_chain_of_causes_names_each_once() {
        let error = IdentityError::RegionMissing { identity: "a".to_owned(), role_arn: "r".to_owned() };
        let outer = std::io::Error::other(error);
        assert!(chained(&outer).matches("no region is known").count() == 1);
        assert!(cause::<IdentityError>(&std::io::Error::other("none of it")).is_none());
    }
}
